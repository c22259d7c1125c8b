"""The topics of a broker: create what is missing, and say what is wrong in one sentence."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from pipelines.config import Kafka
from pipelines.kafka_clients import python_settings
from schemas.errors import AffectstreamError
from schemas.events import GOVERNANCE, TOPICS

MAX_MESSAGE = 10 << 20


@contextmanager
def told(kafka: Kafka) -> Iterator[None]:
    """Turn what the client raises into one sentence with the broker's address."""
    try:
        yield
    except (KafkaError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"Kafka at {kafka.bootstrap}: {reason}: check `kafka` in the configuration"
        raise AffectstreamError(message) from error


def need_topics(kafka: Kafka, topics: Iterable[str]) -> None:
    """Raise where a topic is missing; the client would ask for it again and again."""
    with told(kafka):
        admin = KafkaAdminClient(**python_settings(kafka))
        try:
            missing = sorted(set(topics) - set(admin.list_topics()))
        finally:
            admin.close()
    if missing:
        message = f"no topic {', '.join(missing)}: run `affectstream topics create`"
        raise AffectstreamError(message)


def create_topics(
    kafka: Kafka, partitions: int, replication: int = 1, keep_days: float | None = None
) -> list[str]:
    """Create the topics that are missing and return their names.

    Timestamps are the producer's, as in a recorded log, and messages may have 10 MB. Session topics
    keep records for ``keep_days``, which counts from their timestamps: an old log that is published
    to a topic with a limit is gone within minutes. Governance topics keep all, since the consents
    are read anew at each start.
    """
    keep_ms = -1 if keep_days is None else round(keep_days * 86_400_000)
    with told(kafka):
        admin = KafkaAdminClient(**python_settings(kafka))
        try:
            missing = sorted(set(TOPICS) - set(admin.list_topics()))
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
                for topic in missing
            }
            try:
                if missing:
                    admin.create_topics(wanted, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                return []  # another call was faster
            return missing
        finally:
            admin.close()
