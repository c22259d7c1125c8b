"""The recommender gains by real expressions alone, and uses what the feed allows."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from examples.recommender import __main__ as example
from examples.recommender import evaluate, sessions
from examples.recommender.expressions import ShownExpressions, read_topic
from pipelines.serve.events import NOTICE
from schemas.settings import Kafka

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
ANNA, BEN = b"a" * 32, b"b" * 32


def message(**more: Any) -> bytes:
    """A decision of noon, valid for 30 s, as the feed writes it."""
    data = {"purpose": "recommendation", "expression": "joy", "confidence": 0.9}
    end = more.pop("end", NOON)
    event = {
        "id": more.pop("id", f"d-{end}"),
        "time": end.isoformat(),
        "expirytime": (end + timedelta(seconds=30)).isoformat(),
        "data": data | more,
    }
    return json.dumps(event).encode()


def shown_at(seconds: float, *messages: bytes | None) -> str | None:
    shown = ShownExpressions()
    for value in messages:
        shown.take(ANNA, value)
    found = shown.at(ANNA.decode(), NOON + timedelta(seconds=seconds))
    return found and found.expression


def test_an_expression_counts_from_its_window_until_it_expires() -> None:
    assert shown_at(-1, message()) is None
    assert shown_at(0, message()) == "joy"
    assert shown_at(29.9, message()) == "joy"
    assert shown_at(30, message()) is None


def test_the_newest_decision_counts_in_whatever_order_they_come() -> None:
    later = message(end=NOON + timedelta(seconds=5), expression="fear")
    assert shown_at(6, message(), later) == "fear"
    assert shown_at(6, later, message()) == "fear"
    assert shown_at(4, later, message()) == "joy"


def test_an_abstention_ends_what_was_shown_before_it() -> None:
    abstained = message(end=NOON + timedelta(seconds=5), expression=None)
    assert shown_at(4, message(), abstained) == "joy"
    assert shown_at(6, message(), abstained) is None


def test_what_is_hardly_sure_and_what_was_decided_for_something_else_is_not_used() -> None:
    assert shown_at(1, message(confidence=0.39)) is None
    assert shown_at(1, message(confidence=0.4)) == "joy"
    assert shown_at(1, message(purpose="avatar_mirroring")) is None


def test_a_decision_that_is_told_again_replaces_itself() -> None:
    assert shown_at(1, message(id="d"), message(id="d", expression="fear")) == "fear"
    shown = ShownExpressions()
    shown.take(ANNA, message())
    shown.take(ANNA, message())
    assert len(shown.history(ANNA.decode())) == 1


def test_a_tombstone_forgets_one_person_at_once() -> None:
    shown = ShownExpressions()
    shown.take(ANNA, message())
    shown.take(BEN, message())
    shown.take(ANNA, None)
    assert shown.history(ANNA.decode()) == []
    assert shown.at(BEN.decode(), NOON) is not None
    shown.take(ANNA, message(end=NOON + timedelta(seconds=9)))  # consented anew
    assert len(shown.history(ANNA.decode())) == 1


def test_offers_that_score_alike_share_their_ranks() -> None:
    level = evaluate.ndcg(np.zeros((1, 3)), np.array([0]))
    assert level == pytest.approx(1 / np.log2(3))
    best = evaluate.ndcg(np.array([[0.1, 0.9, 0.2]]), np.array([1]))
    assert best == pytest.approx(1)


def test_the_interval_is_wider_where_the_visits_are_those_of_few_people() -> None:
    gains = np.random.default_rng(0).normal(0.1, 1, 50)
    low, high = evaluate.interval(np.repeat(gains, 20), np.repeat(np.arange(50), 20))
    assert low < gains.mean() < high
    narrow = evaluate.interval(np.repeat(gains, 20), np.arange(1_000))
    assert high - low > 3 * (narrow[1] - narrow[0])  # 4.5 times by theory


def test_both_worlds_have_the_same_decisions() -> None:
    real = sessions.generate_visits(500)
    without = sessions.generate_visits(500, mood_counts=False)
    assert sessions.decisions(real, NOON) == sessions.decisions(without, NOON)
    assert (real.choices != without.choices).any()


@pytest.mark.kafka
def test_it_gains_by_what_the_feed_says_and_by_neither_control(
    kafka: Kafka, tmp_path: Path
) -> None:
    config = example.configure(tmp_path, kafka)
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    shown, found = example.run(config, example.VISITS, begin)

    kinds = sessions.generate_visits(example.VISITS).kinds
    fed = int((kinds != sessions.KINDS.index("mirroring")).sum())
    assert shown.count == {"taken": fed}
    assert shown.notices == {NOTICE}

    real = found["with the expression"]
    assert 0.45 < real.alone < 0.55  # by chance it would be 0.35
    assert real.low > 0.002
    assert real.weight > 0
    shuffled, without = found["with shuffled expressions"], found["where the mood has no effect"]
    assert shuffled.alone == real.alone
    for control in (shuffled, without):
        assert control.low <= 0  # no gain that could not be chance
        assert control.high < real.low  # and none as large as the real one may be

    who = sessions.subject(int(sessions.generate_visits(example.VISITS).people[-1]), begin)
    assert shown.history(who)
    DeltaTable(tmp_path / "expression_decisions").delete(f"subject_ref = '{who}'")
    example.feed_all(config)
    again = ShownExpressions()
    read_topic(kafka.bootstrap, again)
    assert again.history(who) == []
    assert again.count == {"taken": fed, "forgotten": 1}
