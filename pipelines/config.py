"""The configuration: one frozen tree from a YAML file and flags, checked as a whole."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from model_serving.card import CARD_FILE, CONSTANT, read_card
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.strict import Frozen

_HERE = Path(__file__).resolve().parent.parent
WEIGHTS = _HERE / "model_serving" / "weights"
POLICIES = _HERE / "schemas" / "policies"


class ModelConfig(Frozen):
    """One recogniser: a model folder or Hugging Face id (``constant`` for load tests).

    ``card`` is the path of a card.json for a model that carries none; ``device`` is a torch
    device, and a GPU that is asked for and missing is an error.
    """

    model: str
    card: str | None = None
    device: str = "cpu"


def _shipped(name: str) -> ModelConfig:
    return ModelConfig(model=str(WEIGHTS / name))


class Models(Frozen):
    """The four recognisers and the fusion model; what is not named is what ships."""

    text: ModelConfig = _shipped("text-compact")
    voice: ModelConfig = _shipped("voice-compact")
    face: ModelConfig = _shipped("face-compact")
    motion: ModelConfig = _shipped("motion-compact")
    fusion: Path = WEIGHTS / "fusion"

    @model_validator(mode="before")
    @classmethod
    def _shipped_unless_named(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            name: {"model": str(WEIGHTS / f"{name}-compact")} | value
            if name in MODALITIES and isinstance(value, dict)
            else value
            for name, value in given.items()
        }


class Windows(Frozen):
    """Fixed windows of event time, in seconds, and the number of shards that hold them."""

    length_s: float = Field(default=5.0, gt=0)
    lateness_s: float = Field(default=60.0, ge=0)
    shards: int = Field(default=8, ge=1, le=1024)


class Decisions(Frozen):
    """How the history follows what is shown (see ``transforms.deciding.history.Smoothing``)."""

    follow: float = Field(default=0.6, gt=0, le=1)
    margin: float = Field(default=0.1, ge=0, le=1)
    drift: float = Field(default=0.1, ge=0, le=1)
    max_change: float = Field(default=0.25, gt=0, le=1)
    forget_s: float = Field(default=120.0, gt=0)
    valid_s: float = Field(default=30.0, gt=0)


class Media(Frozen):
    """Media that events name by ``dataref``: where they may be fetched from, and how much.

    ``places`` are URIs that end in a slash (``https://media.example/clips/``, ``file:///media/``);
    without any, an event that names its media is a dead letter.
    """

    places: tuple[str, ...] = ()
    max_bytes: int = Field(default=8_000_000, gt=0)
    timeout_s: float = Field(default=5.0, gt=0)

    @field_validator("places")
    @classmethod
    def _form(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for place in given:
            if not place.startswith(("http://", "https://", "file:///")) or place[-1] != "/":
                message = f"{place!r} is no place: give an http(s) or file URI that ends in a slash"
                raise ValueError(message)
        return given


class Kafka(Frozen):
    """The broker, how to reach it, and the rules of event time; durations in seconds.

    ``delay_s`` is the bounded out-of-orderness; a partition that was read to its end and brought
    nothing for ``idle_s`` follows the clock ``delay_s`` behind; ``clock_offset_s`` is event clock
    minus wall clock, for an old log.
    ``password_file`` holds the password of ``username``, alone; every machine of a job reads it.
    """

    bootstrap: str = "127.0.0.1:9092"
    group: str = "affectstream"
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    delay_s: float = Field(default=2.0, ge=0)
    idle_s: float = Field(default=3.0, ge=0)
    clock_offset_s: float = 0.0

    @model_validator(mode="after")
    def _both_or_none(self) -> "Kafka":
        if (self.username is None) != (self.password_file is None):
            message = "username and password_file go together"
            raise ValueError(message)
        return self


class Live(Frozen):
    """The streaming job: where it runs and what it keeps; durations in seconds.

    ``state`` holds checkpoints, settings and logs of the job; ``jars`` is what ``make flink``
    fetches; ``commit_s`` is how long rows that nobody waits for are collected before a commit;
    ``java_environment`` is where the Kafka source runs: Flink's JVM, or docker for other runners;
    ``bootstrap`` takes the history of decisions from the tables where the job has none yet; a job
    whose disks have less than ``least_free_mb`` left is drained.
    """

    state: Path = Path("build/live")
    jars: Path = Path("build/flink")
    flink_master: str = "[local]"
    java_environment: Literal["EMBEDDED", "DOCKER"] = "EMBEDDED"
    parallelism: int = Field(default=1, ge=1)
    workers: int = Field(default=1, ge=1)
    checkpoint_s: float = Field(default=2.0, gt=0)
    commit_s: int = Field(default=2, ge=0)  # Beam's trigger takes whole seconds
    tries: int = Field(default=3, ge=1)
    bootstrap: bool = False
    least_free_mb: int = Field(default=500, ge=0)


class Config(Frozen):
    """Everything a run hangs on; without ``log`` the events come from Kafka.

    ``tables`` is a folder or an object store's URI (``s3://bucket/…``, reached by AWS_ variables).
    ``licence: open`` lets only weights run whose card allows any use.
    """

    log: Path | None = None
    tables: str
    keys: Path
    policy: Path = POLICIES / "gate.yaml"
    scenarios: Path = POLICIES / "scenarios.yaml"
    windows: Windows = Windows()
    models: Models = Models()
    media: Media = Media()
    licence: Literal["open", "research"] = "research"
    decisions: Decisions = Decisions()
    kafka: Kafka = Kafka()
    live: Live = Live()

    @field_validator("tables", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        return str(given) if isinstance(given, Path) else given

    @property
    def recorded(self) -> Path:
        """The recorded log; a run that needs one and has none is not started."""
        if self.log is None:
            message = "configuration: `log` is missing: give it in the file or as --log"
            raise AffectstreamError(message)
        return self.log

    @model_validator(mode="after")
    def _licensed(self) -> "Config":
        """Refuse research weights where the licence asked for is open."""
        if self.licence == "research":
            return self
        cards = {"fusion": self.models.fusion / CARD_FILE}
        for modality in MODALITIES:
            chosen: ModelConfig = getattr(self.models, modality)
            if chosen.model != CONSTANT:
                cards[modality] = Path(chosen.card or Path(chosen.model) / CARD_FILE)
        found = {name: read_card(path) for name, path in cards.items()}
        closed = [f"{name} ({c.model_id})" for name, c in found.items() if c.licence != "open"]
        if closed:
            message = (
                f"`licence: open` refuses weights that are for research only: {', '.join(closed)}; "
                "name open ones under `models` as examples/open_licence.yaml does, or set "
                "`licence: research`"
            )
            raise ValueError(message)
        return self

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all settings but where the input and output stand."""
        text = self.model_dump_json(exclude={"log", "tables", "kafka", "live"})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load_config(path: Path | str | None = None, **flags: Any) -> Config:
    """Build the configuration; a flag that is not None wins over the file."""
    settings = _read(None if path is None else Path(path))
    for name, value in flags.items():
        if isinstance(value, dict):  # flags of one section, the rest of it stays
            settings[name] = (settings.get(name) or {}) | _given(value)
        elif value is not None:
            settings[name] = value
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise AffectstreamError(_explain(error)) from error


def load_kafka(path: Path | None, **flags: Any) -> Kafka:
    """Build the broker's settings alone, from the same file and flags."""
    given = _read(path).get("kafka") or {}
    given |= _given(flags)
    try:
        return Kafka.model_validate(given)
    except ValidationError as error:
        raise AffectstreamError(_explain(error)) from error


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        message = f"cannot read the configuration {path}: make it a YAML file"
        raise AffectstreamError(message) from error
    if not isinstance(settings, dict):
        message = f"{path} is not a configuration: it needs names and values, such as `log: …`"
        raise AffectstreamError(message)
    return settings


def _explain(error: ValidationError) -> str:
    problems = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "missing":
            problems.append(f"`{name}` is missing: give it in the file or as --{name}")
        elif item["type"] == "extra_forbidden":
            problems.append(f"`{name}` is no setting: remove it or mend its spelling")
        else:
            said = item["msg"].removeprefix("Value error, ")
            problems.append(f"`{name}`: {said}" if name else said)
    return "configuration: " + "; ".join(problems)
