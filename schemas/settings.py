"""Settings: one frozen model for each stage and service, taken by them as it is.

Every field has a description with its unit: ``affectstream config --explain`` and the reference
page are made from them. The order of the fields is that of a run's fingerprint: add at the end.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import ConfigDict, Field, Strict, field_validator, model_validator

from schemas.strict import Frozen

Licence = Literal["open", "research"]
Number = Annotated[float, Strict()]
"""A whole number will do; a text such as ``1:30`` or ``yes``, which YAML reads as true, won't."""
Count = Annotated[int, Strict()]

_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_YEAR_S = 365 * _DAY_S


class Settings(Frozen):
    """A group of settings: no text among them is empty, a number is finite, a path has no ``~``."""

    model_config = ConfigDict(allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unusable_text(cls, given: Any) -> Any:
        if isinstance(given, str):
            check_text(given)
        return given

    @field_validator("*")
    @classmethod
    def _expand_home(cls, given: Any) -> Any:
        return Path(expand_path(str(given))) if isinstance(given, Path) else given


def check_text(text: str) -> None:
    """Raise ValueError for a text that no setting can have, above all no path."""
    if not text.strip():
        message = "an empty text is no value: give one, or leave the setting out"
        raise ValueError(message)
    if "\0" in text:
        message = "a text with a NUL character is no value: remove it"
        raise ValueError(message)


def expand_path(path: str) -> str:
    """Return a path with the home folder in place of ``~``; a URI stays as it is.

    Python and delta-rs disagree on what ``~`` is, so that neither may see one.

    Raises:
        ValueError: there is no such home folder, or no file system takes so long a path.
    """
    if "://" in path:
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        message = f"there is no home folder for {path}: write the path in full"
        raise ValueError(message)
    coded = os.fsencode(expanded)
    if len(coded) > 3_000 or max(map(len, coded.split(b"/"))) > 255:
        message = "the path is too long: use at most 255 bytes for a name, and 3,000 for all"
        raise ValueError(message)
    return expanded


class ModelSettings(Settings):
    """One recogniser: its model, and the device that it runs on."""

    model: str = Field(
        description="Model folder, Hugging Face id (with `card`), or `constant` for load tests"
    )
    card: str | None = Field(
        default=None, description="Path of the card.json of a model whose folder holds none"
    )
    device: str = Field(
        default="cpu", description="Torch device, such as cpu or cuda:0; one that is missing fails"
    )

    @field_validator("model", "card")
    @classmethod
    def _expand_text(cls, given: str | None) -> str | None:
        return None if given is None else expand_path(given)


class Windows(Settings):
    """Fixed windows of event time, and the shards that hold them."""

    length_s: Number = Field(
        default=5.0,
        ge=0.001,
        le=_DAY_S,
        description="Length of a window, in seconds; milliseconds count",
    )
    lateness_s: Number = Field(
        default=60.0,
        ge=0,
        le=_WEEK_S,
        description="How long after its end a window still takes late events, in seconds",
    )
    shards: Count = Field(
        default=8, ge=1, le=1024, description="Number of groups that subjects are divided into"
    )


class Decisions(Settings):
    """How the history follows what is shown, and how long a decision is valid."""

    follow: Number = Field(
        default=0.6, gt=0, le=1, description="Weight of a new window in the smoothed scores, 0 to 1"
    )
    margin: Number = Field(
        default=0.1,
        ge=0,
        le=1,
        description="By how much probability (0 to 1) an expression must beat the current one",
    )
    drift: Number = Field(
        default=0.1, ge=0, le=1, description="Weight of a new window in the baseline, 0 to 1"
    )
    max_change: Number = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Largest change of intensity, and of each weight of an avatar, from one window "
        "to the next (0 to 1)",
    )
    forget_s: Number = Field(
        default=120.0, gt=0, le=_YEAR_S, description="Silence that ends a history, in seconds"
    )
    valid_s: Number = Field(
        default=30.0,
        gt=0,
        le=_YEAR_S,
        description="How long after its window's end a decision is valid, in seconds",
    )
    avatar: bool = Field(
        default=True,
        description="Whether avatars move at all; `off` turns the mirroring of everybody off",
    )
    hold_s: Number = Field(
        default=10.0,
        ge=0,
        le=_DAY_S,
        description="Least time between two presets of an avatar, in seconds; at most `valid_s`",
    )
    most_disagreement: Number = Field(
        default=0.8, ge=0, le=1, description="Modalities may disagree so far unreviewed, 0 to 1"
    )

    @model_validator(mode="after")
    def _hold_while_valid(self) -> "Decisions":
        if self.hold_s > self.valid_s:
            message = f"hold_s ({self.hold_s:g}) is above valid_s, which ends a preset: lower it"
            raise ValueError(message)
        return self


