"""Which rule follows: two at once, fields that are missing, minors, days at the boundary, order."""

import datetime as dt
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import POLICIES
from schemas.events import WINDOW
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from tests.transforms.test_decide import feature
from transforms.decide import Before, Decider, _restore
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios

STATES = {
    "low": {
        "shows": "low",
        "expressions": ["sadness", "anger"],
        "where": {"valence": {"at_most": -0.2}},
        "windows": 2,
    },
    "lonely": {"shows": "low, alone", "all_of": ["low"], "context": {"company": "none"}},
    "far": {"shows": "either", "any_of": ["lonely", "glad"]},
    "glad": {"shows": "joy", "expressions": ["joy"]},
}
SCHEMA = pa.schema([*EMOTION_FEATURES, WINDOW.field("details")])


def rule(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "scenarios": ["social"],
        "state": state,
        "action": f"do_{name}",
        "reply": None,
    } | more


def policy(*rules: dict[str, Any], **more: Any) -> ScenarioPolicy:
    declared = {each["action"]: "speaks_to_person" for each in rules}
    declared |= {"suggest_game": "offers_content"} if "suggest_game" in declared else {}
    given = {"version": "v", "high_stakes": ["support"], "states": STATES, "rules": [*rules]}
    given["actions"] = declared
    return ScenarioPolicy.model_validate(given | more)


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{n: row.get(n) for n in SCHEMA.names} for row in rows], SCHEMA
    )


FOLLOW = Decisions(follow=1.0, forget_s=600.0)


