"""Which decisions get a reply, and the event that carries it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.replier import Replier
from pipelines.replies.events import AI_NOTICE, REPLY, REPLY_COLUMNS, ReplyEvents, asking
from pipelines.replies.settings import Replies
from schemas.tables import EXPRESSION_DECISIONS
from tests.support.served import BEGIN, decision, subject

RULED = {"action": "celebrate", "reason": "scenario_rule", "reply_id": "game-celebrate"}
STRATEGIES = Replies().strategies


class Echo:
    """A model that says what it was asked for, and notes it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Cue, int]] = []

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        self.asked.append((cue, seed))
        return [f"{cue.strategy}!"]


def table(*rows: dict[str, object]) -> pa.Table:
    columns = [EXPRESSION_DECISIONS.field(name) for name in REPLY_COLUMNS]
    return pa.Table.from_pylist(list(rows), EXPRESSION_DECISIONS).select(
        [column.name for column in columns]
    )


def replies(model: Echo, now: datetime = BEGIN) -> ReplyEvents:
    return ReplyEvents(Replier(model, 5.0), "en", STRATEGIES, "tiny@1", lambda: now)


@pytest.mark.parametrize(
    "other",
    [
        {"reason": "usage_reminder"},
        {"reason": "settling"},
        {"action": "hand_over_to_person"},
        {"reply_id": None},
        {"age_band": "teen"},
        {"age_band": "child"},
        {"age_band": "unknown"},
        {"age_band": None},
    ],
)
def test_a_rule_asks_for_a_reply_to_an_adult_and_nothing_else_does(
    other: dict[str, object],
) -> None:
    rows = table(decision("a", 1, **RULED), decision("b", 1, **RULED | other))
    assert asking(rows, STRATEGIES)["subject_ref"].to_pylist() == [subject("a")]


def test_a_reply_says_what_it_is_and_of_which_decision() -> None:
    model = Echo()
    rows = table(decision("a", 1, **RULED))
    (event,) = replies(model).events(rows)
    found = json.loads(event.json)
    assert event.subject_ref == found["subject"] == subject("a")
    assert (found["type"], found["id"]) == (REPLY, "d-a-1-recommendation:reply")
    assert found["expirytime"] == (BEGIN + timedelta(seconds=40)).isoformat().replace("+00:00", "Z")
    data = found["data"]
    assert (data["text"], data["made_by"], data["reply_id"]) == (
        "celebrate!",
        "tiny@1",
        "game-celebrate",
    )
    assert data["notice"] == AI_NOTICE
    assert "machine" in AI_NOTICE
    assert model.asked[0][0] == Cue("en", "joy", "celebrate")
    (again,) = replies(model).events(rows)
    assert again == event
    assert model.asked[0] == model.asked[1]


def test_a_decision_that_expired_before_its_turn_gets_none() -> None:
    model = Echo()
    made = replies(model, datetime(2099, 1, 1, tzinfo=UTC))
    assert list(made.events(table(decision("a", 1, **RULED)))) == []
    assert made.replier.counts == {"late": 1}
    assert model.asked == []
