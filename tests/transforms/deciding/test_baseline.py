"""What is usual for a person, against plain sums over all of their windows."""

import datetime as dt
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import POLICIES
from schemas.decisions.columns import BASELINE_COLUMNS
from schemas.decisions.settings import Baselines
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS
from tests.transforms.test_decide import feature
from transforms.decide import Before, Decider
from transforms.deciding.baseline import BASELINE, REACH, USUAL, Baseline, coarse_columns, forget
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios

RULES = Baselines(half_life_s=3_600, trend_half_life_s=60, least_windows=2)
DAY = dt.timedelta(days=1)
POLICY = ScenarioPolicy.model_validate(
    {
        "version": "v",
        "high_stakes": [],
        "states": {
            "unlike_oneself": {
                "shows": "far lower than the person usually is",
                "where": {"valence_deviation": {"at_most": -2}},
            }
        },
        "rules": [
            {"id": "a", "scenarios": ["social"], "state": "unlike_oneself", "action": "check_in",
             "reply": None}
        ],
    }
)  # fmt: skip


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    return pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)


def followed(*rows: dict[str, Any], parts: int = 1, rules: Baselines = RULES) -> list[dict]:
    """Return what was usual before each row; rows by time, at once or in parts."""
    state, found = None, []
    size = -(-len(rows) // parts)
    for start in range(0, len(rows), size):
        piece = batch([*rows[start : start + size]])
        baseline = Baseline(rules, state)
        affect = np.stack([piece["valence"].to_numpy(), piece["arousal"].to_numpy()], axis=1)
        usual = baseline.advance(piece, affect)
        state = baseline.snapshot()
        assert state.schema == BASELINE
        found += [
            {name: values[n] for name, values in usual.values.items()}
            | {"expression": usual.expression[n]}
            for n in range(piece.num_rows)
        ]
    return found


def assert_same(one: list[dict], other: list[dict]) -> None:
    """Parts and new keys change nothing, to the bit."""
    np.testing.assert_array_equal(*([[*row.values()] for row in rows] for rows in (one, other)))


def by_hand(rows: list[dict[str, Any]], at: int) -> dict[str, float]:
    """The same for one person by sums over the windows before one of them."""
    now = rows[at]["window_end"]
    sure = [row for row in rows[:at] if row["window_end"] < now and not row["abstained"]]
    ages = np.array([(now - row["window_end"]).total_seconds() for row in sure])
    weights, recent = 0.5 ** (ages / RULES.half_life_s), 0.5 ** (ages / RULES.trend_half_life_s)
    if not sure or weights.sum() < RULES.least_windows:
        return {}
    told = {}
    for name in ("valence", "arousal"):
        values = np.array([row[name] for row in sure], np.float32).astype(np.float64)
        mean = (weights * values).sum() / weights.sum()
        spread = np.sqrt(max((weights * values**2).sum() / weights.sum() - mean**2, 0))
        told |= {f"usual_{name}": mean, f"{name}_spread": spread}
        told[f"{name}_deviation"] = (np.float32(rows[at][name]) - mean) / max(spread, 0.1)
        if recent.sum() >= 3:
            told[f"{name}_trend"] = (recent * values).sum() / recent.sum() - mean
    return told


SHOWN = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 2, 30, 700]),  # 700 windows are almost a half-life
        st.sampled_from(EXPRESSIONS),
        st.sampled_from([-0.5, 0.0, 0.25, 0.75]),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


@given(SHOWN, st.integers(1, 4))
def test_a_baseline_is_the_weighted_sum_of_what_was_shown(
    shown: list[tuple[int, str, float, bool]], parts: int
) -> None:
    rows, number = [], 0
    for gap, expression, valence, abstained in shown:
        number += gap
        rows.append(feature(number, expression, valence=valence, abstained=abstained))
    found = followed(*rows, parts=parts)
    assert_same(found, followed(*rows))
    for at, row in enumerate(found):
        wanted = by_hand(rows, at)
        for name in list(USUAL)[:8]:
            told = row[name]
            if name in wanted:
                # a spread of nothing is the root of what sums are rounded by
                assert told == pytest.approx(wanted[name], abs=1e-6), name
            else:
                assert np.isnan(told), name


