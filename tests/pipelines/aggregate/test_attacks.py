"""Attacks on one person, each of which succeeds on exact aggregates or on too little noise."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipelines.aggregate.answer import aggregate
from pipelines.aggregate.bound import Sums
from pipelines.aggregate.noise import discrete_gaussian, plan_noise, release
from pipelines.aggregate.report import explain
from pipelines.aggregate.settings import Aggregates
from pipelines.tables.query import query
from schemas.errors import AffectstreamError
from tests.pipelines.aggregate.attacker import advantage
from tests.pipelines.aggregate.world import in_memory, land, people, question, rows_of, sums_of
from tests.support.served import BEGIN, feature

SETTINGS = Aggregates()
TARGETS = 30
ONE = question(measures=("valence",))
PLAN = plan_noise(ONE, SETTINGS)
WITHIN = (math.e**SETTINGS.epsilon - 1) / (math.e**SETTINGS.epsilon + 1) + SETTINGS.delta
"""Largest advantage of any attacker on an answer with this ε and δ (Kairouz and others, 2015)."""


def scene_with_a_target(scene: int, valence: float, others: int) -> list[dict[str, object]]:
    """Others in the first windows, and a target who comes alone an hour later."""
    name = f"scene-{scene}"
    rows = people(others, name=f"o{scene}-", scene_id=name, valence=0.25)
    return [*rows, feature(f"t{scene}-", 720, scene_id=name, valence=valence)]


def test_differences_of_groups_of_21_and_20_tell_nothing(tmp_path: Path) -> None:
    """By two time ranges, each with at least 20 subjects, the target's valence is a subtraction."""
    truth = np.random.default_rng(5).choice([-0.75, 0.75], TARGETS)
    land(tmp_path, *(scene_with_a_target(n, v, 20) for n, v in enumerate(truth)))
    late = f"{BEGIN + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"

    exact = (
        "SELECT scene_id, count(DISTINCT subject_ref) AS n, avg(valence) AS v "
        "FROM emotion_features WHERE window_start < TIMESTAMP '{}' GROUP BY scene_id HAVING n >= 20"
    )
    both, without = (
        {row["scene_id"]: row for row in query(tmp_path, exact.format(end)).to_pylist()}
        for end in ("2091-01-01", late)
    )
    told = [both[s]["n"] * both[s]["v"] - without[s]["n"] * without[s]["v"] for s in both]
    scenes = [int(name.removeprefix("scene-")) for name in both]
    assert told == pytest.approx(truth[scenes].tolist(), abs=1e-4)
    assert len(told) == TARGETS

    def ask(number: int) -> int:
        scene = f"scene_id=scene-{number // 2 % TARGETS}"
        until = late if number % 2 else f"{2091 + number // 60}-01-01"
        asked = question(by=("scene_id",), where=(scene,), until=until)
        return aggregate(tmp_path, asked, SETTINGS, "analysts").table.num_rows

    shown = map(ask, range(1_000))
    with pytest.raises(AffectstreamError, match="is spent"):
        next(filter(None, shown))


def sums(others: int, valence: float | None) -> Sums:
    """The exact sums of a scene, without the target where they have no valence.

    Every other window abstained, so that the share that did is far from where it is clipped.
    """
    rows = people(others, valence=0.25)
    rows += [feature(f"p{n}-", 1, expression=None, abstained=True) for n in range(others)]
    rows += [] if valence is None else people(1, name="t", valence=valence)
    return sums_of(in_memory(rows), ONE)


def valence_sum(table: object) -> float:
    (row,) = rows_of(table)
    return row["valence"] * row["subjects"] * (1 - row["share_abstained"])


def guessed_signs(noise: Callable[[np.ndarray, float], np.ndarray], targets: int) -> float:
    """The share of targets whose sign of valence two answers tell, with and without them."""
    without = sums(300, None)
    sides = {sign: sums(300, sign) for sign in (-1.0, 1.0)}
    right = 0
    for sign in np.random.default_rng(2).choice([-1.0, 1.0], targets):
        pair = (sides[sign], without)
        more, less = (valence_sum(release(each, PLAN, SETTINGS, noise)) for each in pair)
        right += (more > less) == (sign > 0)
    return right / targets


def test_differences_of_large_groups_tell_no_sign() -> None:
    assert guessed_signs(lambda values, scale: values, 50) == 1
    assert guessed_signs(discrete_gaussian, 1_000) < 0.6  # six standard deviations over a coin


def test_no_attacker_says_whether_somebody_is_there_better_than_epsilon_allows() -> None:
    worlds = (sums(300, None), sums(300, 1.0))
    weak = replace(PLAN, scales={name: scale / 20 for name, scale in PLAN.scales.items()})
    assert advantage(worlds, weak, SETTINGS, 200) > WITHIN
    found = advantage(worlds, PLAN, SETTINGS, 1_500)
    assert found < 0.2  # 0.07 by the accounting, and 0.04 by chance; ε alone would allow 0.46
    assert found < WITHIN


def test_the_report_is_the_same_whether_somebody_is_alone_in_a_scene_or_not(tmp_path: Path) -> None:
    """How many groups were left out would say it, and it is what an exact report would tell."""
    reports = []
    for name in ("with", "without"):
        alone = people(1, name="alone", scene_id="attic") if name == "with" else []
        land(tmp_path / name, people(200), alone)
        scenes = query(tmp_path / name, "SELECT DISTINCT scene_id FROM emotion_features").num_rows
        answer = aggregate(tmp_path / name, question(by=("scene_id",)), SETTINGS, "analysts")
        reports.append((scenes, explain(answer, "analysts", SETTINGS)))
    assert [scenes for scenes, _ in reports] == [2, 1]
    assert reports[0][1] == reports[1][1]