class Media(Settings):
    """Media that events name by `dataref`: where they may be fetched from, and how much."""

    places: tuple[str, ...] = Field(
        default=(),
        description=(
            "URIs ending in a slash, such as https://media.example/clips/ or file:///media/; "
            "without any, an event that names its media is a dead letter"
        ),
    )
    max_bytes: Count = Field(
        default=8_000_000, gt=0, le=1_000_000_000, description="Largest size of one, in bytes"
    )
    timeout_s: Number = Field(
        default=5.0, gt=0, le=3_600, description="How long fetching one may take, in seconds"
    )

    @field_validator("places")
    @classmethod
    def _end_in_a_slash(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for place in given:
            if not place.startswith(("http://", "https://", "file:///")) or place[-1] != "/":
                message = (
                    f"{place!r} is not a place to fetch from: give an http, https or file URI that "
                    "ends in a slash"
                )
                raise ValueError(message)
        return given


class Kafka(Settings):
    """The broker, how to reach it, and the rules of event time."""

    bootstrap: str = Field(
        default="127.0.0.1:9092", description="Brokers to ask first, host:port, comma-separated"
    )
    group: str = Field(
        default="affectstream", description="Consumer group, and the name of the job"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the brokers; turns on TLS"
    )
    username: str | None = Field(default=None, description="User of SCRAM-SHA-512")
    password_file: Path | None = Field(
        default=None,
        description="File that holds the user's password alone; every machine of a job reads it",
    )
    delay_s: Number = Field(
        default=2.0,
        ge=0,
        le=_WEEK_S,
        description="How far out of order events may come: the watermark is so far behind, in "
        "seconds",
    )
    idle_s: Number = Field(
        default=3.0,
        ge=0,
        le=_WEEK_S,
        description="How long a partition that was read to its end brings nothing before it "
        "follows the clock, `delay_s` behind, in seconds",
    )
    clock_offset_s: Number = Field(
        default=0.0,
        ge=-100 * _YEAR_S,
        le=100 * _YEAR_S,
        description="Event clock minus wall clock, in seconds, for an old log",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> "Kafka":
        if (self.username is None) != (self.password_file is None):
            message = "`username` and `password_file` belong together: give both, or neither"
            raise ValueError(message)
        return self


class Live(Settings):
    """The streaming job: where it runs and what it keeps."""

    state: Path = Field(
        default=Path("build/live"), description="Folder of the job's checkpoints, settings and logs"
    )
    jars: Path = Field(default=Path("build/flink"), description="Folder that `make flink` fetches")
    flink_master: str = Field(
        default="[local]", description="REST host:port of a Flink cluster; [local]: this machine"
    )
    java_environment: Literal["EMBEDDED", "DOCKER"] = Field(
        default="EMBEDDED",
        description="Where the Kafka source runs: in Flink's JVM, or in docker for other runners",
    )
    parallelism: Count = Field(
        default=1, ge=1, le=1024, description="Number of slots that the job takes"
    )
    workers: Count = Field(
        default=1, ge=1, le=1024, description="Number of Python worker processes"
    )
    checkpoint_s: Number = Field(
        default=2.0,
        ge=0.01,  # Flink takes no less
        le=_DAY_S,
        description="Time between checkpoints, in seconds",
    )
    commit_s: Count = Field(  # Beam's trigger takes whole seconds
        default=2,
        ge=0,
        le=_DAY_S,
        description="How long rows that nobody waits for are collected for one commit, in seconds",
    )
    tries: Count = Field(
        default=3,
        ge=1,
        le=1_000,
        description="Number of failed starts, in a row or an hour, that are endured",
    )
    bootstrap: bool = Field(
        default=False,
        description="Take the history of decisions from the tables where the job has none yet",
    )
    least_free_mb: Count = Field(
        default=500,
        ge=0,
        le=1_000_000_000,
        description="Free space under which the job is drained, in MB of a disk",
    )


class Online(Settings):
    """The store of each subject's latest features and decision, for lookups in a millisecond."""

    store: str = Field(
        default="build/online.sqlite",
        description="File of an sqlite database, or redis://host:port/number (rediss:// for TLS)",
    )
    password_file: Path | None = Field(
        default=None, description="File that holds the password of redis alone"
    )
    ttl_s: Number = Field(
        default=3_600.0,
        gt=0,
        le=_YEAR_S,
        description="How long after its window's end a feature row is served, in seconds; a "
        "decision is served until it expires",
    )

    @field_validator("store")
    @classmethod
    def _expand_store(cls, given: str) -> str:
        if "://" in given and not given.startswith(("redis://", "rediss://")):
            message = f"{given!r} is no store: give a file, or redis://host:port/number"
            raise ValueError(message)
        if "@" in given.partition("://")[2]:
            message = "a password in the address would be printed: put it into `password_file`"
            raise ValueError(message)
        return expand_path(given)


class Webhook(Settings):
    """Where decisions are sent by HTTP."""

    url: str | None = Field(default=None, description="Where batches of events are posted to")
    allowed: tuple[str, ...] = Field(
        default=(),
        description="URIs ending in a slash that `url` must begin with one of, such as "
        "https://recommender.example/hooks/",
    )
    secret_file: Path | None = Field(
        default=None, description="File that holds the secret (24 characters at least) that signs"
    )
    timeout_s: Number = Field(
        default=10.0, gt=0, le=600, description="How long one attempt may take, in seconds"
    )

    @model_validator(mode="after")
    def _allowed_and_signed(self) -> "Webhook":
        if self.url is None:
            return self
        for place in self.allowed:
            if not _is_plain(place) or place[-1] != "/":
                message = (
                    f"{place!r} cannot be allowed: give an https URI that ends in a slash (http "
                    "only for this machine), without a user or dots for steps"
                )
                raise ValueError(message)
        if not _is_plain(self.url):
            message = "`url` has a user, or dots for steps, or no https: write it plainly"
            raise ValueError(message)
        if not any(self.url.startswith(place) for place in self.allowed):
            message = f"{self.url!r} begins with none of `allowed`: add the place, or correct it"
            raise ValueError(message)
        if self.secret_file is None:
            message = "`secret_file` is missing: every batch is signed, so that receivers can check"
            raise ValueError(message)
        return self


def _is_plain(uri: str) -> bool:
    """Return whether a URI is https, or http on this machine, and means what its letters say."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    local = host in ("127.0.0.1", "localhost", "::1")
    steps = {"..", "."} & set(unquote(parts.path).replace("\\", "/").split("/"))
    sound = host and parts.scheme in (("https", "http") if local else ("https",))
    return bool(sound) and "@" not in parts.netloc and not steps and uri.isascii()


class Feed(Settings):
    """What follows the tables as they grow, and what of them it hands on."""

    sinks: tuple[Literal["kafka", "online", "webhook"], ...] = Field(
        default=("kafka", "online"),
        description="Where changes go: the topic `expression.decisions`, the online store, the "
        "webhook",
    )
    purposes: tuple[str, ...] = Field(
        default=("recommendation",),
        description="Purposes whose decisions are sent to topic and webhook: the subject has "
        "consented to each decision's own purpose, and to no other",
    )
    name: str = Field(
        default="main",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Name of this feed's position in Kafka: two at once with one name are refused",
    )
    webhook: Webhook = Webhook()

    @model_validator(mode="after")
    def _webhook_has_an_address(self) -> "Feed":
        if "webhook" in self.sinks and self.webhook.url is None:
            message = "the sink `webhook` needs `webhook.url`: give it, or leave the sink out"
            raise ValueError(message)
        return self
