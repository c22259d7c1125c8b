"""``affectstream model add``: the card of a model folder, drafted, checked and measured."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import AutoConfig
from transformers.models.auto import modeling_auto as auto

from model_serving.calibration import fit_temperature, softmax
from model_serving.card import CARD_FILE, Figure, ModelCard, check_contents, read_card, write_card
from model_serving.corpora.groups import UNKNOWN
from model_serving.folders.adapters import find_base, is_adapter
from model_serving.folders.names import GENERIC, fold_name, propose_labels
from model_serving.gaps import KINDS, GapLimit, explain_gaps, largest_gaps
from model_serving.labels import output_names, read_outputs
from model_serving.loader import load_recogniser
from model_serving.metrics import confidence_and_hits, expected_calibration_error
from model_serving.recogniser import NetRecogniser
from model_serving.training.evaluation import (
    LEAST_ROWS,
    Measured,
    measure_gaps,
    measure_single_label,
)
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
_UNMAPPED = "Nobody looked yet at the labels that are null."
_LEAST = 1e-12  # of a score: a share of 0 has no logarithm
_SHOWN = 12  # names that a line lists: some models have hundreds


def add_model(
    folder: Path,
    modality: str | None,
    licence: Licence | None,
    data: Path | None,
    console: Console,
) -> bool:
    """Draft the card of a folder that has none, show what its labels mean, probe and measure it.

    What is still missing is printed at the end. A card that is there stays, but for figures. Return
    whether the pipeline would load the model: whether its groups were measured and lie near.
    Raises AffectstreamError where the folder cannot be loaded, or the rows cannot be read.
    """
    if not folder.is_dir():
        message = f"{folder} is no folder: name the folder that holds the model"
        raise AffectstreamError(message)
    if data is not None and not data.is_file():
        message = f"{data} is no file: name a CSV of labelled rows as `--data`"
        raise AffectstreamError(message)
    card = _find_card(folder, modality, licence, console)
    rows = None if data is None else read_rows(data, card)
    _show(card, _config(folder, card), console)
    try:
        found = _probe(folder, card, console)
        if rows is not None and data is not None:
            card = _measure(folder, card, found, rows, data.name, console)
    finally:
        _list_missing(card, rows, console)
    return explain_gaps(card, GapLimit()) is None


def _find_card(
    folder: Path, modality: str | None, licence: Licence | None, console: Console
) -> ModelCard:
    """Return the card of a folder, drafted where there is none, with the licence that is named."""
    path = folder / CARD_FILE
    if not path.is_file():
        check_contents(folder)
        write_card(folder, _draft(folder, modality, licence))
        console.print(f"drafted {escape(str(path))}: read it, and put right what it guesses")
    card = read_card(path)
    if modality not in {None, card.modality}:
        message = (
            f"{path} says that the model judges {card.modality}: leave `--modality {modality}` "
            "out, or write on the card what it judges"
        )
        raise AffectstreamError(message)
    if licence is not None:
        notes = card.notes.replace(_UNLICENSED, "").strip()
        card = card.model_copy(update={"licence": licence, "notes": notes})
        write_card(folder, card)
    return card


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
    labels = propose_labels(names)
    unsaid = [name for name, target in labels.items() if target is None]
    notes = ([] if licence else [_UNLICENSED]) + ([_UNMAPPED] if unsaid else [])
    return ModelCard(
        name=folder.resolve().name,
        version="1",
        modality=modality or _modality(folder),
        licence=licence or "research",
        labels=labels,
        notes=" ".join(notes),
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
    if hint := _suggest_temperature(found, figures, scores, labels):
        console.print(f"calibration: {escape(hint)}")
    others = tuple(f for f in card.figures if f.split.partition(",")[0] != name)
    card = card.model_copy(update={"figures": (*others, *(_figure(each) for each in figures))})
    write_card(folder, card)
    return card


def _suggest_temperature(
    found: NetRecogniser, figures: list[Measured], scores: np.ndarray, labels: np.ndarray
) -> str | None:
    """Return the temperature that suits these rows where the card's misleads by more than chance.

    Of a head that has "none of these", a bias or several labels of one expression, the scores do
    not tell what another temperature would make of them.
    """
    error = next(each for each in figures if each.metric == "ece")
    calibration, outputs = found.card.calibration, found.outputs
    plain = not (calibration.bias or outputs.multi_label or outputs.others.any())
    if (error.low or 0) <= (error.floor or 0) or len(labels) < LEAST_ROWS:
        return None
    said = f"the confidence is {error.value:.3f} off on average (ece)"
    if not plain or outputs.matrix.sum(axis=0).max() > 1:
        return f"{said}: fit `calibration.temperature` on the card by its logits"
    mapped = np.flatnonzero(outputs.matrix.any(axis=0))
    known = np.isin(labels, mapped)
    logits = np.log(np.maximum(scores[known][:, mapped], _LEAST))
    places = np.searchsorted(mapped, labels[known])
    factor = fit_temperature(logits, places)
    left = expected_calibration_error(*confidence_and_hits(softmax(logits, factor), places))
    return (
        f"{said}: `calibration.temperature` {factor * calibration.temperature:.4g} in card.json "
        f"makes it {left:.3f} on these rows"
    )


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


def _list_missing(card: ModelCard, rows: Rows | None, console: Console) -> None:
    """Print what the card still needs before the pipeline loads the model."""
    missing = []
    if _UNLICENSED in card.notes:
        missing.append("licence: research until `--licence` says what its terms allow")
    if unmapped := _explain_unmapped(card):
        missing.append(f"labels: {unmapped}")
    if not card.training_data:
        missing.append("training_data: name, licence and rows of each data set that it saw")
    if not any(figure.metric == "accuracy" for figure in card.figures):
        missing.append("figures: measure it with `--data FILE.csv` (columns text or path, label)")
    if refusal := explain_gaps(card, GapLimit()):
        missing.append(f"groups: {refusal}{_explain_groups(card, rows)}")
    for each in missing:
        console.print(f"missing: {escape(each)}")
    if not missing:
        console.print("nothing is missing")


def _explain_unmapped(card: ModelCard) -> str | None:
    """Return what to do about labels that stand for nothing since their names propose nothing."""
    null = [name for name, target in card.labels.items() if target is None]
    silent = [name for name in card.labels if GENERIC.fullmatch(fold_name(name))]
    if silent and set(silent) <= set(null):
        return f"write what {', '.join(silent[:_SHOWN])} stand for"
    if not null or _UNMAPPED not in card.notes:
        return None
    more = f" and {len(null) - _SHOWN} more" if len(null) > _SHOWN else ""
    return (
        f"{', '.join(null[:_SHOWN])}{more} mean none of the expressions by the draft: map those "
        f"that do mean one, and take “{_UNMAPPED}” out of the card's notes"
    )


def _explain_groups(card: ModelCard, rows: Rows | None) -> str:
    """Return which groups of the rows are too small to be measured, or how to name groups."""
    if KINDS.keys() <= largest_gaps(card).keys():
        return ""
    counts = {
        f"{name} in {kind}": int((values == name).sum())
        for kind, values in (rows.groups if rows else {}).items()
        for name in np.unique(values)
        if name != UNKNOWN
    }
    small = [f"{count} of {name}" for name, count in counts.items() if count < LEAST_ROWS]
    if small:
        return f"; a group needs {LEAST_ROWS} rows, and there are {', '.join(small[:_SHOWN])}"
    if counts:
        return "; a kind of group needs two whose names are known"
    return " (`--data` with a column for each kind of group)"
