"""What an evaluation found: figures with their intervals, as the card and the page show them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from model_serving.card import CARD_FILE, Figure, read_card, write_card
from model_serving.corpora.groups import UNKNOWN
from model_serving.loader import load_recogniser
from model_serving.metrics import (
    accuracy,
    accuracy_of_surest,
    bootstrap,
    bootstrap_all,
    confidence_and_hits,
    confusion_matrix,
    expected_calibration_error,
    least_calibration_error,
    scores_of,
    uar,
)
from model_serving.training.common import find_model
from schemas.errors import AffectstreamError

Tier = Literal["base", "compact"]
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
Metric = Callable[[np.ndarray, np.ndarray], float]
_MEASURES: dict[str, Metric] = {
    "accuracy": lambda p, y: accuracy(y, p.argmax(axis=1)),
    "uar": lambda p, y: uar(confusion_matrix(y, p.argmax(axis=1), p.shape[1])),
    "ece": lambda p, y: expected_calibration_error(*confidence_and_hits(p, y)),
}
ECE_ROWS = 3000
"""Rows from which on a test set's ECE counts for ``ece_max``: below, chance alone gives 0.03."""
ECE_GOAL = 0.03
COVERAGE, ACCURACY = "coverage at the shipped threshold", "accuracy at the shipped threshold"
_CHANCE_DRAWS = 100
_OTHER = {"base": "compact", "compact": "base"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure (a share, not per cent) with its 95 % bootstrap interval.

    ``key`` is its name in ``recognition.json``, without the tier; ``floor`` is what chance alone
    gives: as ECE a perfectly calibrated model on so many rows, as gap groups that are alike.
    """

    split: str
    metric: str
    value: float
    rows: int
    low: float | None = None
    high: float | None = None
    key: str = ""
    floor: float | None = None

    @property
    def calibrated(self) -> bool:
        """True where an ECE is as small as can be asked for.

        At most 0.03 from 3,000 rows on; below, its interval reaches down to 0.03 or to the floor.
        """
        if self.rows >= ECE_ROWS or self.low is None:
            return self.value <= ECE_GOAL
        return self.low <= max(ECE_GOAL, self.floor or 0.0)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of one model; ``day`` is empty where they were measured just now.

    ``model`` is its folder's name: one with another version of a shipped model is not that model.
    """

    model: str
    modality: str
    tier: Tier
    licence: str
    measured: tuple[Measured, ...]
    day: str = ""

    @property
    def ece_max(self) -> float:
        """The largest ECE over test sets of at least 3,000 rows; 0 where there is none."""
        return max(
            (m.value for m in self.measured if m.metric == "ece" and m.rows >= ECE_ROWS),
            default=0.0,
        )

    @property
    def test_sets(self) -> tuple[Measured, ...]:
        """The ECE of each test set: of no group of its rows, and of no set put aside."""
        return tuple(m for m in self.measured if m.metric == "ece" and m.floor is not None)


def measure_single_label(
    split: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    keys: dict[str, str] | None = None,
    threshold: float | None = None,
) -> list[Measured]:
    """Return accuracy, macro-F1, UAR and ECE with intervals, and accuracy by coverage.

    ``threshold`` is the confidence under which the shipped model abstains: then also the share of
    the rows that it does not abstain on, and the accuracy there.
    """
    keys = keys or {}
    whole = scores_of(probabilities, labels)
    ranges = bootstrap_all(lambda rows: scores_of(probabilities[rows], labels[rows]), len(labels))
    figures = [
        Measured(split, metric, value, len(labels), *ranges[metric], keys.get(metric, ""))
        for metric, value in whole.items()
    ]
    confidence, hits = confidence_and_hits(probabilities, labels)
    floor = least_calibration_error(confidence)
    figures = [replace(m, floor=floor) if m.metric == "ece" else m for m in figures]
    for coverage in COVERAGES[1:]:
        value = accuracy_at(probabilities, labels, coverage)
        figures.append(Measured(split, accuracy_at_name(coverage), value, len(labels)))
    if threshold is None:
        return figures
    sure = confidence >= threshold
    figures.append(Measured(split, COVERAGE, float(sure.mean()), len(labels)))
    if sure.any():
        figures.append(Measured(split, ACCURACY, float(hits[sure].mean()), int(sure.sum())))
    return figures


def measure_as_shipped(
    split: str, modality: str, folder: Path, media: Sequence[bytes], labels: np.ndarray
) -> list[Measured]:
    """Judge the scores that the pipeline would give of these media: front end, quality and all."""
    batch = pa.record_batch({"media": pa.array(media, pa.binary())})
    model = load_recogniser(modality, str(folder), None, "cpu")
    found = model.estimate(batch)
    if found.failures:
        message = f"{folder.name} could not read an item: {found.failures[0].detail}"
        raise AffectstreamError(message)
    return measure_single_label(split, found.scores, labels, threshold=model.threshold)


def other_tier(folder: Path, build: Path) -> Path | None:
    """Return base's folder for compact's and the other way: beside it, else where models are."""
    modality, _, tier = folder.name.partition("-")
    if tier not in _OTHER:
        return None
    name = f"{modality}-{_OTHER[tier]}"
    if (folder.parent / name / CARD_FILE).is_file():
        return folder.parent / name
    try:
        return find_model(name, build)
    except AffectstreamError:
        return None


def accuracy_at_name(coverage: float) -> str:
    """Return the metric's name of the accuracy on so large a share of the rows."""
    return f"accuracy at {coverage:.0%} coverage"


def exclude_ece(measured: Sequence[Measured], why: str) -> list[Measured]:
    """Return the figures with their ECE under a name of its own, which counts for no goal.

    That is for rows that are no test set of their own: pooled, disturbed, of a corpus never seen.
    """
    return [replace(m, metric=f"ece, {why}") if m.metric == "ece" else m for m in measured]


def measure_figure(
    split: str, metric: str, figure: Callable[[np.ndarray], float], rows: int, *, key: str = ""
) -> Measured:
    """Return ``figure`` of all rows, with its interval over resampled rows."""
    low, high = bootstrap(figure, rows, draws=200)
    return Measured(split, metric, figure(np.arange(rows)), rows, low, high, key)


def accuracy_at(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """Return the accuracy on the most confident share of the rows."""
    count = np.array([max(1, round(coverage * len(labels)))])
    return float(accuracy_of_surest(*confidence_and_hits(probabilities, labels), count)[0])


LEAST_ROWS: Final = 100
"""Rows of a group from which on its figures are more than chance."""


def measure_gaps(
    split: str,
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    least: int = LEAST_ROWS,
    people: np.ndarray | None = None,
) -> list[Measured]:
    """Return accuracy, UAR and ECE of each group of at least ``least`` rows, with intervals.

    Then how far the groups lie apart in recall and in calibration, with the gap that chance alone
    gives groups of their sizes as its ``floor``; rows whose group is ``unknown`` count in no gap.
    ``people`` (n,) names whose row it is: chance then deals people, not rows, to groups.
    """
    figures: list[Measured] = []
    names = [name for name in np.unique(groups) if (groups == name).sum() >= least]
    for metric, measure in _MEASURES.items():
        for name in names:
            rows = np.flatnonzero(groups == name)
            found = partial(_measure, measure, probabilities[rows], labels[rows])
            figures.append(measure_figure(f"{split}, {name}", metric, found, len(rows)))
        known = [name for name in names if name != UNKNOWN]
        if len(known) > 1:
            apart = partial(_gap, measure, probabilities, labels, groups, known)
            gap = measure_figure(split, f"{metric} gap", apart, len(labels))
            whose = np.arange(len(labels)) if people is None else people
            by_chance = _gap_by_chance(measure, probabilities, labels, groups, whose, known)
            figures.append(replace(gap, floor=by_chance))
    return figures


def _measure(
    measure: Metric, probabilities: np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> float:
    return measure(probabilities[rows], labels[rows])


def _gap(
    measure: Metric,
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
    rows: np.ndarray,
) -> float:
    """Return the largest less the smallest value of the named groups among these rows."""
    parts = [rows[groups[rows] == name] for name in names]
    found = [measure(probabilities[part], labels[part]) for part in parts if len(part)]
    return max(found) - min(found)


def _gap_by_chance(
    measure: Metric,
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    people: np.ndarray,
    names: Sequence[str],
) -> float:
    """Return the mean gap where it is drawn who belongs to which of the named groups."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.isin(groups, names))
    _, first, person = np.unique(people[rows], return_index=True, return_inverse=True)
    found = []
    for _ in range(_CHANCE_DRAWS):
        drawn = groups.copy()
        drawn[rows] = rng.permutation(groups[rows][first])[person]
        found.append(_gap(measure, probabilities, labels, drawn, names, rows))
    return float(np.mean(found))


def write_figures(folder: Path, found: Evaluation) -> None:
    """Put these figures on the card of the model folder, in place of those that stood there."""
    day = datetime.now(UTC).date().isoformat()
    figures = tuple(
        Figure(
            split=m.split,
            metric=m.metric,
            value=round(m.value, 4),
            date=day,
            low=None if m.low is None else round(m.low, 4),
            high=None if m.high is None else round(m.high, 4),
            rows=m.rows,
            floor=None if m.floor is None else round(m.floor, 4),
        )
        for m in found.measured
    )
    card = read_card(folder / CARD_FILE)
    write_card(folder, card.model_copy(update={"figures": figures}))


def of_card(folder: Path, modality: str, tier: Tier) -> Evaluation:
    """Return the figures on the card of a model folder, which were measured last."""
    card = read_card(folder / CARD_FILE)
    measured = tuple(
        Measured(f.split, f.metric, f.value, f.rows or 0, f.low, f.high, floor=f.floor)
        for f in card.figures
    )
    days = {figure.date for figure in card.figures}
    return Evaluation(folder.name, modality, tier, card.licence, measured, max(days, default=""))
