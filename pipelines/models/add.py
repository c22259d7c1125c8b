"""``affectstream model add``: the card of a model folder, drafted, checked and measured."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto

from model_serving.card import CARD_FILE, Figure, ModelCard, check_contents, read_card, write_card
from model_serving.folders.adapters import find_base, is_adapter
from model_serving.folders.names import GENERIC, fold_name, propose_labels
from model_serving.gaps import GapLimit, explain_gaps
from model_serving.labels import output_names, read_outputs
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.training.evaluation import Measured, measure_gaps, measure_single_label
from pipelines.models.labelled import Rows, read_rows
from schemas.errors import AffectstreamError

Licence = Literal["open", "research"]
_KINDS = {
    "voice": auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    "face": auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    "text": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
}
_MEANS_NOTHING = "none of these"
_UNLICENSED = "Nobody said yet what these weights may be used for."


def add_model(
    folder: Path,
    modality: str | None,
    licence: Licence | None,
    data: Path | None,
    console: Console,
) -> None:
    """Draft the card of a folder that has none, show what its labels mean, probe and measure it.

    What is still missing is printed at the end. A card that is there stays, but for figures.
    Raises AffectstreamError where the folder cannot be loaded.
    """
    if not folder.is_dir():
        message = f"{folder} is no folder: name the folder that holds the model"
        raise AffectstreamError(message)
    path = folder / CARD_FILE
    if not path.is_file():
        check_contents(folder)
        write_card(folder, _draft(folder, modality, licence))
        console.print(f"drafted {escape(str(path))}: read it, and put right what it guesses")
    card = read_card(path)
    if licence is not None:
        notes = card.notes.replace(_UNLICENSED, "")
        card = card.model_copy(update={"licence": licence, "notes": notes})
        write_card(folder, card)
    _show(card, _config(folder, card), console)
    try:
        found = _probe(folder, card, console)
        if data is not None:
            card = _measure(folder, card, found, read_rows(data, card), data.name, console)
    finally:
        _list_missing(card, console)


def _probe(folder: Path, card: ModelCard, console: Console) -> NetRecogniser:
    """Load the model, which answers a probe; AffectstreamError says why it does not."""
    read_outputs(card, _config(folder, card))
    found = load_recogniser(card.modality, str(folder), None, "cpu")
    if not isinstance(found, NetRecogniser):
        message = f"{folder} is not a model that is loaded from files"
        raise AffectstreamError(message)
    console.print("probe: it answers each row by itself, alone and among others")
    if not found.front_end.pads and card.modality == "text":
        console.print("  only rows of equal length share a forward pass: slower, and right")
    return found


def _draft(folder: Path, modality: str | None, licence: Licence | None) -> ModelCard:
    """Return a card of what the folder tells: nothing is claimed that it does not."""
    names = output_names(folder.name, _config(folder, None))
    return ModelCard(
        name=folder.resolve().name,
        version="1",
        modality=modality or _modality(folder),
        licence=licence or "research",
        labels=propose_labels(names),
        notes="" if licence else _UNLICENSED,
    )


def _config(folder: Path, card: ModelCard | None) -> Any:
    """Return the configuration of the net of a folder, or of an adapter's base.

    Raises AffectstreamError where there is none.
    """
    place = folder
    if is_adapter(folder) and not (folder / "config.json").is_file():
        place = find_base(folder, digests=card is None or bool(card.sha256))
    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # any file may stand there
        reason = str(error).strip().partition("\n")[0]
        message = f"{place} has no config.json of a model that transformers knows: {reason}"
        raise AffectstreamError(message) from error


def _modality(folder: Path) -> str:
    kind = _config(folder, None).model_type
    found = next((name for name, kinds in _KINDS.items() if kind in kinds), None)
    if found is None:
        message = f"what a {kind} model judges is unknown: name it, such as `--modality text`"
        raise AffectstreamError(message)
    return found


def _show(card: ModelCard, config: Any, console: Console) -> None:
    """Print what each output of the model stands for by the card."""
    targets = {fold_name(name): target for name, target in card.labels.items()}
    grid = Table("output", "the model calls it", "by the card", box=None, padding=(0, 2, 0, 0))
    for place, name in enumerate(output_names(card.model_id, config)):
        meant = targets.get(fold_name(name), "[red]not on the card[/]")
        grid.add_row(str(place), escape(name), meant or _MEANS_NOTHING)
    console.print(grid)


def _measure(
    folder: Path, card: ModelCard, found: NetRecogniser, rows: Rows, name: str, console: Console
) -> ModelCard:
    """Measure the model on labelled rows, write its figures on the card, and return that."""
    estimates = found.estimate(rows.batch)
    kept = estimates.rows
    if len(kept) < len(rows.labels):
        console.print(f"{len(rows.labels) - len(kept)} of {len(rows.labels)} rows can't be judged")
    if not len(kept):
        message = f"{name} has no row that the model can judge: {estimates.failures[0].detail}"
        raise AffectstreamError(message)
    scores, labels = estimates.scores, rows.labels[kept]
    figures = measure_single_label(name, scores, labels, threshold=card.calibration.threshold)
    for group, values in rows.groups.items():
        figures += measure_gaps(f"{name}, {group}", scores, labels, values[kept])
    shown = Table("measured", "value", "95 % interval", "rows", box=None, padding=(0, 2, 0, 0))
    for each in figures:
        interval = "" if each.low is None else f"{each.low:.3f} to {each.high:.3f}"
        shown.add_row(f"{each.split}: {each.metric}", f"{each.value:.3f}", interval, str(each.rows))
    console.print(shown)
    others = tuple(f for f in card.figures if f.split.partition(",")[0] != name)
    card = card.model_copy(update={"figures": (*others, *(_figure(each) for each in figures))})
    write_card(folder, card)
    return card


def _figure(each: Measured) -> Figure:
    day = datetime.now(UTC).date().isoformat()
    each = replace(each, value=round(each.value, 4))
    return Figure(
        split=each.split,
        metric=each.metric,
        value=each.value,
        date=day,
        low=each.low,
        high=each.high,
        rows=each.rows,
        floor=each.floor,
    )


def _list_missing(card: ModelCard, console: Console) -> None:
    """Print what the card still needs before the pipeline loads the model."""
    missing = []
    silent = [name for name in card.labels if GENERIC.fullmatch(fold_name(name))]
    if _UNLICENSED in card.notes:
        missing.append("licence: research until `--licence` says what its terms allow")
    if silent and not any(card.labels[name] for name in silent):
        missing.append(f"labels: write what {', '.join(silent)} stand for")
    if not card.training_data:
        missing.append("training_data: name, licence and rows of each data set that it saw")
    if not any(figure.metric == "accuracy" for figure in card.figures):
        missing.append("figures: measure it with `--data FILE.csv` (columns text or path, label)")
    if refusal := explain_gaps(card, GapLimit()):
        missing.append(f"groups: {refusal} (`--data` with a column for each kind of group)")
    for each in missing:
        console.print(f"missing: {escape(each)}")
    if not missing:
        console.print("nothing is missing")