REVISED = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.5, 1.0]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=6,
)
"""Of each window that late events revised: valence then, whether it abstained before, and after."""


@given(SHOWN, REVISED, st.randoms(use_true_random=False))
def test_late_events_move_what_is_usual_by_no_more_than_their_windows_count(
    shown: list[tuple[int, str, float, bool]],
    revised: list[tuple[float, bool, bool]],
    chance: random.Random,
) -> None:
    """The stream summed windows as they were in time, a start from the tables as they stand."""
    number, in_time, standing, late = 0, [], [], []
    for gap, expression, valence, abstained in shown:
        number += gap
        row = feature(number, expression, valence=valence, abstained=abstained)
        in_time.append(row)
        standing.append(row)
        if revised and chance.random() < 0.4:
            value, before, after = revised[len(late) % len(revised)]
            in_time[-1] = row | {"abstained": before}
            standing[-1] = row | {"valence": value, "abstained": after}
            late.append(row["window_end"])
    last = feature(number + 1, "joy")
    one, other = (followed(*rows, last)[-1] for rows in (in_time, standing))
    if np.isnan(one["usual_valence"]) or np.isnan(other["usual_valence"]):
        return
    shares = []
    for rows in (in_time, standing):
        sure = [row["window_end"] for row in rows if not row["abstained"]]
        ages = np.array([(last["window_end"] - end).total_seconds() for end in sure])
        weights = 0.5 ** (ages / RULES.half_life_s)
        shares.append(weights[[end in late for end in sure]].sum() / weights.sum())
    apart = abs(one["usual_valence"] - other["usual_valence"])
    assert apart <= 2 * max(shares) + 1e-9


def test_shares_and_days_are_those_of_the_windows() -> None:
    shows = ["joy", "joy", "sadness", "neutral"]
    rows = [feature(n, name) for n, name in enumerate([*shows, "joy"])]
    slow = RULES.model_copy(update={"half_life_s": 30 * 86_400.0})
    last = followed(*rows, rules=slow)[-1]
    shares = {name: last[f"share_{name}"] for name in EXPRESSIONS}
    wanted = {"joy": 0.5, "sadness": 0.25, "neutral": 0.25}
    assert shares == {name: pytest.approx(wanted.get(name, 0), abs=1e-3) for name in EXPRESSIONS}
    assert last["expression"] == EXPRESSIONS.index("joy")
    ends = [rows[0]["window_end"] + n * DAY for n in (0, 0, 1, 3, 9, 9.5, 30)]
    days = [feature(n, "joy", window_end=end) for n, end in enumerate(ends)]
    found = followed(*days, rules=slow)
    assert [row["days_seen"] for row in found] == [1, 1, 2, 3, 2, 2, 1]


def days_of(*shown: str | None, windows: int = 30) -> list[dict[str, Any]]:
    """A day each of 30 windows that show an expression, or that abstain."""
    return [
        feature(n, name or "sadness", purpose="research", scenario="health", abstained=name is None)
        | {"window_end": feature(n, "joy")["window_end"] + day * DAY, "window_id": f"{day}-{n}"}
        for day, name in enumerate(shown)
        for n in range(windows)
    ]


WEEK = Baselines(least_windows=24)


@pytest.mark.parametrize("parts", [1, 3, 7])
@pytest.mark.parametrize(
    ("shown", "seen", "low"),
    [
        (("sadness", "sadness", "sadness"), 3, 3),
        (("joy", "joy", "sadness"), 3, 1),
        ((None, None, "sadness"), 1, 1),
        (("sadness", None, "sadness"), 2, 2),
        (("sadness", "joy", "sadness", "sadness"), 4, 3),
    ],
)
def test_days_are_low_by_what_was_seen_for_sure(
    shown: tuple[str | None, ...], seen: int, low: int, parts: int
) -> None:
    last = followed(*days_of(*shown), rules=WEEK, parts=parts)[-1]
    assert (last["days_seen"], last["low_days"]) == (seen, low)


