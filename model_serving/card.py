"""The card of a model folder: what it was trained on, how good it is, what it may be used for."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from model_serving.size import Held, check_bytes, check_claims
from model_serving.text.language import Language
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.strict import Frozen, first_problem
from schemas.vocabularies import EXPRESSIONS, VALUES, VOCABULARY

_LOG = logging.getLogger(__name__)
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")

_UNREAD = re.compile(
    r"(^|/)(training_args\.bin|(optimizer|scheduler|scaler)(_\d+)?\.(pt|pth|bin)"
    r"|rng_state(_\d+)*\.pth|random_states_\d+\.pkl|trainer_state\.json|zero_to_fp32\.py"
    r"|latest|events\.out\.tfevents\..*"
    r"|tf_model(-\d+-of-\d+)?\.h5|flax_model\.msgpack|rust_model\.ot|openvino_model\.(bin|xml)"
    r"|[^/]*\.(onnx|onnx_data|gguf|tflite))$"
    r"|(^|/)(checkpoint-\d+|global_step\d+|runs|wandb|onnx|openvino|coreml)/"
)
"""What training leaves beside a model, and weights for other programs: nothing reads it here."""

CARD_FILE = "card.json"
CONSTANT = "constant"
"""The recogniser that answers without a model, for load tests; it has no card."""


class Figure(Frozen):
    """One measured figure: on which split, by which metric, when; with its 95 % interval.

    ``floor`` is what luck alone gives: the ECE of a perfectly calibrated model on so many rows, the
    gap between groups that are alike.
    """

    split: str
    metric: str
    value: float
    date: str
    low: float | None = None
    high: float | None = None
    rows: int | None = None
    floor: float | None = None


class Source(Frozen):
    """One data set that the weights saw."""

    name: str
    licence: str
    rows: int


class Calibration(Frozen):
    """Temperature and bias on the logits, and the confidence under which the model abstains.

    ``bias`` has a value for each label that maps to an expression, in the order of the outputs.
    ``coverage`` is the share of dev rows whose confidence reaches ``threshold``.
    ``answers`` counts the dev rows by label, and by how the model answers them (3 answers for each
    label: ``model_serving.calibration.answer_of``); ``affectstream adapt`` compares a log with it.
    ``channel`` weighs what a voice's channel did to it (``model_serving.voice.channel``): a measure
    of 1 takes its weight from the log of the share of the clip that counts as judged.
    """

    temperature: float = Field(default=1.0, gt=0)
    bias: tuple[float, ...] = ()
    coverage: float | None = None
    threshold: float = Field(default=0.0, ge=0, le=1)
    ece: float | None = None
    answers: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...] = ()
    channel: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


class Adaptation(Frozen):
    """What a voice model was fitted to without labels, and how far its answers moved by that.

    ``log`` is the fingerprint of the recorded log. ``share`` is how far the centre went towards
    that of the clips, ``changed`` the share of them whose likeliest expression became another, and
    ``moved`` the mean probability that went from one expression to others.
    """

    base: str
    log: str
    date: str
    clips: int
    speakers: int
    share: float
    changed: float
    moved: float


class PriorShift(Frozen):
    """By how much the shares of the expressions in a log differ from those of the training.

    ``shares`` gives both by label, the training's first. ``explained`` is how much of what is
    different about the answers the shares explain, and how far the bias went; ``changed`` and
    ``moved`` are those of ``Adaptation``.
    """

    base: str
    log: str
    date: str
    events: int
    subjects: int
    explained: float
    shares: dict[str, tuple[float, float]]
    changed: float
    moved: float


class ModelCard(Frozen):
    """What ``card.json`` holds; a folder without one is not loaded.

    ``labels`` maps each of the model's own labels, by its name and in any order, to an expression
    of the vocabulary, to valence or arousal, or to null: an answer that says "none of these" and
    lowers the confidence. ``multi_label`` says whether each output is a probability of its own,
    where ``config.json`` does not. ``languages`` are those that a text model learnt; where none is
    named, no language is distinguished. A model of a hub needs the commit as ``revision``, and
    ``sha256`` of each of its files: they are all that is downloaded.
    """

    name: str
    version: str
    modality: str
    licence: Literal["open", "research"]
    labels: dict[str, str | None]
    vocabulary: str = VOCABULARY
    languages: tuple[Language, ...] = ()
    training_data: tuple[Source, ...] = ()
    figures: tuple[Figure, ...] = ()
    calibration: Calibration = Calibration()
    adapted: Adaptation | PriorShift | None = None
    multi_label: bool | None = None
    command: str | None = None
    notes: str = ""
    sha256: dict[str, str] = Field(default_factory=dict)
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")

    @field_validator("modality")
    @classmethod
    def _check_modality(cls, name: str) -> str:
        if name not in {*MODALITIES, "fusion"}:
            message = f"{name!r} is no modality: name one of {', '.join(MODALITIES)} or fusion"
            raise ValueError(message)
        return name

    @property
    def model_id(self) -> str:
        """Name and version, as every row carries them."""
        return f"{self.name}@{self.version}"


def read_card(path: Path) -> ModelCard:
    """Read and check a card; every failure says what the file must hold."""
    if not path.is_file():
        message = (
            f"no model card at {path}: a model needs a {CARD_FILE} with at least name, version, "
            "modality, licence (open or research) and labels (model label -> expression)"
        )
        raise AffectstreamError(message)
    try:
        text = path.read_text(encoding="utf-8")
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        message = f"model card {path}: {first_problem(error)}"
        raise AffectstreamError(message) from error
    json.loads(text, object_pairs_hook=partial(_check_unique_names, path))
    known = {*EXPRESSIONS, *VALUES, None}
    unknown = sorted(target for target in set(card.labels.values()) - known if target is not None)
    if unknown:
        message = f"model card {path}: labels map to {unknown}, not in {[*EXPRESSIONS, *VALUES]}"
        raise AffectstreamError(message)
    return card


def _check_unique_names(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of the card; of a name that stands twice JSON's readers keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"model card {path}: {twice} occurs twice: leave one of them out"
        raise AffectstreamError(message)
    return found


def check_files(folder: Path, card: ModelCard) -> Held:
    """Compare the files of a model folder with the digests on its card; return what they hold.

    Raises AffectstreamError for a folder that claims to be larger than a model is, for a file that
    is not what the card says, for one that it does not name, and for a pickle, which could run
    anything. A card without digests is warned about: a folder of another's is dropped in with a
    card by hand.
    """
    files, every = _safe_files(folder), _contents(folder)
    for name, expected in card.sha256.items():
        found = _digest(every[name]) if name in every else "nothing"
        if found != expected:
            message = f"{folder / name} is not the file its card describes: fetch or train it again"
            raise AffectstreamError(message)
    unnamed = sorted(set(files) - set(card.sha256))
    if card.sha256 and unnamed:
        message = f"the card of {folder} gives no sha256 of {unnamed[0]}: remove it, or add it"
        raise AffectstreamError(message)
    if not card.sha256:
        _LOG.warning("the card of %s names no sha256: its files are loaded unchecked", folder)
    return _check_weights(folder, files)


def check_contents(folder: Path) -> Held:
    """Return what the weights of a folder hold.

    Raises AffectstreamError for pickled weights, and where they claim to be more than they are.
    """
    return _check_weights(folder, _safe_files(folder))


def _safe_files(folder: Path) -> dict[str, Path]:
    """Return by name what is read of a folder, which holds no pickle and has a model's size."""
    files = _read_files(_contents(folder))
    pickles = sorted(name for name in files if name.endswith(_PICKLES))
    if pickles:
        message = (
            f"{folder} holds {pickles[0]}, and a pickle is never loaded: take it out, or convert "
            "it to safetensors (transformers' `from_pretrained`, then `save_pretrained`)"
        )
        raise AffectstreamError(message)
    check_bytes(folder, files)
    return files


