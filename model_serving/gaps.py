"""Gaps between groups of people: a model whose card shows none, or too large ones, is not loaded.

A card has figures by group where it has the gap in recall (``uar gap``) and in calibration
(``ece gap``) between groups, each with its bootstrap interval, as ``affectstream evaluate`` writes
them. An exception lets a model run all the same: it has a reason, a name and an end.
"""

import datetime as dt
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import Field

from model_serving.card import Figure, ModelCard
from schemas.errors import AffectstreamError
from schemas.settings import Number, Settings
from schemas.strict import Frozen, read_yaml

_LOG = logging.getLogger(__name__)

SHIPPED: Final = Path(__file__).parents[1] / "schemas" / "policies" / "model_exceptions.yaml"
KINDS: Final = {"uar gap": "recall", "ece gap": "calibration"}
"""Metric of a card → what the gap is in."""
_MEASURE: Final = "measure it on groups and write the figures on the card"
_WEIGHTS: Final = "model.safetensors"

Today = Callable[[], dt.date]


class GapException(Settings):
    """Why a model runs although its card shows no small gaps, who answers for it, until when."""

    reason: str = Field(min_length=20)
    by: str = Field(min_length=2)
    until: dt.date = Field(lt=dt.date(2100, 1, 1))


class ShippedException(GapException):
    """An exception for one shipped model; the weights are those of this digest and no others."""

    model: str
    weights: str = Field(pattern="^[0-9a-f]{64}$")


class _Shipped(Frozen):
    exceptions: tuple[ShippedException, ...]


class GapLimit(Settings):
    """How far groups may lie apart, and the exceptions from it."""

    max_gap: Number = Field(default=0.1, ge=0, le=1)
    exceptions: Mapping[str, GapException] = Field(default_factory=dict)


def check_gaps(card: ModelCard, limit: GapLimit, today: Today | None = None) -> None:
    """Let a model be loaded, and log the exception by which it is.

    Raises:
        AffectstreamError: its card's gaps refuse it.
    """
    if refusal := explain_gaps(card, limit, today):
        raise AffectstreamError(refusal)
    problem, found = next(_problems(card, limit.max_gap), None), exception_for(card, limit)
    if problem is not None and found is not None:
        what = "%s runs by an exception until %s, by %s: %s (%s)"
        _LOG.warning(what, card.model_id, found.until, found.by, found.reason, problem)


def explain_gaps(card: ModelCard, limit: GapLimit, today: Today | None = None) -> str | None:
    """Return why a card's gaps refuse its model, None where they do not or an exception holds."""
    problem, found = next(_problems(card, limit.max_gap), None), exception_for(card, limit)
    if problem is None:
        return None
    cure = _cure(card)
    if found is None:
        return f"{card.model_id} is not loaded: {problem}; {cure}"
    if found.until < (today or _today)():
        return (
            f"{card.model_id} is not loaded: {problem}, and the exception for it by {found.by} "
            f"ended on {found.until}; {cure}"
        )
    return None


def exception_for(card: ModelCard, limit: GapLimit) -> GapException | None:
    """Return the exception that names a model: that of the configuration, else a shipped one."""
    named = limit.exceptions.get(card.modality)
    if named is not None:
        return named
    weights = card.sha256.get(_WEIGHTS)
    return next(
        (e for e in _shipped() if (e.model, e.weights) == (card.model_id, weights)),
        None,
    )


def largest_gaps(card: ModelCard) -> dict[str, Figure]:
    """Return the largest gap of each kind that has an interval, by its metric."""
    found: dict[str, Figure] = {}
    for figure in card.figures:
        if figure.metric in KINDS and figure.low is not None and figure.high is not None:
            known = found.get(figure.metric)
            found[figure.metric] = max(known or figure, figure, key=_size)
    return found


def _size(figure: Figure) -> float:
    """Order figures by how much they refuse; a gap that is none, or negative, comes first."""
    return figure.value if figure.value >= 0 else math.inf


def _problems(card: ModelCard, most: float) -> Iterator[str]:
    gaps = largest_gaps(card)
    for metric, what in KINDS.items():
        gap = gaps.get(metric)
        if gap is None:
            yield f"its card has no gap in {what} between groups with a bootstrap interval"
        elif gap.value < 0:
            yield f"its gap in {what} is {gap.value:.3f}, and no gap is less than 0"
        elif not gap.value <= most:  # a value that is no number refuses too
            yield (
                f"its gap in {what} is {gap.value:.3f} (95 % interval {gap.low:.3f} to "
                f"{gap.high:.3f}) in {gap.split}, over `models.max_gap` ({most:g})"
            )


def _cure(card: ModelCard) -> str:
    measured = KINDS.keys() <= largest_gaps(card).keys()
    return (
        "teach it the groups that it serves worse" if measured else _MEASURE
    ) + f", or name an exception with reason, by and until as `models.exceptions.{card.modality}`"


@lru_cache(maxsize=1)
def _shipped() -> tuple[ShippedException, ...]:
    return read_yaml(SHIPPED, _Shipped, "a file of exceptions").exceptions


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()
