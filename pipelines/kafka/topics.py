"""The topics of a broker: create what is missing, check what a job needs of them."""

from collections.abc import Iterable
from contextlib import closing
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import TopicAlreadyExistsError

from pipelines.kafka.clients import partitions_of, python_settings, reader_settings
from pipelines.kafka.reasons import explain_kafka_error
from schemas.errors import AffectstreamError
from schemas.events import GOVERNANCE, TOPICS
from schemas.settings import Kafka

MAX_MESSAGE = 10 << 20
FEED = "expression.decisions"
"""Topic of the decisions that are handed on."""
FEED_POSITION = "expression.decisions.position"
"""Topic with one partition that says how far each feed has come."""
FEED_TRANSACTIONS = "affectstream-feed-"
"""What the transactional ids of all feeds begin with."""
_HOUR_MS = 3_600_000
_FEED_CONFIGS = {
    # A decision is stale after half a minute; what a tombstone follows is gone within an hour.
    FEED: {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(24 * _HOUR_MS),
        "segment.ms": str(_HOUR_MS // 2),
        "min.compaction.lag.ms": str(_HOUR_MS // 4),
        "max.compaction.lag.ms": str(_HOUR_MS),
        "delete.retention.ms": str(24 * _HOUR_MS),
    },
    FEED_POSITION: {"cleanup.policy": "compact"},
}


def need_topics(kafka: Kafka, topics: Iterable[str], right: str = "READ") -> None:
    """Raise where a topic is missing or the user lacks this right to it.

    The client would ask for a missing topic again and again, and a missing right shows only when
    records are fetched.
    """
    with explain_kafka_error(kafka):
        admin = KafkaAdminClient(**python_settings(kafka))
        try:
            found = {topic["name"]: topic for topic in admin.describe_topics(sorted(topics))}
        finally:
            admin.close()
    if missing := [name for name, topic in found.items() if topic["error_code"]]:
        message = (
            f"no topic {', '.join(missing)}: run `affectstream topics create`, or give the user "
            "the right to describe it where the broker has access lists"
        )
        raise AffectstreamError(message)
    if refused := [n for n, topic in found.items() if right not in topic["authorized_operations"]]:
        message = (
            f"the user {kafka.username or 'ANONYMOUS'} has no right to {right} topic "
            f"{', '.join(refused)}: give it with the broker's access lists"
        )
        raise AffectstreamError(message)


def check_topics(kafka: Kafka) -> None:
    """Raise where a topic is missing, or no longer holds what the job reads next."""
    need_topics(kafka, TOPICS)
    settings = reader_settings(kafka) | {"group_id": kafka.group}
    with explain_kafka_error(kafka), closing(KafkaConsumer(**settings)) as consumer:
        _check_offsets(consumer)


def _check_offsets(consumer: KafkaConsumer) -> None:
    """Compare the offsets that the group has read with what the topics hold."""
    partitions = partitions_of(consumer, TOPICS)
    ends = consumer.end_offsets(partitions)
    begins = consumer.beginning_offsets(partitions)
    for tp in partitions:
        read = consumer.committed(tp)
        if read is not None and not begins[tp] <= read <= ends[tp]:
            message = (
                f"topic {tp.topic}, partition {tp.partition}, holds offsets {begins[tp]} to "
                f"{ends[tp]}, but the job continues at {read}: records were deleted or the topic "
                "was created anew; start again with a new folder for `--state`: no row lands twice"
            )
            raise AffectstreamError(message)


def create_topics(
    kafka: Kafka, partitions: int, replication: int = 1, keep_days: float | None = None
) -> list[str]:
    """Create the topics that are missing and return their names.

    Timestamps are the producer's, as in a recorded log, and a message may have up to 10 MB. Session
    topics keep records for ``keep_days``, counted from their timestamps: an old log published to a
    topic with a limit is gone within minutes. Governance topics keep everything, since consents
    are read again at each start.
    """
    keep_ms = -1 if keep_days is None else round(keep_days * 86_400_000)
    wanted = {
        topic: {
            "num_partitions": partitions,
            "replication_factor": replication,
            "configs": {
                "message.timestamp.type": "CreateTime",
                "max.message.bytes": str(MAX_MESSAGE),
                "retention.ms": str(-1 if topic in GOVERNANCE else keep_ms),
            },
        }
        for topic in TOPICS
    }
    return _create_missing(kafka, wanted)


def create_feed_topics(kafka: Kafka, partitions: int = 4, replication: int = -1) -> list[str]:
    """Create the topics of the feed that are missing and return their names.

    A replication of -1 is the broker's own.
    """
    wanted = {
        topic: {
            "num_partitions": 1 if topic == FEED_POSITION else partitions,
            "replication_factor": replication,
            "configs": configs,
        }
        for topic, configs in _FEED_CONFIGS.items()
    }
    return _create_missing(kafka, wanted)


def _create_missing(kafka: Kafka, wanted: dict[str, dict[str, Any]]) -> list[str]:
    """Create those of these topics that are missing and return their names."""
    with explain_kafka_error(kafka):
        admin = KafkaAdminClient(**python_settings(kafka))
        try:
            missing = sorted(set(wanted) - set(admin.list_topics()))
            try:
                if missing:
                    made = {topic: wanted[topic] for topic in missing}
                    admin.create_topics(made, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                return []  # another call was faster
            return missing
        finally:
            admin.close()