def _check_weights(folder: Path, files: Mapping[str, Path]) -> Held:
    _check_shards(folder, files)
    return check_claims(folder, files)


def _read_files(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if not _UNREAD.search(name)}


def _check_shards(folder: Path, files: Mapping[str, Path]) -> None:
    """Refuse an index of weights that names a file which was not looked at, or is none here."""
    for name in files:
        if not name.endswith(".index.json"):
            continue
        try:
            shards = {
                str(shard) for shard in json.loads(files[name].read_bytes())["weight_map"].values()
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = f"{folder / name} is not an index of weights: fetch or save the model again"
            raise AffectstreamError(message) from error
        parent = Path(name).parent
        absent = sorted(shard for shard in shards if str(parent / shard) not in files)
        if absent and any(shard.endswith(".safetensors") for shard in shards):
            message = f"{folder / name} names {absent[0]}, which is not beside it: fetch it too"
            raise AffectstreamError(message)
        if absent:
            message = f"{folder / name} names pickled weights: take it out, or convert them"
            raise AffectstreamError(message)


def _contents(folder: Path) -> dict[str, Path]:
    """Return by name what a model is loaded from, below too: no card, no page, nothing hidden."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        str(name): folder / name
        for name in names
        if name != Path(CARD_FILE)
        and name.suffix != ".md"
        and not any(part.startswith(".") for part in name.parts)
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``card.json`` with the digests of the folder's files, and ``CARD.md`` beside it."""
    digests = {name: _digest(path) for name, path in _read_files(_contents(folder)).items()}
    card = card.model_copy(update={"sha256": digests})
    text = json.dumps(card.model_dump(), indent=2, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    (folder / "CARD.md").write_text(_markdown(card), encoding="utf-8")


def _markdown(card: ModelCard) -> str:
    figures = "\n".join(
        f"| {f.split} | {f.metric} | {f.value:.3f}{_interval(f)} | {f.rows or ''} | {f.date} |"
        for f in card.figures
    )
    sources = "\n".join(f"| {s.name} | {s.licence} | {s.rows:,} |" for s in card.training_data)
    return f"""# {card.name} {card.version}

Estimates the expression that was shown in {card.modality}, never what a person feels.
Vocabulary {card.vocabulary}. Licence class of the weights: **{card.licence}**.

{card.notes}
{_explain_derived_values(card)}{_explain_adaptation(card)}
## Training data
| data | licence | rows |
|---|---|---|
{sources}

Rebuild: `{card.command}`

## Measured
| split | metric | value (95 % interval; what luck alone gives) | rows | date |
|---|---|---|---|---|
{figures}

Calibration: temperature {card.calibration.temperature:.3f}; abstains under a confidence of
{card.calibration.threshold:.2f}{_coverage(card.calibration)}.
"""


def _explain_derived_values(card: ModelCard) -> str:
    if card.modality == "fusion" or not card.labels or set(VALUES) <= _values(card):
        return ""
    return (
        "\nValence and arousal were not learnt: they are derived from the scores, by the place of "
        "each\nexpression on the circumplex (`schemas/vocabularies.py`).\n"
    )


def _explain_adaptation(card: ModelCard) -> str:
    found = card.adapted
    if found is None:
        return ""
    if isinstance(found, PriorShift):
        return _explain_priors(found)
    return (
        f"\nAdapted without labels from {found.base} on {found.date}: its centre went "
        f"{found.share:.0%} of the way\nto that of {found.clips:,} clips of {found.speakers:,} "
        f"speakers (log {found.log}). By that {found.changed:.0%} of\nthose clips changed their "
        f"likeliest expression, and {found.moved:.0%} of the probability moved. The\nfigures below "
        f"are those of {found.base}.\n"
    )


def _explain_priors(found: PriorShift) -> str:
    shares = ", ".join(
        f"{name} {before:.0%} to {after:.0%}" for name, (before, after) in found.shares.items()
    )
    return (
        f"\nAdapted without labels from {found.base} on {found.date}: its bias went "
        f"{found.explained:.0%} of the way\nto the shares of {found.events:,} events of "
        f"{found.subjects:,} subjects (log {found.log}): {shares}.\nBy that "
        f"{found.changed:.0%} of those events changed their likeliest expression, and "
        f"{found.moved:.0%} of the\nprobability moved. The figures below are those of "
        f"{found.base}.\n"
    )


def _values(card: ModelCard) -> set[str]:
    """Return which of valence and arousal the model gives, by its names or by the card's map."""
    return {name.strip().casefold() for name in card.labels} | {
        t for t in card.labels.values() if t
    }


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    luck = "" if figure.floor is None else f"; luck {figure.floor:.3f}"
    return f" ({figure.low:.3f} to {figure.high:.3f}{luck})"


def _coverage(calibration: Calibration) -> str:
    if calibration.coverage is None:
        return ""
    return f", which {calibration.coverage:.0%} of the dev rows reach"
