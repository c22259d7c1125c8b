"""``affectstream train``: one recipe, or its cross-validation."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from model_serving.card import CARD_FILE, ModelCard, read_card
from model_serving.training.harness import Run, is_main
from model_serving.training.recipe import Recipe
from schemas.errors import AffectstreamError

_CLOSED = {"voice": "RAVDESS", "face": "FER+"}
"""Corpora that open weights may not learn from; the recipes of text say it corpus by corpus."""


def train(
    task: str, recipe: Recipe, data: Path, out: Path | None, run: Run, console: Console
) -> None:
    """Train by the recipe into ``out``, or print its figures over ``run.folds`` folds.

    The card of a new recogniser has no test figures: ``affectstream evaluate`` measures those.
    """
    _check(task, recipe)
    module = import_module(f"model_serving.training.{task}.train")
    if run.folds:
        with explain_missing_data(data):
            found = module.cross_validate(recipe, data, run)
        if is_main():
            console.print(_table(recipe.name, found))
        return
    folder = out or run.build / "models" / recipe.name
    with explain_missing_data(data):
        card = module.train(recipe, data, folder, run)
    if is_main():
        for figure in card.figures:
            console.print(f"{figure.split}: {figure.metric} {figure.value:.3f}")
        error = card.calibration.ece if isinstance(card, ModelCard) else None
        console.print(f"{card.model_id} in {folder}" + (f"; dev ECE {error}" if error else ""))


@contextmanager
def explain_missing_data(data: Path) -> Iterator[None]:
    """Turn a missing file of the corpora into one sentence that names it."""
    try:
        yield
    except FileNotFoundError as error:
        missing = error.filename
        if missing is None or not Path(missing).resolve().is_relative_to(data.resolve()):
            raise
        message = f"{missing} is not there: --data needs the folder of labelled corpora"
        raise AffectstreamError(message) from error


def _check(task: str, recipe: Recipe) -> None:
    """Refuse a recipe of another modality, and an open licence where no corpus is open."""
    if recipe.modality != task:
        modality = recipe.modality
        message = f"recipe {recipe.name} is for {modality}: affectstream train {modality}"
        raise AffectstreamError(message)
    if recipe.licence == "open" and task in _CLOSED:
        message = (
            f"recipe {recipe.name} has `licence: open`, but {_CLOSED[task]} may be used for "
            "research only: set `licence: research`"
        )
        raise AffectstreamError(message)


def _table(name: str, found: list[dict[str, float]]) -> Table:
    """Return one row per fold, then mean and standard deviation."""
    table = Table("fold", *found[0], title=f"{name}, {len(found)} folds by group")
    for number, fold in enumerate(found, 1):
        table.add_row(str(number), *(f"{value:.3f}" for value in fold.values()))
    columns = [[fold[metric] for fold in found] for metric in found[0]]
    means = [sum(column) / len(column) for column in columns]
    spread = [
        (sum((v - mean) ** 2 for v in column) / len(column)) ** 0.5
        for column, mean in zip(columns, means, strict=True)
    ]
    cells = [f"{mean:.3f} ± {s:.3f}" for mean, s in zip(means, spread, strict=True)]
    table.add_row("mean", *cells, style="bold")
    return table


def recalibrate(folder: Path, data: Path, console: Console) -> None:
    """Fit the calibration of a model folder anew on the validation split; its weights stay.

    Raises AffectstreamError where the model is none whose calibration can be fitted alone.
    """
    card = read_card(folder / CARD_FILE)
    if card.modality != "face":
        message = (
            f"{card.name} recognises {card.modality}, whose calibration is fitted in training "
            f"alone: affectstream train {card.modality}"
        )
        raise AffectstreamError(message)
    module = import_module("model_serving.training.face.train")
    with explain_missing_data(data):
        found = module.recalibrate(folder, data)
    console.print(
        f"{card.model_id}: temperature {found.temperature}, threshold {found.threshold}, "
        f"bias {list(found.bias) or 'none'}; dev ECE {found.ece}"
    )
