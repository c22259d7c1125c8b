"""The feed from tables to a real broker, store and webhook: each row once, in time, or said why."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from kafka import KafkaProducer

from infra.kafka.kafka_server import Broker
from pipelines.config import Config, load_config
from pipelines.kafka.clients import python_settings
from pipelines.kafka.topics import FEED_POSITION, create_feed_topics
from pipelines.serve.feed import SinkFeed, clock, start_feeds
from pipelines.serve.kafka_sink import KafkaSink
from pipelines.serve.online import latest
from pipelines.serve.stores import open_online
from schemas.errors import AffectstreamError
from schemas.keys import write_keys
from schemas.settings import Kafka
from tests.support.feed_reader import read_feed
from tests.support.live_runs import wait_for
from tests.support.served import BEGIN, decision, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

pytestmark = pytest.mark.kafka

DECISIONS = "expression_decisions"


@pytest.fixture
def config(new_broker: Callable[..., Broker], tmp_path: Path) -> Config:
    shift_s = (BEGIN - datetime.now(UTC)).total_seconds()  # the tests' windows are yet to end
    kafka = Kafka(bootstrap=new_broker(heap="256m").bootstrap, clock_offset_s=shift_s)
    write_keys(tmp_path / "keys.yaml")
    prepare_tables(tmp_path / "tables")
    return load_config(
        None,
        kafka=kafka.model_dump(),
        tables=tmp_path / "tables",
        keys=tmp_path / "keys.yaml",
        live={"state": tmp_path / "state"},
        online={"store": str(tmp_path / "online.sqlite")},
    )


@contextmanager
def running(config: Config, **more: Any) -> Iterator[list[SinkFeed]]:
    feeds = start_feeds(config, **more)
    try:
        yield feeds
    finally:
        for feed in feeds:
            feed.finish()
        assert all([feed.join(60) for feed in feeds]), [feed.progress for feed in feeds]


def run_to_end(config: Config, **more: Any) -> list[SinkFeed]:
    with running(config, **more) as feeds:
        pass
    return feeds


def root(config: Config) -> Path:
    return Path(config.tables)


def sent(config: Config) -> list[tuple[str, str | None]]:
    """Return (subject, id of the decision, None for a tombstone) of each record of the feed."""
    return [
        (record.key.decode(), record.value and json.loads(record.value)["id"])
        for record in read_feed(config.kafka)
    ]


def test_decisions_are_fed_once_and_only_those_of_the_purpose_that_have_not_expired(
    config: Config,
) -> None:
    land(root(config), DECISIONS, decision("old", -99), decision("first", 100))
    with running(config) as feeds:
        wait_for(lambda: feeds[0].progress.taken == 1)
        for window in range(101, 111):
            land(
                root(config),
                DECISIONS,
                decision("a", window),
                decision("b", window, purpose="avatar_mirroring"),
                decision("old", -98),
            )
    assert not [feed.progress for feed in feeds if feed.progress.failed]
    ids = [f"d-a-{window}-recommendation" for window in range(101, 111)]
    found = sent(config)
    assert [event for who, event in found if who == subject("a")] == ids
    assert Counter(who for who, _ in found) == {subject("a"): 10, subject("first"): 1}
    run_to_end(config)
    assert len(sent(config)) == 11
    head = read_feed(config.kafka)[0]
    assert dict(head.headers) == {"content-type": b"application/cloudevents+json"}


def test_an_erasure_is_a_tombstone_and_reaches_the_store(config: Config) -> None:
    with running(config):
        land(root(config), "emotion_features", feature("a", 100), feature("b", 100))
        land(root(config), DECISIONS, decision("a", 100), decision("b", 100))
        wait_for(lambda: len(sent(config)) == 2)
        for table in (DECISIONS, "emotion_features"):
            erase(root(config), table, "a")
    tombstones = [record for record in read_feed(config.kafka) if record.value is None]
    assert [record.key.decode() for record in tombstones] == [subject("a")]
    attributes = {name: value.decode() for name, value in tombstones[0].headers}
    assert attributes["ce_type"] == "affectstream.erasure.v1"
    assert attributes["ce_subject"] == subject("a")
    store = open_online(config.online)
    now = clock(config)
    for table in ("emotion_features", DECISIONS):
        assert latest(store, table, subject("a"), now=now) is None
        assert latest(store, table, subject("b"), now=now) is not None
    store.close()


def test_a_second_feed_of_the_same_name_shuts_out_the_first(config: Config) -> None:
    with running(config) as feeds:
        wait_for(lambda: feeds[0].progress.behind == 0 and feeds[0].progress.waits_for is None)
        land(root(config), DECISIONS, decision("a", 100))
        wait_for(lambda: feeds[0].progress.taken == 1)
        KafkaSink(config.kafka, config.feed, clock(config)).close()
        land(root(config), DECISIONS, decision("a", 101))
        wait_for(lambda: feeds[0].progress.failed is not None)
        assert "another feed named main has taken over" in str(feeds[0].progress.failed)
        run_to_end(config)
    assert [event for _, event in sent(config)] == [
        "d-a-100-recommendation",
        "d-a-101-recommendation",
    ]


def test_a_vacuumed_position_is_said_and_left_with_from(config: Config) -> None:
    land(root(config), DECISIONS, decision("a", 100), decision("b", 100))
    run_to_end(config)
    land(root(config), DECISIONS, decision("a", 101))
    erase(root(config), DECISIONS, "b")
    DeltaTable(root(config) / DECISIONS).vacuum(
        0, dry_run=False, enforce_retention_duration=False, full=True
    )
    said: list[str] = []
    failed = run_to_end(config, say=said.append)[0].progress.failed
    assert isinstance(failed, AffectstreamError)
    assert "--from latest" in str(failed)
    assert "were vacuumed" in str(failed)
    assert any("has ended" in line for line in said)
    run_to_end(config, start="snapshot")
    found = sent(config)
    assert [event for who, event in found if who == subject("a")] == [
        "d-a-100-recommendation",
        "d-a-101-recommendation",
    ]
    assert [event for who, event in found if who == subject("b")] == [
        "d-b-100-recommendation",
        None,
    ]
    land(root(config), DECISIONS, decision("a", 102))
    run_to_end(config, start="latest")
    land(root(config), DECISIONS, decision("a", 103))
    run_to_end(config)
    ids = [event for _, event in sent(config)]
    assert "d-a-103-recommendation" in ids
    assert "d-a-102-recommendation" not in ids
    with closing(KafkaProducer(**python_settings(config.kafka))) as producer:
        producer.send(FEED_POSITION, key=b"main/expression_decisions", value=b"no position")
    failed = run_to_end(config)[0].progress.failed
    assert f"topic {FEED_POSITION} holds what is no position; start it once with" in str(failed)
    run_to_end(config, start="latest")


def test_a_broker_that_is_away_is_waited_for_while_the_store_goes_on(
    new_broker: Callable[..., Broker], config: Config, tmp_path: Path
) -> None:
    broker = new_broker(heap="256m")
    moved = config.model_copy(
        update={"kafka": config.kafka.model_copy(update={"bootstrap": broker.bootstrap})}
    )
    said: list[str] = []
    with running(moved, say=said.append) as (to_kafka, to_store):
        land(root(config), DECISIONS, decision("a", 100))
        wait_for(lambda: to_kafka.progress.taken == 1)
        broker.process.stop()
        land(root(config), DECISIONS, decision("a", 101))
        land(root(config), "emotion_features", feature("a", 101))
        wait_for(lambda: to_kafka.progress.waits_for is not None)
        wait_for(lambda: to_store.progress.taken == 3)
        broker.start()
        wait_for(lambda: to_kafka.progress.taken == 2)
    assert [event for _, event in sent(moved)] == [
        "d-a-100-recommendation",
        "d-a-101-recommendation",
    ]
    assert any("the feed waits: Kafka at" in line for line in said)
    assert said[-1] == "the feed to kafka goes on"


def test_kills_lose_and_double_nothing(config: Config, tmp_path: Path) -> None:
    """Three kills here; ``python -m infra.bench.serve feed`` makes 20."""
    create_feed_topics(config.kafka)
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "pipelines.cli.main", "feed", "--config", str(file)]
    command += ["--sink", "kafka"]
    window = 100
    for _ in range(3):
        before = len(read_feed(config.kafka, "read_uncommitted"))
        process = subprocess.Popen(command)
        try:
            end = time.monotonic() + 60
            while len(read_feed(config.kafka, "read_uncommitted")) <= before + 20:
                assert time.monotonic() < end
                land(root(config), DECISIONS, *(decision(f"s{n}", window) for n in range(10)))
                window += 1
        finally:
            process.kill()
            process.wait()
    subprocess.run([*command, "--until-end"], check=True, timeout=60)
    wanted = {f"d-s{n}-{w}-recommendation" for n in range(10) for w in range(100, window)}
    committed = Counter(event for _, event in sent(config))
    assert committed.keys() == wanted
    assert set(committed.values()) == {1}
    raw = {json.loads(r.value)["id"] for r in read_feed(config.kafka, "read_uncommitted")}
    assert raw == wanted


def test_a_commit_of_many_rows_is_one_transaction(config: Config) -> None:
    """More than wait in the producer at once."""
    run_to_end(config, start="latest")
    rows = (decision(f"{number:032x}", 100) for number in range(25_000))
    land(root(config), DECISIONS, *rows)
    run_to_end(config)
    assert Counter(event for _, event in sent(config)).most_common(1)[0][1] == 1
    assert len(sent(config)) == 25_000
