"""The configuration: one frozen tree from a YAML file and flags, checked as a whole."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from model_serving.card import CARD_FILE, CONSTANT, ModelCard, read_card
from model_serving.gaps import GapException, GapLimit
from pipelines.access.settings import Access, Retention
from pipelines.aggregate.settings import Aggregates
from pipelines.govern.landing import Landing
from pipelines.govern.settings import Archive, Signatures
from pipelines.kafka.users import Users
from pipelines.observe.settings import Observe
from pipelines.replies.settings import Replies
from pipelines.serve.api.settings import Api
from schemas.decisions.settings import Baselines
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.settings import (
    Decisions,
    Feed,
    Kafka,
    Licence,
    Live,
    Media,
    ModelSettings,
    Number,
    Online,
    Settings,
    Windows,
    expand_path,
)
from schemas.strict import fields_of, parse_yaml, read_text, suggest
from transforms.decoding.messages.settings import Clocks
from transforms.decoding.settings import Motion
from transforms.gating.limits import Limits

_Section = TypeVar("_Section", bound=Settings)
ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "model_serving" / "weights"
POLICIES = ROOT / "schemas" / "policies"
_NOT_OF_A_RUN = {
    "log",
    "tables",
    "kafka",
    "live",
    "feed",
    "online",
    "observe",
    "api",
    "archive",
    "aggregates",
    "users",
    "access",
    "retention",
    "replies",
}
"""Settings that no row depends on; the fingerprint of a run leaves them out."""


def _shipped(name: str) -> ModelSettings:
    return ModelSettings(model=str(WEIGHTS / name))


class Models(Settings):
    """The four recognisers and the fusion model; what is not named is what ships."""

    text: ModelSettings = _shipped("text-compact")
    voice: ModelSettings = _shipped("voice-compact")
    face: ModelSettings = _shipped("face-compact")
    motion: ModelSettings = _shipped("motion-compact")
    fusion: Path = Field(default=WEIGHTS / "fusion", description="Folder of the fusion model")
    max_gap: Number = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Largest gap between groups of people (0 to 1), in recall and in calibration, "
        "on the card of a model that may run",
    )
    exceptions: Mapping[str, GapException] = Field(
        default_factory=dict,
        description="Models that may run all the same, by modality or `fusion`: each with a "
        "`reason`, `by` whom and the day `until` which it holds; shipped ones have theirs",
    )

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

    @field_validator("exceptions")
    @classmethod
    def _name_a_model(cls, given: Mapping[str, GapException]) -> Mapping[str, GapException]:
        known = {*MODALITIES, "fusion"}
        for unknown in sorted(given.keys() - known):
            message = f"{unknown!r} is no model: {suggest(unknown, known)}"
            raise ValueError(message)
        return given

    @property
    def gaps(self) -> GapLimit:
        """What a card must show of groups of people for its model to run."""
        return GapLimit(max_gap=self.max_gap, exceptions=self.exceptions)

    def recogniser(self, modality: str) -> ModelSettings:
        """Return the settings of this modality's recogniser."""
        chosen: ModelSettings = getattr(self, modality)
        return chosen

    def cards(self) -> dict[str, Path]:
        """Return the path of each model's card; ``constant`` has none."""
        found = {"fusion": self.fusion / CARD_FILE}
        for modality in MODALITIES:
            chosen = self.recogniser(modality)
            if chosen.model != CONSTANT:
                found[modality] = Path(chosen.card or Path(chosen.model) / CARD_FILE)
        return found