def test_a_moment_makes_no_low_day_and_a_week_forgets_one() -> None:
    assert followed(*days_of("sadness", windows=11), rules=WEEK)[-1]["low_days"] == 0
    assert followed(*days_of("sadness", windows=13), rules=WEEK)[-1]["low_days"] == 1
    week = followed(*days_of("sadness", *["joy"] * 7), rules=WEEK)
    assert [week[30 * day + 29]["low_days"] for day in range(8)] == [1] * 7 + [0]


def test_windows_that_abstained_leave_no_baseline() -> None:
    baseline = Baseline(WEEK)
    baseline.advance(batch(days_of(None)), np.zeros((30, 2)))
    assert baseline.snapshot().num_rows == 0


@pytest.mark.parametrize(
    ("shown", "helped"),
    [
        (("joy", "joy", "sadness"), False),
        ((None, None, "sadness"), False),
        (("sadness", "sadness", "sadness"), True),
    ],
)
def test_the_shipped_policy_offers_help_after_three_low_days(
    shown: tuple[str | None, ...], helped: bool
) -> None:
    decider = Decider(read_scenarios(POLICIES / "scenarios.yaml"), Decisions(), baselines=WEEK)
    out = decider.drain([batch(days_of(*shown))], None)[0]
    assert ("health-help" in out["rule_id"].to_pylist()) == helped


@pytest.mark.parametrize(("more_s", "anew"), [(0, False), (5, True)])
@pytest.mark.parametrize("parts", [1, 2])
def test_what_rested_too_long_begins_anew(more_s: int, anew: bool, parts: int) -> None:
    first = feature(0, "joy")
    silence = dt.timedelta(seconds=REACH * RULES.half_life_s + more_s)
    rows = [first, feature(1, "joy", window_end=first["window_end"] + silence)]
    baseline, state = Baseline(RULES), None
    for piece in [rows] if parts == 1 else [[row] for row in rows]:
        baseline = Baseline(RULES, state)
        baseline.advance(batch(piece), np.zeros((len(piece), 2)))
        state = baseline.snapshot()
    begun = rows[1 if anew else 0]["window_end"]
    assert state["since_us"].to_pylist() == [round(begun.timestamp() * 1e6)]


@pytest.mark.parametrize(
    "other",
    [{"purpose": "research"}, {"scenario": "game"}, {"age_band": "teen"}, {"age_band": None},
     {"subject_ref": "b" * 32}],
)  # fmt: skip
def test_a_baseline_is_of_one_person_purpose_scenario_and_age_band(other: dict[str, Any]) -> None:
    rows = [feature(n, "joy", **(other if n < 5 else {})) for n in range(6)]
    assert np.isnan(followed(*rows)[-1]["usual_valence"])
    assert not np.isnan(followed(*(feature(n, "joy") for n in range(6)))[-1]["usual_valence"])


def test_a_baseline_goes_on_over_sessions_and_under_a_new_key() -> None:
    rows = [feature(n, "joy", session_ref=f"{n}" * 32) for n in range(6)]
    assert not np.isnan(followed(*rows)[-1]["usual_valence"])
    new = {"subject_ref": "b" * 32, "prior_subject_ref": "a" * 32}
    turned = [row | (new if n > 2 else {}) for n, row in enumerate(rows)]
    for parts in (1, 2, 3):
        assert_same(followed(*turned, parts=parts), followed(*rows))


def test_sessions_at_once_are_added_and_neither_sees_the_other() -> None:
    pairs = [
        feature(n, name, session_ref=s * 32, window_id=f"{n}{s}")
        for n in range(3)
        for s, name in (("5", "joy"), ("6", "anger"))
    ]
    found = followed(*pairs)
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert one["usual_valence"] == pytest.approx(other["usual_valence"], nan_ok=True)
    mean = np.mean([pairs[0]["valence"], pairs[1]["valence"]])
    assert found[-1]["usual_valence"] == pytest.approx(mean, abs=1e-3)


