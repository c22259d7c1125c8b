"""Settings of the Kafka clients, Java's and Python's, and consumer records as RAW batches."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError

from pipelines.kafka.header_names import read_any_header_name
from schemas.events import RAW
from schemas.settings import Kafka
from schemas.strict import read_secret

_SCRAM = "SCRAM-SHA-512"

read_any_header_name()


def _protocol(kafka: Kafka) -> str:
    return ("SASL_" if kafka.username else "") + ("SSL" if kafka.ca_file else "PLAINTEXT")


def python_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of a kafka-python client."""
    settings: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "security_protocol": _protocol(kafka),
        "bootstrap_timeout_ms": 15_000,
        "metadata_max_age_ms": 15_000,  # partitions that are added are seen after that time
        "reconnect_backoff_max_ms": 1_000,  # as Java's; its own 30 s kept events until too late
    }
    if kafka.ca_file:
        settings["ssl_cafile"] = str(kafka.ca_file)
    if kafka.username and kafka.password_file:
        settings["sasl_mechanism"] = _SCRAM
        settings["sasl_plain_username"] = kafka.username
        settings["sasl_plain_password"] = read_secret(kafka.password_file, "kafka.password_file")
    return settings


def reader_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings of a kafka-python consumer that reads all that was committed."""
    return python_settings(kafka) | {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
    }


def java_settings(kafka: Kafka) -> dict[str, str]:
    """Return the settings of a Java consumer; they name the password's file."""
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": kafka.group,
        "enable.auto.commit": "false",
        "auto.offset.reset": "earliest",
        "max.partition.fetch.bytes": "65536",
        "max.poll.records": "1024",
        "isolation.level": "read_committed",
        "security.protocol": _protocol(kafka),
    }
    if kafka.ca_file:
        settings |= {
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(kafka.ca_file.absolute()),
        }
    if kafka.username and kafka.password_file:
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        user, file = (
            value.replace("\\", "\\\\").replace('"', '\\"')
            for value in (kafka.username, str(kafka.password_file.absolute()))
        )
        settings |= {
            "sasl.mechanism": _SCRAM,
            "sasl.client.callback.handler.class": "affectstream.PasswordFile",
            "sasl.jaas.config": f'{module} required username="{user}" password_file="{file}";',
        }
    return settings


def raw_batch(records: Iterable[Any]) -> pa.RecordBatch:
    """Return kafka-python's consumer records as one RAW batch."""
    rows = [
        (r.topic, r.partition, r.offset, r.timestamp, r.key, list(r.headers), r.value)
        for r in records
    ]
    columns = (
        [
            pa.array(column, field.type)
            for column, field in zip(zip(*rows, strict=True), RAW, strict=True)
        ]
        if rows
        else [pa.array([], field.type) for field in RAW]
    )
    return pa.record_batch(columns, schema=RAW)


def partitions_of(consumer: KafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
    """Return the partitions of these topics, in order; a topic that is not there has none."""
    return [
        TopicPartition(topic, number)
        for topic in topics
        for number in sorted(consumer.partitions_for_topic(topic) or ())
    ]


def read_to_end(
    consumer: KafkaConsumer, partitions: list[TopicPartition], patience_s: float = 30.0
) -> Iterator[pa.RecordBatch]:
    """Yield what lies between the consumer's positions and the ends as they stand now.

    Raises:
        KafkaTimeoutError: nothing came for ``patience_s``.
    """
    ends = consumer.end_offsets(partitions)
    moved, before = time.monotonic(), None
    while True:
        places = [consumer.position(tp) for tp in ends]  # None: not known yet
        if all(at is not None and at >= end for at, end in zip(places, ends.values(), strict=True)):
            return
        if places != before:  # also over records that a producer took back
            moved, before = time.monotonic(), places
        elif time.monotonic() - moved > patience_s:
            message = f"the broker sent nothing for {patience_s:.0f} s though records wait"
            raise KafkaTimeoutError(message)
        for records in consumer.poll(timeout_ms=1000).values():
            yield raw_batch(records)