class Config(Settings):
    """Everything that a run depends on; without `log` the events come from Kafka."""

    log: Path | None = Field(
        default=None, description="Recorded log: a folder of Parquet files; without it, Kafka"
    )
    tables: str = Field(
        description="Folder of the Delta tables, or an object store's URI such as s3://bucket/…, "
        "reached by AWS_ variables"
    )
    keys: Path = Field(description="Key file of the pseudonyms")
    policy: Path = Field(
        default=POLICIES / "gate.yaml", description="Policy table: what may be inferred of whom"
    )
    scenarios: Path = Field(
        default=POLICIES / "scenarios.yaml", description="Scenario policy: what follows when"
    )
    evidence: Path | None = Field(
        default=None,
        description="Evidence for the policy's exceptions and duties: a YAML file",
    )
    windows: Windows = Windows()
    models: Models = Models()
    media: Media = Media()
    licence: Licence = Field(
        default="research",
        description="`open` lets only weights run whose card allows any use",
    )
    decisions: Decisions = Decisions()
    kafka: Kafka = Kafka()
    live: Live = Live()
    feed: Feed = Feed()
    online: Online = Online()
    observe: Observe = Observe()
    api: Api = Api()
    archive: Archive = Archive()
    aggregates: Aggregates = Aggregates()
    signatures: Signatures = Signatures()
    users: Users = Users()
    access: Access = Access()
    retention: Retention = Retention()
    landing: Landing = Landing()
    limits: Limits = Limits()
    clocks: Clocks = Clocks()
    motion: Motion = Motion()
    baselines: Baselines = Baselines()
    replies: Replies = Replies()

    @field_validator("tables", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        return str(given) if isinstance(given, Path) else given

    @field_validator("tables")
    @classmethod
    def _expand_tables(cls, given: str) -> str:
        return expand_path(given)

    @property
    def recorded(self) -> Path:
        """The recorded log; a run that needs one and has none is not started."""
        if self.log is None:
            message = "configuration: `log` is missing: give it in the file or as --log"
            raise AffectstreamError(message)
        return self.log

    @property
    def reach_s(self) -> float:
        """How far behind the newest event a row's time may lie, in seconds of event time.

        The watermark is as far behind as events come out of order, a window that it has passed
        takes late events for the allowed lateness, and its rows carry its start.
        """
        return self.kafka.delay_s + self.windows.lateness_s + self.windows.length_s

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all settings that a row may depend on."""
        left_out: dict[str, Any] = dict.fromkeys(_NOT_OF_A_RUN, True)
        left_out["models"] = {"max_gap", "exceptions"}  # they let a model run, or not
        # Settings that came later are left out where they change nothing: runs keep their ids.
        own, usual = self.decisions, Decisions()
        later = {"avatar", "hold_s", "most_disagreement"}
        left_out["decisions"] = {n for n in later if getattr(own, n) == getattr(usual, n)}
        given = {
            "signatures": self.signatures.keys,
            "evidence": self.evidence,
            "motion": self.motion.units,
        }
        left_out |= {name: True for name, value in given.items() if not value}
        for name in ("limits", "landing", "clocks", "baselines"):
            if getattr(self, name) == Config.model_fields[name].default:
                left_out[name] = True
        text = self.model_dump_json(exclude=left_out)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load_config(path: Path | str | None = None, **flags: Any) -> Config:
    """Build the configuration; a flag that is not None wins over the file.

    Raises:
        AffectstreamError: a setting is missing, unknown or wrong, or the licence asked for refuses
            a model.
    """
    try:
        given = read_settings(None if path is None else Path(path), **flags)
        config = Config.model_validate(given)
    except ValidationError as error:
        raise AffectstreamError("configuration: " + "; ".join(explain(error))) from error
    check_agreement(config)
    return config


def load_kafka(path: Path | None, **flags: Any) -> Kafka:
    """Build the broker's settings alone, from the same file and flags."""
    return _load_section("kafka", Kafka, read_settings(path, kafka=flags))


def load_users(path: Path | None) -> Users:
    """Build the names of the broker's users alone, from the same file."""
    return _load_section("users", Users, read_settings(path))


def load_access(path: Path | None, **flags: Any) -> Access:
    """Build the settings of who may read what alone, from the same file and flags."""
    return _load_section("access", Access, read_settings(path, access=flags))


def load_retention(path: Path | None) -> Retention:
    """Build the settings of how long rows are kept alone, from the same file."""
    return _load_section("retention", Retention, read_settings(path))


def _load_section(name: str, kind: type[_Section], given: dict[str, Any]) -> _Section:
    try:
        return kind.model_validate(given.get(name, {}))
    except ValidationError as error:
        raise AffectstreamError("configuration: " + "; ".join(explain(error, name))) from error


def check_agreement(config: Config) -> None:
    """Refuse settings that contradict each other, and research weights under an open licence.

    Raises:
        AffectstreamError: they do, or a card cannot be read.
    """
    if problems := [*contradictions(config)]:
        raise AffectstreamError("configuration: " + "; ".join(problems))
    if config.licence == "research":
        return
    cards = {name: read_card(path) for name, path in config.models.cards().items()}
    if refusal := explain_closed_weights(cards):
        raise AffectstreamError(refusal)


def contradictions(config: Config) -> Iterator[str]:
    """Yield what is wrong with settings that are sound by themselves."""
    forget_s, length_s = config.decisions.forget_s, config.windows.length_s
    if forget_s < length_s:
        yield (
            f"`decisions.forget_s` ({forget_s:g}) is less than `windows.length_s` ({length_s:g}), "
            "so that each history would be forgotten before its next window: make it at least as "
            "long"
        )
    for modality in MODALITIES:
        chosen = config.models.recogniser(modality)
        if chosen.model == CONSTANT and chosen.card is not None:
            yield (
                f"`models.{modality}.card` is given, but the model `constant` has no card: remove "
                "it, or name another model"
            )


def explain_closed_weights(cards: dict[str, ModelCard]) -> str | None:
    """Return why an open licence refuses these models, None where it takes them."""
    closed = [f"{name} ({c.model_id})" for name, c in cards.items() if c.licence != "open"]
    if not closed:
        return None
    return (
        f"`licence: open` refuses weights that are for research only: {', '.join(closed)}; "
        "name open ones under `models` as examples/open_licence.yaml does, or set "
        "`licence: research`"
    )


def read_settings(path: Path | None, **flags: Any) -> dict[str, Any]:
    """Return what file and flags give, unchecked; a flag that is not None wins.

    A flag that is a mapping sets some of a section and leaves the rest of it.
    """
    settings = _read(path)
    for name, value in flags.items():
        if isinstance(value, dict):
            section = settings.get(name) or {}
            given = {name: item for name, item in value.items() if item is not None}
            settings[name] = section | given if isinstance(section, dict) else section
        elif value is not None:
            settings[name] = value
    return settings


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        settings = parse_yaml(read_text(path)) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        message = f"cannot read the configuration {path}: make it a YAML file ({reason})"
        raise AffectstreamError(message) from error
    if not isinstance(settings, dict):
        message = f"{path} is not a configuration: it needs names and values, such as `log: …`"
        raise AffectstreamError(message)
    return settings


def explain(error: ValidationError, section: str = "") -> Iterator[str]:
    """Yield for each problem what is wrong and what to do, with the setting's dotted name."""
    for item in error.errors():
        name = ".".join(str(part) for part in (section, *item["loc"]) if part != "")
        if item["type"] == "missing":
            yield f"`{name}` is missing: give it in the file or as --{name}"
        elif item["type"] == "extra_forbidden":
            yield f"`{name}` is not a setting: {_suggest(name)}"
        elif item["type"] == "value_error":
            said = item["msg"].removeprefix("Value error, ")
            yield f"`{name}`: {said}" if name else said
        else:
            yield _explain_value(name, item)


def _explain_value(name: str, item: ErrorDetails) -> str:
    wanted = item["msg"][:1].lower() + item["msg"][1:]
    if isinstance(item["input"], dict | list):
        return f"`{name}`: {wanted}"
    return f"`{name}` is {item['input']!r}: {wanted}"


def _suggest(unknown: str) -> str:
    """Name the nearest setting of the section, or one of this name in another section."""
    names = {name for name, _, _ in fields_of(Config)}
    names |= {above for name in names for above in _sections(name)}
    section, _, last = unknown.rpartition(".")
    siblings = {n.rpartition(".")[2]: n for n in names if n.rpartition(".")[0] == section}
    near = difflib.get_close_matches(last, siblings, n=1)
    found = siblings[near[0]] if near else None
    found = found or min((n for n in names if n.rpartition(".")[2] == last), default=None)
    if found is None:
        return "remove it; `affectstream config --explain` lists all settings"
    if found == unknown:  # one name with a dot in it
        return f"write `{last}` below `{section}:`"
    return f"did you mean `{found}`?"


def _sections(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
