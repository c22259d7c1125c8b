"""Noise and thresholds: how much hides one subject, and its addition to the sums.

The noise is discrete Gaussian, drawn exactly and from the operating system's randomness by OpenDP
(Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import opendp.prelude as dp
import pyarrow as pa

from pipelines.aggregate.accounting import appearing_epsilon, rho_of
from pipelines.aggregate.bound import GRID, MIDDLE_AND_REACH, Sums
from pipelines.aggregate.question import COUNTS, Question
from pipelines.aggregate.settings import Aggregates
from schemas.vocabularies import EXPRESSIONS

Noise = Callable[[np.ndarray, float], np.ndarray]
"""Adds noise of a scale to whole numbers."""
_PART_OF_SUBJECTS = 0.5
"""Part of the loss for the number of subjects, which decides whether a group is shown; the other
sums share the rest."""
_ROUNDING = 1e-9
"""Part of the loss that is left unused, far more than rounding in its computation could miss."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a question is answered, whatever the tables hold.

    ``scales`` has the standard deviation of the noise of each sum, in its units. A group is shown
    where its noised number of subjects reaches ``threshold``. ``rho`` is the loss by the noise, as
    zero-concentrated differential privacy, and ``threshold_delta`` the probability that one subject
    makes a group appear.
    """

    scales: dict[str, float]
    threshold: int
    rho: float
    threshold_delta: float


def plan_noise(question: Question, settings: Aggregates) -> Plan:
    """Divide the loss of one question among its sums.

    A subject changes a sum by its sensitivity in each of their groups, so by the square root of the
    number of groups as much in all (Euclidean norm).
    """
    groups = settings.max_groups if question.by else 1
    delta = settings.delta / 2
    rho = rho_of(settings.epsilon - appearing_epsilon(delta), delta) * (1 - _ROUNDING)
    reaches = _sensitivities(question, settings)
    others = len(reaches) - 1
    parts = dict.fromkeys(reaches, (1 - _PART_OF_SUBJECTS) / max(others, 1))
    parts["subjects"] = _PART_OF_SUBJECTS if others else 1
    scales, spent = {}, 0.0
    for name, reach in reaches.items():
        share = rho * parts[name]
        scales[name] = reach * math.sqrt(groups / (2 * share))
        spent += _mechanism(scales[name]).map(d_in=math.nextafter(reach * groups**0.5, math.inf))
    threshold = _threshold(scales["subjects"], delta / groups) + settings.min_subjects - 1
    return Plan(scales, threshold, spent, delta)


def _sensitivities(question: Question, settings: Aggregates) -> dict[str, int]:
    """Return by how much a subject can change each sum of a group, all its entries together."""
    found = {"subjects": 1}
    if "windows" in question.measures:
        found["windows"] = settings.max_windows
    if means := [name for name in question.measures if name not in COUNTS]:
        found |= dict.fromkeys(["estimated", *means], GRID)
    return found


def _threshold(scale: float, delta: float) -> int:
    """Return what 1 plus the noise reaches with this probability at most.

    The discrete Gaussian reaches a whole number m no more often than the continuous one m - 1
    (Canonne and others, proposition 25).
    """
    return 2 + math.ceil(-scale * NormalDist().inv_cdf(delta))


def _mechanism(scale: float) -> dp.Measurement:
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=dp.i64)), dp.l2_distance(T=dp.f64)
    return dp.m.make_gaussian(*space, scale=scale)


def discrete_gaussian(values: np.ndarray, scale: float) -> np.ndarray:
    """Add discrete Gaussian noise of this standard deviation to each whole number."""
    noised = _mechanism(scale)(values.ravel().tolist())
    return np.array(noised, np.int64).reshape(values.shape)


def release(sums: Sums, plan: Plan, settings: Aggregates, noise: Noise) -> pa.Table:
    """Return the answer: groups above the threshold, ordered by name, with noised measures.

    A group of fewer than ``min_subjects`` is left out whatever the noise is. That reveals nothing:
    one subject more or less makes a difference to a group of just ``min_subjects`` alone, which the
    threshold lets appear with a probability of ``threshold_delta`` at most over all their groups.
    """
    exact = sums.of["subjects"][:, 0]
    candidates = np.flatnonzero(exact >= settings.min_subjects)
    noised = {"subjects": noise(exact[candidates], plan.scales["subjects"])}
    passed = noised["subjects"] >= plan.threshold
    shown = candidates[passed]
    noised = {"subjects": noised["subjects"][passed]} | {
        name: noise(sums.of[name][shown], scale)
        for name, scale in plan.scales.items()
        if name != "subjects"
    }
    names = {name: column.take(pa.array(shown)) for name, column in sums.groups.items()}
    answer = pa.table(names | _measures(noised, settings.min_subjects))
    return answer.sort_by([(name, "ascending") for name in names]) if names else answer


def _measures(noised: dict[str, np.ndarray], least: int) -> dict[str, pa.Array]:
    """Return the columns of the answer, made of noised sums alone.

    Means of what hardly anybody showed are null. Negative shares are taken as 0 before all are
    divided by their sum: that brings them nearer to the truth.
    """
    columns = {"subjects": pa.array(noised["subjects"])}
    if "windows" in noised:
        columns["windows"] = pa.array(np.maximum(noised["windows"][:, 0], 0))
    if "estimated" not in noised:
        return columns
    estimated = noised["estimated"][:, 0] / GRID
    columns["share_abstained"] = _rounded(1 - estimated / noised["subjects"], 0, 1)
    too_few = estimated < least
    of = np.where(too_few, 1, estimated) * GRID
    for name, (middle, reach) in MIDDLE_AND_REACH.items():
        if name in noised:
            mean = middle + reach * noised[name][:, 0] / of
            columns[name] = _rounded(mean, middle - reach, middle + reach, too_few)
    if "expressions" in noised:
        shown = np.maximum(noised["expressions"], 0)
        shares = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
        for label, share in zip(EXPRESSIONS, shares.T, strict=True):
            columns[f"share_{label}"] = _rounded(share, 0, 1, too_few)
    return columns


def _rounded(
    values: np.ndarray, low: float, high: float, absent: np.ndarray | None = None
) -> pa.Array:
    return pa.array(np.round(np.clip(values, low, high), 4), mask=absent)