def test_who_was_erased_has_no_baseline_any_more() -> None:
    piece = batch([feature(n, "joy", subject=s) for n in range(3) for s in "ab"])
    baseline = Baseline(RULES)
    baseline.advance(piece, np.zeros((6, 2)))
    state = baseline.snapshot()
    assert set(state["subject_ref"].to_pylist()) == {"a" * 32, "b" * 32}
    begun = min(state["since_us"].to_pylist())
    assert forget(state, {}).equals(state)
    assert forget(state, {"a" * 32: begun})["subject_ref"].to_pylist() == ["b" * 32]
    assert forget(state, {"a" * 32: begun - 1}).equals(state), "it began after the erasure"
    assert forget(state, {"a" * 32: begun, "b" * 32: begun}).num_rows == 0


def test_what_lands_is_in_coarse_steps_and_null_where_too_little_is_known() -> None:
    rows = [feature(n, "joy", valence=v) for n, v in enumerate((0.31, 0.52, 0.33, 0.9, -0.9))]
    piece = batch(rows)
    usual = Baseline(RULES).advance(piece, np.full((5, 2), 0.5))
    columns = coarse_columns(usual)
    assert set(columns) == {field.name for field in BASELINE_COLUMNS}
    assert columns["usual_valence"].to_pylist()[:3] == [None] * 3, "two windows count less than 2"
    for name, column in columns.items():
        if name == "usual_expression":
            assert column.to_pylist() == [None, None, None, "joy", "joy"]
            continue
        step = 1.0 if name.endswith("deviation") else 0.2
        steps = column.drop_null().to_numpy() / step
        assert np.abs(steps - steps.round()).max() < 1e-5, name
    assert list(USUAL)[:8] == [name for name in columns if name != "usual_expression"]


def test_a_rule_may_ask_how_far_somebody_is_from_what_is_usual_for_them() -> None:
    """The same window is far off for who is always glad, and nothing new for who is always low."""
    rows = [
        feature(n, name if n < 30 else "sadness", subject=subject, purpose="research")
        for n in range(33)
        for subject, name in (("a", "joy"), ("b", "sadness"))
    ]
    decider = Decider(POLICY, Decisions(follow=1.0), baselines=RULES)
    out, _, _ = decider.drain([batch(rows)], None)
    told = {
        (row["subject_ref"][0], row["window_id"][2:]): row["rule_id"] for row in out.to_pylist()
    }
    assert {who for (who, _), rule in told.items() if rule} == {"a"}
    assert told["a", "30"] == "a"
    (row,) = (r for r in out.to_pylist() if r["window_id"] == "a-30")
    assert row["usual_expression"] == "joy"
    assert row["valence_deviation"] == -3
    assert row["usual_valence"] > 0.5


@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_another_order_and_other_parts_give_the_same_decisions(
    chance: random.Random, parts: int
) -> None:
    rows = [
        feature(n, chance.choice(EXPRESSIONS), subject=s, session_ref=e * 32, purpose="research",
                window_id=f"{n}{s}{e}")
        for n in range(12)
        for s in "ab"
        for e in "56"
    ]  # fmt: skip
    decider = Decider(POLICY, Decisions(), baselines=RULES)
    whole = decider.drain([batch(rows)], None)[0]
    ends = sorted({row["window_end"] for row in rows})
    chance.shuffle(rows)
    before: Before | None = None
    found = []
    for part in np.array_split(np.array(ends), parts):
        piece = [row for row in rows if row["window_end"] in set(part)]
        out, _, before = decider.drain([batch(piece[:5]), batch(piece[5:])], before)
        found.append(out)
    assert pa.Table.from_batches(found).equals(pa.Table.from_batches([whole]))
