"""No subject adds more than the bounds, whatever their windows say, and sums are what they say."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.aggregate.bound import GRID, Sums, sample
from schemas.vocabularies import EXPRESSIONS
from tests.pipelines.aggregate.world import in_memory, people, question, sums_of
from tests.support.served import feature

VALUES = st.one_of(
    st.none(), st.floats(width=32, allow_nan=True, allow_infinity=True), st.sampled_from([1, -1])
)
WINDOW = st.fixed_dictionaries(
    {
        "expression": st.sampled_from([*EXPRESSIONS, None, "a label of another vocabulary"]),
        "valence": VALUES,
        "arousal": VALUES,
        "confidence": VALUES,
        "scene_id": st.sampled_from(["a", "b", "c", "d", None, ""]),
        "region": st.sampled_from(["EU", "CN"]),
    }
)


def of(sums: Sums, name: str) -> list[int]:
    return sums.of[name].ravel().tolist()


@given(
    st.lists(WINDOW, max_size=40),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([(), ("scene_id",), ("hour", "scene_id", "region")]),
)
def test_one_subject_stays_within_the_bounds_that_the_noise_is_made_for(
    windows: list[dict[str, Any]], max_groups: int, max_windows: int, by: tuple[str, ...]
) -> None:
    rows = [feature("x", number * 400, **each) for number, each in enumerate(windows)]
    sums = sums_of(in_memory(rows), question(by=by), max_groups, max_windows)
    assert sum(of(sums, "subjects")) <= max_groups
    assert set(of(sums, "subjects")) <= {0, 1}
    assert max(of(sums, "windows"), default=0) <= max_windows
    for name in ("estimated", "valence", "arousal", "confidence"):
        assert max(map(abs, of(sums, name)), default=0) <= GRID
    for shares in sums.of["expressions"].tolist():
        assert math.hypot(*shares) <= GRID
    outside = [n for n, counted in enumerate(of(sums, "subjects")) if not counted]
    assert not any(values[outside].any() for values in sums.of.values())


def test_subjects_add_up_and_do_not_change_what_others_add() -> None:
    everybody = [people(3, windows=2, name=name, scene_id=name) for name in ("a", "b")]
    together = sums_of(in_memory(*everybody), question(by=("scene_id",)))
    alone = [sums_of(in_memory(rows), question(by=("scene_id",))) for rows in everybody]
    assert together.groups["scene_id"].to_pylist() == ["a", "b"]
    for name, values in together.of.items():
        assert values.tolist() == [one.of[name][0].tolist() for one in alone]


def test_each_subject_counts_by_the_mean_of_their_windows() -> None:
    rows = [
        feature("x", 0, expression="joy", valence=0.5, confidence=0.75),
        feature("x", 1, expression="fear", valence=-1.0, confidence=0.5),
        feature("x", 2, expression=None, abstained=True, valence=-1.0, confidence=0.1),
        feature("x", 3, expression="joy", valence=0.0, confidence=1.0),
        feature("y", 0, expression="joy", valence=7.0, confidence=-3.0),
        feature("y", 1, expression="joy", valence=0.5, confidence=0.5),
    ]
    sums = sums_of(in_memory(rows), question())
    assert of(sums, "subjects") == [2]
    assert of(sums, "windows") == [6]
    assert of(sums, "estimated") == [GRID * 3 // 4 + GRID]
    assert of(sums, "valence") == [-GRID // 8 + GRID * 3 // 4]  # of y (1 + 0.5) / 2
    assert of(sums, "confidence") == [GRID * 3 // 8 - GRID // 2]  # (0.5 + 0 + 1) / 4, (-1 + 0) / 2
    shown = dict(zip(EXPRESSIONS, of(sums, "expressions"), strict=True))
    assert shown == dict.fromkeys(EXPRESSIONS, 0) | {"joy": GRID * 3 // 2, "fear": GRID // 4}


def test_100_000_windows_of_one_subject_count_as_one_subject() -> None:
    others = in_memory(people(200, valence=-0.5))
    busy = in_memory(people(1, name="busy", valence=1.0)).take([0] * 100_000)
    rows = pa.concat_tables([others, busy])
    exact = np.mean(rows["valence"].to_numpy())
    assert exact > 0.99  # an average over windows is hers alone
    sums = sums_of(rows, question(), max_windows=100)
    (mean,) = sums.of["valence"][:, 0] / sums.of["estimated"][:, 0]
    assert mean == pytest.approx((200 * -0.5 + 1) / 201, abs=1e-4)
    assert of(sums, "windows") == [200 + 100]


def test_the_groups_and_windows_that_count_are_a_fair_sample() -> None:
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(3_000), 4)
    places = np.bincount(sample(codes, 2, rng) % 4, minlength=4)
    assert places.sum() == 6_000
    assert abs(places - 1_500).max() < 6 * math.sqrt(6_000 * 0.25 * 0.75)
    assert sorted(sample(np.array([0, 5, 5, 0, 5]), 9, rng)) == [0, 1, 2, 3, 4]
    assert len(sample(np.empty(0, np.int64), 2, rng)) == 0


def test_groups_are_days_and_hours_in_utc_and_keep_an_unknown_value_apart() -> None:
    rows = people(1, name="a") + people(1, name="b", scene_id=None)
    rows[1]["window_start"] += timedelta(hours=14, minutes=59)
    sums = sums_of(in_memory(rows), question(by=("day", "hour", "scene_id")))
    names = [sums.groups[name].to_pylist() for name in ("day", "hour", "scene_id")]
    found = zip(*names, strict=True)
    start = rows[0]["window_start"]
    assert sorted(found, key=str) == [
        (start.date(), start, "plaza"),
        (start.date() + timedelta(days=1), start + timedelta(hours=14), None),
    ]


def test_an_empty_table_has_no_group() -> None:
    for by in ((), ("scene_id", "hour")):
        sums = sums_of(in_memory([]), question(by=by))
        assert {len(values) for values in sums.of.values()} == {0}
