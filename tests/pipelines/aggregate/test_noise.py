"""The noise is what the report says, hides what one subject adds, and decides which groups show."""

import math
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pipelines.aggregate.accounting import epsilon_of, rho_of
from pipelines.aggregate.bound import GRID, Sums
from pipelines.aggregate.noise import discrete_gaussian, plan_noise, release
from pipelines.aggregate.settings import Aggregates
from tests.pipelines.aggregate.world import no_noise, question, rows_of

SETTINGS = Aggregates()
DRAWS = 20_000
RARE = 1e-6
"""How often a test of randomness may fail where nothing is wrong: its draws cannot be repeated."""


def probabilities(scale: float, reach: int) -> np.ndarray:
    """Of -reach to reach, by the definition of the discrete Gaussian."""
    numbers = np.arange(-reach, reach + 1)
    weights = np.exp(-(numbers**2) / (2 * scale**2))
    return weights / weights.sum()


def chance(draws: np.ndarray, scale: float) -> float:
    """The probability of draws that are at least as far from the distribution, by chi-square."""
    reach = math.ceil(12 * scale)
    expected = probabilities(scale, reach) * len(draws)
    seen = np.bincount(draws + reach, minlength=2 * reach + 1)
    common = expected > 10
    merge = [(seen[common], expected[common]), (seen[~common].sum(), expected[~common].sum())]
    found, wanted = (np.append(a, b) for a, b in zip(*merge, strict=True))
    return float(stats.chisquare(found, wanted).pvalue)


@pytest.mark.parametrize("scale", [0.7, 3.0, 41.5])
def test_20_000_draws_are_a_discrete_gaussian(scale: float) -> None:
    draws = discrete_gaussian(np.full(DRAWS, 1_000), scale) - 1_000
    assert chance(draws, scale) > RARE


@pytest.mark.parametrize("wrong", [1.06, 0.94])
def test_the_test_tells_a_scale_that_is_off_by_six_percent(wrong: float) -> None:
    draws = np.random.default_rng(1).choice(
        np.arange(-240, 241), DRAWS, p=probabilities(20 * wrong, 240)
    )
    assert chance(draws, 20.0) < RARE


def test_draws_do_not_depend_on_each_other_or_repeat() -> None:
    draws = discrete_gaussian(np.zeros((DRAWS, 2), np.int64), 100.0)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / math.sqrt(DRAWS)
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 5 / math.sqrt(DRAWS)
    assert (discrete_gaussian(np.zeros(50, np.int64), 1e6) != draws[:50, 0]).any()


def delta_of_gaussian(multiplier: float, epsilon: float) -> float:
    """Exact δ of the continuous Gaussian: Balle and Wang, 2018, theorem 8."""
    normal, half = NormalDist(), 1 / (2 * multiplier)
    above = normal.cdf(half - epsilon * multiplier)
    return above - math.exp(epsilon) * normal.cdf(-half - epsilon * multiplier)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("delta", [1e-15, 5e-9, 1e-5])
def test_the_loss_that_is_accounted_is_no_less_than_the_exact_one(
    epsilon: float, delta: float
) -> None:
    rho = rho_of(epsilon, delta)
    assert epsilon_of([rho], delta) <= epsilon
    assert delta_of_gaussian(1 / math.sqrt(2 * rho), epsilon) <= delta
    assert rho + 2 * math.sqrt(rho * math.log(1 / delta)) >= epsilon * 0.98  # not wasted either


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("measures", [(), ("subjects",), ("windows",), ("expressions", "valence")])
@pytest.mark.parametrize("by", [(), ("hour",)])
def test_a_plan_costs_what_one_question_may_cost(
    epsilon: float, measures: tuple[str, ...], by: tuple[str, ...]
) -> None:
    settings = Aggregates(epsilon=epsilon, max_groups=7, max_windows=30)
    plan = plan_noise(question(by=by, measures=measures), settings)
    reach = dict.fromkeys(plan.scales, GRID) | {"subjects": 1, "windows": 30}
    groups = 7 if by else 1
    rho = sum(groups * reach[name] ** 2 / (2 * scale**2) for name, scale in plan.scales.items())
    assert plan.rho == pytest.approx(rho)
    appearing = -math.log1p(-plan.threshold_delta)
    assert 0.999 * epsilon < epsilon_of([plan.rho], settings.delta / 2) + appearing <= epsilon
    assert plan.threshold_delta == settings.delta / 2
    wanted = {"subjects", *(measures or question().measures)}
    means = wanted - {"subjects", "windows"}
    assert plan.scales.keys() == wanted | ({"estimated"} if means else set())


