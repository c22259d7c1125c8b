"""The configuration: one frozen tree from a YAML file and flags, checked as a whole."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_serving.card import CARD_FILE, CONSTANT, read_card
from schemas.errors import AffectstreamError
from schemas.vocabularies import MODALITIES

_HERE = Path(__file__).resolve().parent.parent
WEIGHTS = _HERE / "model_serving" / "weights"
POLICIES = _HERE / "schemas" / "policies"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(_Frozen):
    """One recogniser: a model folder or Hugging Face id (``constant`` for load tests).

    ``card`` is the path of a card.json for a model that carries none; ``device`` is a torch
    device, and a GPU that is asked for and missing is an error.
    """

    model: str
    card: str | None = None
    device: str = "cpu"


def _shipped(name: str) -> ModelConfig:
    return ModelConfig(model=str(WEIGHTS / name))


class Models(_Frozen):
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


class Windows(_Frozen):
    """Fixed windows of event time, in seconds, and the number of shards that hold them."""

    length_s: float = Field(default=5.0, gt=0)
    lateness_s: float = Field(default=60.0, ge=0)
    shards: int = Field(default=16, ge=1, le=1024)


class Decisions(_Frozen):
    """How the history follows what is shown (see ``transforms.history.Smoothing``)."""

    follow: float = Field(default=0.6, gt=0, le=1)
    margin: float = Field(default=0.1, ge=0, le=1)
    drift: float = Field(default=0.1, ge=0, le=1)
    max_change: float = Field(default=0.25, gt=0, le=1)
    forget_s: float = Field(default=120.0, gt=0)
    valid_s: float = Field(default=30.0, gt=0)


class Config(_Frozen):
    """Everything a run hangs on.

    ``licence: open`` lets only weights run whose card allows any use.
    """

    log: Path
    tables: Path
    keys: Path
    policy: Path = POLICIES / "gate.yaml"
    scenarios: Path = POLICIES / "scenarios.yaml"
    windows: Windows = Windows()
    models: Models = Models()
    licence: Literal["open", "research"] = "research"
    decisions: Decisions = Decisions()

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
                "name open ones under `models` (the recipe text-compact-open makes one of text), "
                "or set `licence: research`"
            )
            raise ValueError(message)
        return self

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all settings but where the input and output stand."""
        text = self.model_dump_json(exclude={"log", "tables"})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load_config(path: Path | None, **flags: Any) -> Config:
    """Build the configuration; a flag that is not None wins over the file."""
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            message = f"cannot read the configuration {path}: make it a YAML file"
            raise AffectstreamError(message) from error
        if not isinstance(settings, dict):
            message = f"{path} is not a configuration: it needs names and values, such as `log: …`"
            raise AffectstreamError(message)
    settings |= {name: value for name, value in flags.items() if value is not None}
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise AffectstreamError(_explain(error)) from error


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
