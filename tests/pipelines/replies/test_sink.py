"""Replies reach the feed's topic of a real broker once, after their decisions, and never alone."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.kafka.kafka_server import Broker
from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.replier import Replier
from pipelines.config import Config, load_config
from pipelines.replies.events import REPLY, ReplyEvents
from pipelines.replies.sink import ReplySink
from pipelines.serve.feed import SinkFeed, clock, start_feeds
from schemas.keys import write_keys
from schemas.settings import Kafka
from tests.support.feed_reader import read_feed
from tests.support.model_folders import tiny_causal
from tests.support.served import BEGIN, decision, erase, land, subject
from transforms.landing.prepare import prepare_tables

pytestmark = pytest.mark.kafka

DECISIONS = "expression_decisions"
RULED = {"action": "celebrate", "reason": "scenario_rule", "reply_id": "game-celebrate"}


class Cheer:
    """A model that always has the same reply."""

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        return ["Well played!"]


@pytest.fixture
def config(new_broker: Callable[..., Broker], tmp_path: Path) -> Config:
    shift_s = (BEGIN - datetime.now(UTC)).total_seconds()
    kafka = Kafka(bootstrap=new_broker(heap="256m").bootstrap, clock_offset_s=shift_s)
    write_keys(tmp_path / "keys.yaml")
    prepare_tables(tmp_path / "tables")
    return load_config(
        None,
        kafka=kafka.model_dump(),
        tables=tmp_path / "tables",
        keys=tmp_path / "keys.yaml",
        feed={"sinks": ["kafka"]},
        replies={"model": str(tiny_causal(tmp_path / "model")), "budget_s": 20},
    )


def sent(config: Config) -> list[tuple[str, str]]:
    """Return (type, id) of each event of the feed; a tombstone is ("erased", subject)."""
    return [
        (json.loads(record.value)["type"], json.loads(record.value)["id"])
        if record.value
        else ("erased", record.key.decode())
        for record in read_feed(config.kafka)
    ]


def run_replies(config: Config) -> None:
    now = clock(config)
    made = ReplyEvents(Replier(Cheer(), 5.0), "en", config.replies.strategies, "cheer@1", now)
    feed = SinkFeed(config, "replies", lambda: ReplySink(config.kafka, config.feed, now, made))
    feed.finish()
    assert feed.join(60)
    assert feed.progress.failed is None


def test_a_reply_comes_once_and_goes_with_its_subject(config: Config) -> None:
    root = Path(config.tables)
    land(root, DECISIONS, decision("a", 100, **RULED), decision("b", 100))
    run_replies(config)
    run_replies(config)
    replied = (REPLY, "d-a-100-recommendation:reply")
    assert sent(config) == [replied]
    land(root, DECISIONS, decision("a", 101, **RULED))
    erase(root, DECISIONS, "b")
    run_replies(config)
    assert sorted(sent(config)[1:]) == [
        (REPLY, "d-a-101-recommendation:reply"),
        ("erased", subject("b")),
    ]


def test_a_model_of_garbage_leaves_decisions_and_templates_as_they_are(config: Config) -> None:
    land(Path(config.tables), DECISIONS, decision("a", 100, **RULED))
    feeds = start_feeds(config)
    for feed in feeds:
        feed.finish()
    assert all([feed.join(60) for feed in feeds])
    assert [feed.progress.sink for feed in feeds] == ["kafka", "replies"]
    assert [feed.progress.failed for feed in feeds] == [None, None]
    (record,) = read_feed(config.kafka)
    found = json.loads(record.value)
    assert found["type"] == "affectstream.decision.v1"
    assert found["data"]["reply_id"] == "game-celebrate"
