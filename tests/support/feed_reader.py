"""A reader of the feed, as a consumer of it would be."""

import time
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from pipelines.kafka.clients import partitions_of, python_settings
from pipelines.kafka.topics import FEED
from schemas.settings import Kafka


def read_feed(kafka: Kafka, isolation: str = "read_committed") -> list[Any]:
    """Return all records of the topic as they stand, in the order of their partitions."""
    settings = python_settings(kafka) | {
        "isolation_level": isolation,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "max_poll_records": 5_000,
    }
    with closing(KafkaConsumer(**settings)) as consumer:
        places = partitions_of(consumer, [FEED])
        if not places:
            return []
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = _ends(kafka, places)
        found: list[Any] = []
        until = time.monotonic() + 60
        while any(consumer.position(place) < end for place, end in ends.items()):
            assert time.monotonic() < until, "the feed cannot be read to its end"
            for records in consumer.poll(500).values():
                found += records
        return found


def _ends(kafka: Kafka, places: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the ends with what is being committed: its markers come after the commit returns."""
    settings = python_settings(kafka) | {"isolation_level": "read_uncommitted"}
    with closing(KafkaConsumer(**settings)) as consumer:
        found: dict[TopicPartition, int] = consumer.end_offsets(places)
        return found
