"""Mirroring: an avatar moves for who may be shown, slowly, and for nobody where it is off."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from tests.transforms.test_decide import DECIDER, START, decisions, everybody, feature
from transforms.decide import Decider
from transforms.deciding.scenarios import ScenarioPolicy


def hidden_from(second: int):
    """Somebody who may be shown until this second."""

    def may_show(subjects: pa.Array, times: pa.Array, prior: pa.Array) -> np.ndarray:
        del prior
        until = pa.scalar(START + dt.timedelta(seconds=second), times.type)
        assert len(subjects) == len(times)
        return pc.less(times, until).to_numpy(zero_copy_only=False)

    return may_show


def drained(decider: Decider, *rows: dict) -> list[dict]:
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    given = [pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)]
    return decider.drain(given, None)[0].to_pylist()


def test_without_an_opt_in_nothing_of_a_decision_moves_an_avatar() -> None:
    closed = Decider(DECIDER.policy, Decisions())
    rows = drained(closed, *(feature(n, "joy") for n in range(4)))
    assert {row["action"] for row in rows} == {"observe"}
    assert {row["reason"] for row in rows} == {"not_opted_in"}
    assert {row["intensity"] for row in rows} == {0.0}
    assert max(max(row["avatar_weights"]) for row in rows) == 0
    assert {row["expression"] for row in rows} == {"joy"}, "what is estimated stands as before"
    other = drained(closed, *(feature(n, "joy", purpose="recommendation") for n in range(4)))
    assert other == decisions(*(feature(n, "joy", purpose="recommendation") for n in range(4)))


def test_a_rule_that_says_mirror_is_no_way_around() -> None:
    policy = ScenarioPolicy.model_validate(
        {"version": "v", "high_stakes": [],
         "scenarios": {"social": {"joy": {"action": "mirror", "after": 1}}}}
    )  # fmt: skip
    (row,) = drained(Decider(policy, Decisions()), feature(0, "joy"))
    assert (row["action"], max(row["avatar_weights"])) == ("observe", 0)


def test_who_is_hidden_and_shown_again_moves_slowly_from_the_start() -> None:
    rules = Decisions()
    away = Decider(DECIDER.policy, rules, hidden_from(26))
    rows = drained(away, *(feature(n, "joy") for n in range(8)))
    assert [row["intensity"] > 0 for row in rows] == [True] * 5 + [False] * 3
    back = Decider(DECIDER.policy, rules, lambda *asked: ~hidden_from(26)(*asked))
    again = drained(back, *(feature(n, "joy") for n in range(8)))
    steps = np.diff([0.0, *(row["intensity"] for row in again)])
    assert (np.abs(steps) <= rules.max_change + 1e-6).all()
    assert steps[:5].tolist() == [0.0] * 5
    assert steps[5] > 0


def test_the_switch_is_stronger_than_an_opt_in() -> None:
    off = Decider(DECIDER.policy, Decisions(avatar=False), everybody)
    rows = drained(off, *(feature(n, "joy") for n in range(3)), feature(9, "joy", abstained=True))
    assert {max(row["avatar_weights"]) for row in rows} == {0.0}
    assert [row["reason"] for row in rows] == ["avatar_off"] * 4


def test_who_withdrew_rests_at_once_whatever_else_is_so() -> None:
    """A player rests by the reason: an unsure window, or a rule, does not come before it."""
    away = Decider(DECIDER.policy, Decisions(), hidden_from(11))
    shown = [feature(n, "anger", scenario="game", abstained=n == 3) for n in range(6)]
    rows = drained(away, *shown)
    assert [row["reason"] for row in rows] == ["settling"] * 2 + ["not_opted_in"] * 4
    assert [row["action"] for row in rows[2:]] == ["lower_difficulty", "observe"] + [
        "lower_difficulty"
    ] * 2
    assert rows[2]["reasons"] == "not_opted_in scenario_rule state.anger"
    assert rows[3]["reasons"] == "not_opted_in abstained"


def test_a_rule_that_says_mirror_moves_nobody_for_another_purpose() -> None:
    policy = ScenarioPolicy.model_validate(
        {"version": "v", "high_stakes": [],
         "scenarios": {"social": {"joy": {"action": "mirror", "after": 1}}}}
    )  # fmt: skip
    decider = Decider(policy, Decisions(), everybody)
    found = [
        drained(decider, feature(0, "joy", purpose=purpose))[0]["action"]
        for purpose in ("recommendation", "avatar_mirroring")
    ]
    assert found == ["observe", "mirror"]