def counted(*subjects: int) -> Sums:
    """Groups of so many subjects."""
    names = {"scene_id": pa.chunked_array([[f"s{n:05}" for n in range(len(subjects))]])}
    return Sums(names, {"subjects": np.array(subjects)[:, None]})


COUNTS_ONLY = plan_noise(question(by=("scene_id",), measures=("subjects",)), SETTINGS)


def shown(sums: Sums, noise: object = discrete_gaussian) -> list[str]:
    return [row["scene_id"] for row in rows_of(release(sums, COUNTS_ONLY, SETTINGS, noise))]


def test_groups_of_19_are_never_shown() -> None:
    assert shown(counted(*[19] * 20_000)) == []
    assert shown(counted(19, 20), lambda values, scale: values + 10**9) == ["s00001"]


def test_a_group_of_20_appears_with_the_probability_that_is_accounted_at_most() -> None:
    """One subject, who makes all groups that they may be in reach 20, is seen so often."""
    scale = COUNTS_ONLY.scales["subjects"]
    numbers = np.arange(-2_000, 2_001)
    reaches = probabilities(scale, 2_000)[20 + numbers >= COUNTS_ONLY.threshold].sum()
    assert 0 < reaches * SETTINGS.max_groups <= SETTINGS.delta / 2
    assert shown(counted(*[20] * 20_000)) == []


def test_near_the_threshold_the_noise_decides() -> None:
    at = COUNTS_ONLY.threshold
    share = len(shown(counted(*[at] * 2_000))) / 2_000
    assert abs(share - 0.5) < 0.08  # six standard deviations, and noise of 0 passes
    assert shown(counted(at - 1, at), no_noise) == ["s00001"]
    assert len(shown(counted(*[at + 200] * 2_000))) == 2_000


def exact(subjects: int, **sums: object) -> Sums:
    of = {name: np.array(values).reshape(1, -1) for name, values in sums.items()}
    return Sums({}, {"subjects": np.array([[subjects]]), **of})


def test_measures_are_what_the_sums_say() -> None:
    asked = question()
    sums = exact(
        400,
        windows=9_000,
        estimated=GRID * 200,
        valence=-GRID * 50,
        arousal=GRID * 20,
        confidence=GRID * 100,
        expressions=[GRID * n for n in (0, 0, 0, 150, 0, 0, 50)],
    )
    (row,) = rows_of(release(sums, plan_noise(asked, SETTINGS), SETTINGS, no_noise))
    assert row == {
        "subjects": 400,
        "windows": 9_000,
        "share_abstained": 0.5,
        "valence": -0.25,
        "arousal": 0.1,
        "confidence": 0.75,
        "share_joy": 0.75,
        "share_neutral": 0.25,
        **{f"share_{name}": 0.0 for name in ("anger", "disgust", "fear", "sadness", "surprise")},
    }


def test_noise_never_leads_out_of_the_range_and_a_mean_of_hardly_anybody_is_null() -> None:
    asked = question()
    plan = plan_noise(asked, SETTINGS)
    zero = dict.fromkeys(("windows", "estimated", "valence", "arousal", "confidence"), 0)
    (row,) = rows_of(release(exact(400, **zero, expressions=[0] * 7), plan, SETTINGS, no_noise))
    assert (row["windows"], row["share_abstained"]) == (0, 1)
    assert {row[name] for name in ("valence", "arousal", "confidence", "share_joy")} == {None}
    wild = zero | {"estimated": GRID * 400, "valence": 10**12, "arousal": -(10**12), "windows": -9}
    (row,) = rows_of(release(exact(400, **wild, expressions=[-GRID] * 7), plan, SETTINGS, no_noise))
    assert (row["valence"], row["arousal"], row["windows"], row["share_joy"]) == (1, -1, 0, 0)
    wild["expressions"] = [-GRID, GRID * 300, GRID * 100, 0, 0, 0, 0]
    (row,) = rows_of(release(exact(400, **wild), plan, SETTINGS, no_noise))
    assert (row["share_anger"], row["share_disgust"], row["share_fear"]) == (0, 0.75, 0.25)
