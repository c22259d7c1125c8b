"""Opt-ins as they come by Kafka: a withdrawal stops an avatar in a second, not at a restart."""

import time
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from pipelines.config import Kafka, load_config
from pipelines.govern.consent_feed import ConsentFeed
from schemas.keys import read_keys
from tests.support.records import decoded, record
from transforms.landing.prepare import prepare_tables
from transforms.pseudonymise import Pseudonyms

pytestmark = pytest.mark.kafka
BOTH = {"purposes": ["avatar_mirroring", "show_to_others"], "modalities": ["face"]}
SHOW = {"purposes": ["show_to_others"], "modalities": ["*"]}


def consent(number: int, granted: bool, said: dict[str, Any], **more: Any) -> dict[str, Any]:
    return record("consent", number, {"granted": granted} | said, **more)


def send(kafka: Kafka, row: dict[str, Any]) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    headers = [(header["key"], header["value"]) for header in row["headers"]]
    recorded = round(row["timestamp"].timestamp() * 1000)  # or the grant would be back-dated
    sent = producer.send(row["topic"], row["value"], row["key"], headers, timestamp_ms=recorded)
    sent.get(timeout=30)
    producer.close()


def test_a_worker_hears_an_opt_in_and_its_withdrawal(
    kafka: Kafka, tmp_path: Path, keys: Path
) -> None:
    prepare_tables(tmp_path)
    config = load_config(None, tables=tmp_path, keys=keys, kafka=kafka.model_dump())
    asked = decoded(consent(60, True, BOTH))
    at = Pseudonyms(read_keys(keys)).batch(asked)
    feed = ConsentFeed(config)

    def shown() -> bool:
        (found,) = feed.may_show(at["subject_ref"], at["event_time"])
        return bool(found)

    assert not shown()
    send(kafka, consent(0, True, BOTH))
    time.sleep(1.1)  # a view is a second old at most
    assert shown()
    # Under another spelling and in another region, where her pseudonym is another one.
    send(kafka, consent(1, False, SHOW, subject=" ALICE", region="CN"))
    time.sleep(1.1)
    assert not shown()
    feed._follower._forget()  # or it would look for the broker after this module