def decide(chosen: ScenarioPolicy, *rows: dict[str, Any], parts: int = 1) -> list[dict[str, Any]]:
    """Decide on rows at once, or in parts that go on from each other."""
    decider, before, found = Decider(chosen, FOLLOW), None, []
    size = -(-len(rows) // parts)
    for start in range(0, len(rows), size):
        out, _, before = decider.drain([batch([*rows[start : start + size]])], before)
        found += out.to_pylist()
    return found


def windows(count: int, expression: str = "sadness", **more: Any) -> list[dict[str, Any]]:
    return [feature(n, expression, purpose="research", **more) for n in range(count)]


def told(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["rule_id"] for row in rows]


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_a_state_is_shown_after_its_windows_and_a_rule_follows_after_its_own(parts: int) -> None:
    rows = decide(policy(rule("a", "low", after=3)), *windows(5), parts=parts)
    assert told(rows) == [None, None, None, "a", "a"]
    assert [row["reason"] for row in rows] == ["default", "settling", "settling"] + [
        "scenario_rule"
    ] * 2
    assert rows[2]["reasons"] == "settling settling.a"
    assert rows[3]["reasons"] == "scenario_rule state.low"
    assert (rows[3]["action"], rows[3]["needs_person"]) == ("do_a", False)


def test_a_window_that_shows_something_else_begins_anew() -> None:
    rows = windows(6)
    rows[3] = feature(3, "joy", purpose="research")
    assert told(decide(policy(rule("a", "low")), *rows)) == [None, "a", "a", None, None, "a"]


def test_of_two_rules_the_greater_priority_follows_and_the_other_is_told() -> None:
    first, second = rule("a", "low", priority=1), rule("b", "low", priority=2, after=2)
    for rules in ((first, second), (second, first)):
        rows = decide(policy(*rules), *windows(4))
        assert told(rows) == [None, "a", "b", "b"]
        assert rows[1]["reasons"] == "scenario_rule state.low", "the other one only settles"
        assert rows[2]["reasons"] == "scenario_rule state.low also.a"


def test_a_rule_whose_context_is_missing_does_not_follow_and_the_decision_says_so() -> None:
    alone, together = '{"company": "none"}', '{"company": "friends"}'
    ruled = policy(rule("a", "low", context={"company": "none"}))
    for details, rule_id, reasons in (
        (alone, "a", "scenario_rule state.low"),
        (together, None, "default"),
        (None, None, "default missing.company"),
        ('{"door": "open"}', None, "default missing.company"),
    ):
        row = decide(ruled, *windows(2, details=details))[-1]
        assert (row["rule_id"], row["reasons"]) == (rule_id, reasons)


def test_a_state_whose_context_is_missing_is_not_shown_and_the_decision_says_so() -> None:
    ruled = policy(rule("a", "lonely"), rule("b", "far", priority=1, scenarios=["game"]))
    for scenario in ("social", "game"):
        untold = decide(ruled, *windows(3, scenario=scenario))[-1]
        assert (untold["rule_id"], untold["reasons"]) == (None, "default missing.company")
        alone = decide(ruled, *windows(3, scenario=scenario, details='{"company": "none"}'))[-1]
        assert alone["rule_id"] == {"social": "a", "game": "b"}[scenario]
        together = decide(ruled, *windows(3, scenario=scenario, details='{"company": "two"}'))[-1]
        assert together["reasons"] == "default"


def test_a_minor_is_nudged_by_nothing_and_meets_the_other_rule() -> None:
    nudge = rule("a", "low", priority=2, action="suggest_game", age_bands=["adult"])
    ruled = policy(nudge, rule("b", "low", priority=1))
    for band, wanted in (
        ("adult", "a"),
        ("teen", "b"),
        ("child", "b"),
        ("unknown", "b"),
        (None, "b"),
    ):
        assert told(decide(ruled, *windows(2, age_band=band)))[-1] == wanted


def test_the_shipped_policy_suggests_nothing_to_who_is_no_adult() -> None:
    shipped = read_scenarios(POLICIES / "scenarios.yaml")
    actions = set()
    for scenario in ("social", "game", "entertainment", "tourism"):
        for band in ("child", "teen", "unknown", None):
            for expression in ("sadness", "neutral"):
                rows = windows(40, expression, scenario=scenario, age_band=band, activity="alone")
                actions |= {row["action"] for row in decide(shipped, *rows)}
    assert actions == {"observe", "check_in", "encourage"}


@pytest.mark.parametrize(
    ("second", "follows"), [(-1, False), (0, True), (86_399, True), (86_400, False)]
)
def test_a_rule_follows_from_the_first_to_the_last_of_its_days(second: int, follows: bool) -> None:
    """Days are those of the windows' ends, as that of the row."""
    day = dt.date(2026, 9, 2)
    ruled = policy(rule("a", "sadness", since=day, until=day))
    end = dt.datetime.combine(day, dt.time(0), dt.UTC) + dt.timedelta(seconds=second)
    (row,) = decide(ruled, feature(0, "sadness", purpose="research", window_end=end))
    assert (row["rule_id"] == "a") == follows
    assert (row["event_date"] == day) == follows


@pytest.mark.parametrize("parts", [1, 2, 6])
def test_a_run_begins_before_the_first_day_of_its_rule(parts: int) -> None:
    """Otherwise a replay, which decides on all windows at once, would differ from a live job."""
    ruled = policy(rule("a", "low", after=3, since=dt.date(2026, 9, 2)))
    midnight = dt.datetime(2026, 9, 2, tzinfo=dt.UTC)
    rows = [
        row | {"window_end": midnight + dt.timedelta(seconds=5 * (n - 3))}
        for n, row in enumerate(windows(6))
    ]
    assert told(decide(ruled, *rows, parts=parts)) == [None, None, None, "a", "a", "a"]


def test_a_rule_is_of_its_purposes_and_scenarios_alone() -> None:
    ruled = policy(rule("a", "sadness", purposes=["safety"], scenarios=["social", "game"]))
    assert told(decide(ruled, *windows(1))) == [None]
    for scenario, wanted in (("social", "a"), ("game", "a"), ("learning", None), (None, None)):
        row = feature(0, "sadness", purpose="safety", scenario=scenario)
        assert told(decide(ruled, row)) == [wanted]


def test_a_person_looks_before_a_rule_acts_where_stakes_are_high_or_the_rule_says_so() -> None:
    asks = rule("a", "sadness", needs_person=True)
    ruled = policy(asks, rule("b", "sadness", scenarios=["support", "game"]))
    decider = Decider(ruled, Decisions())
    rows = [
        feature(0, "sadness", subject=s, purpose="research", scenario=scenario)
        for s, scenario in (("a", "social"), ("b", "support"), ("c", "game"))
    ]
    out, reviews, _ = decider.drain([batch(rows)], None)
    found = {row["scenario"]: row["needs_person"] for row in out.to_pylist()}
    assert found == {"social": True, "support": True, "game": False}
    assert set(reviews["scenario"].to_pylist()) == {"social", "support"}
    weak = feature(0, "sadness", purpose="research", abstained=True)
    assert decide(ruled, weak)[0]["needs_person"] is False, "nothing is done, by nobody"


def test_at_once_is_told_as_the_reason() -> None:
    ruled = policy(rule("a", "low", after=9, at_once={"game_result": "lost"}))
    rows = decide(ruled, *windows(3, game_result="lost"))
    assert told(rows) == [None, "a", "a"], "the state itself is shown from the second window on"
    assert rows[1]["reasons"] == "scenario_rule at_once state.low"


def test_a_value_on_the_bound_is_within() -> None:
    joy = feature(0, "joy", purpose="research")
    for at_least, wanted in ((joy["valence"], "a"), (joy["valence"] + 0.01, None)):
        states = {"x": {"shows": "x", "where": {"valence": {"at_least": float(at_least)}}}}
        ruled = policy(rule("a", "x"), states=states)
        assert told(decide(ruled, joy)) == [wanted]


def test_an_abstained_window_follows_no_rule_and_gives_no_reason_of_one() -> None:
    rows = [*windows(3), feature(3, "sadness", purpose="research", abstained=True)]
    last = decide(policy(rule("a", "low")), *rows)[-1]
    assert (last["action"], last["rule_id"], last["reasons"]) == ("hold", None, "abstained")


def test_a_run_goes_on_under_a_new_key() -> None:
    rows = windows(4)
    for row in rows[2:]:
        row |= {"subject_ref": "b" * 32, "session_ref": "6" * 32}
        row |= {"prior_subject_ref": "a" * 32, "prior_session_ref": "5" * 32}
    for parts in (1, 2, 4):
        found = told(decide(policy(rule("a", "low", after=3)), *rows, parts=parts))
        assert found == [None, None, None, "a"]


def test_a_run_ends_with_its_history() -> None:
    rows = [feature(n, "sadness", purpose="research") for n in (0, 1, 2, 140, 141, 142)]
    for parts in (1, 2, 3):
        found = told(decide(policy(rule("a", "low", after=2)), *rows, parts=parts))
        assert found == [None, None, "a", None, None, "a"]


@pytest.mark.parametrize("state", ["low", "sadness"])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_windows_that_nobody_saw_are_in_no_row(state: str, parts: int) -> None:
    sure, unsure = {"purpose": "research"}, {"purpose": "research", "abstained": True}
    ruled = policy(rule("a", state, after=4 if state == "sadness" else 3))
    between = [feature(n, "sadness", **(sure if n in (0, 6) else unsure)) for n in range(7)]
    assert told(decide(ruled, *between, parts=parts)) == [None] * 7
    each = [feature(n, "sadness", **(unsure if n % 2 else sure)) for n in range(8)]
    assert told(decide(ruled, *each, parts=parts)) == [None] * 6 + ["a", None], "the fourth is sure"
    apart = [feature(20 * n, "sadness", **sure) for n in range(6)]  # 100 s
    assert told(decide(ruled, *apart, parts=parts)) == [None] * 6
    near = [feature(4 * n, "sadness", **sure) for n in range(5)]  # three windows are missing
    assert told(decide(ruled, *near, parts=parts)) == [None] * 3 + ["a"] * 2


def test_a_gap_is_measured_in_windows() -> None:
    rows = [feature(12 * n, "sadness", purpose="research") for n in range(3)]  # each minute
    ruled = policy(rule("a", "sadness", after=3))
    for length_s, wanted in ((5.0, None), (60.0, "a")):
        decider = Decider(ruled, FOLLOW, length_s=length_s)
        assert decider.drain([batch(rows)], None)[0]["rule_id"].to_pylist()[-1] == wanted


def test_a_policy_that_changes_a_state_goes_on_with_the_others() -> None:
    rows = windows(4)
    _, _, before = Decider(policy(rule("a", "low", after=3)), Decisions()).drain(
        [batch(rows[:3])], None
    )
    states = {"low": STATES["low"], "new": {"shows": "x", "expressions": ["sadness"], "windows": 2}}
    changed = policy(rule("a", "low", after=3), rule("b", "new", scenarios=["game"]), states=states)
    out, _, after = Decider(changed, Decisions()).drain([batch(rows[3:])], before)
    assert out["rule_id"].to_pylist() == ["a"]
    assert isinstance(after, Before)


def test_a_state_of_before_some_columns_came_goes_on() -> None:
    rows = windows(6)
    decider = Decider(policy(rule("a", "low", after=4)), Decisions())
    _, _, before = decider.drain([batch(rows[:4])], None)
    added = {
        "history": {"sure_us"},
        "use": {"free_us"},
        "baseline": {"low_days", "today", "today_valence"},
    }
    older = [
        part.select([n for n in part.schema.names if n not in added.get(name, ())])
        for name, part in before._asdict().items()
    ]
    restored = _restore(older)
    assert [part.schema for part in restored] == [part.schema for part in before]
    assert told(decider.drain([batch(rows[4:])], restored)[0].to_pylist()) == ["a", "a"]


def test_rows_of_before_that_name_nobody_are_let_go() -> None:
    decider = Decider(policy(rule("a", "low", after=4)), Decisions())
    _, _, before = decider.drain([batch(windows(4))], None)
    unnamed = before.history.drop_columns(["subject_ref"])
    restored = _restore(before._replace(history=unnamed))
    assert (unnamed.num_rows, restored.history.num_rows) == (1, 0)
    assert restored.baseline.equals(before.baseline)


SHOWN = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sets(st.sampled_from("abc"), min_size=1),
        st.sampled_from(["sadness", "joy", "anger", "neutral"]),
        st.sampled_from([None, "none", "two"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)
RULED = policy(
    rule("short", "low", priority=1),
    rule("long", "low", priority=2, after=3),
    rule("alone", "lonely", priority=3, after=2),
    rule("glad", "glad", after=2),
)


def one_person(rows: list[dict[str, Any]]) -> list[str | None]:
    """The same rules in plain words, for one person without gaps that forget."""
    found: list[str | None] = []
    low, lonely, glad, last = 0, 0, 0, -10
    for row in rows:
        if row["abstained"]:
            found.append(None)
            continue
        if row["_number"] - last > 4:
            low, lonely, glad = 0, 0, 0
        held, last = row["_shown"], row["_number"]
        is_low = held in ("sadness", "anger")
        low = low + 1 if is_low else 0
        alone = is_low and low >= 2 and row["_company"] == "none"
        lonely = lonely + 1 if alone else 0
        glad = glad + 1 if held == "joy" else 0
        chosen = None
        if glad >= 2:
            chosen = "glad"
        if low >= 2:
            chosen = "long" if low >= 4 else "short"
        if lonely >= 2:
            chosen = "alone"
        found.append(chosen)
    return found


@given(SHOWN, st.randoms(use_true_random=False))
def test_rules_follow_as_they_say_in_whatever_order_and_parts(
    shown: list[tuple[Any, ...]], chance: random.Random
) -> None:
    rows, number = [], 0
    for gap, subjects, expression, company, abstained in shown:
        number += gap
        details = None if company is None else f'{{"company": "{company}"}}'
        rows += [
            feature(number, expression, subject=s, purpose="research", abstained=abstained,
                    details=details)
            | {"_shown": expression, "_company": company, "_number": number}
            for s in sorted(subjects)
        ]  # fmt: skip
    wanted = {}
    for subject in "abc":
        own = [row for row in rows if row["subject_ref"][0] == subject]
        wanted |= dict(zip((row["window_id"] for row in own), one_person(own), strict=True))
    mixed = rows.copy()
    chance.shuffle(mixed)
    assert {row["window_id"]: row["rule_id"] for row in decide(RULED, *mixed)} == wanted
    decider, before, found = Decider(RULED, FOLLOW), None, {}
    for end in sorted({row["window_end"] for row in rows}):  # a live job: window by window
        piece = [row for row in mixed if row["window_end"] == end]
        out, _, before = decider.drain([batch(piece)], before)
        found |= {row["window_id"]: row["rule_id"] for row in out.to_pylist()}
    assert found == wanted
