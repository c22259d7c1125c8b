"""The topics of a broker: create what is missing, and say what is wrong in one sentence."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError, TopicAlreadyExistsError

from pipelines.kafka.clients import partitions_of, python_settings, reader_settings
from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.events import GOVERNANCE, TOPICS
from schemas.settings import Kafka

MAX_MESSAGE = 10 << 20


class _Reasons(logging.Handler):
    """Keeps the plainest reason why connections failed: the client logs it, but raises a time-out.

    A broker that refused a password hangs up on the next attempts, or lets them time out.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.plainest = ""

    def emit(self, record: logging.LogRecord) -> None:
        start, _, reason = record.getMessage().partition(" failed: ")
        if start.startswith("Bootstrap connection"):
            reason = reason.partition(" (backoff")[0].splitlines()[0]
            self.plainest = max(reason, self.plainest, key=_plainness)

    @property
    def final(self) -> bool:
        """Tell whether another attempt would meet the same."""
        return _plainness(self.plainest) == _REFUSED

    def __str__(self) -> str:
        if "socket disconnected" in self.plainest:  # often all that one hears of it
            return "it hangs up, as on a wrong user, password or protocol"
        return self.plainest


_REFUSED = 4


def _plainness(reason: str) -> int:
    if "uthentication" in reason or "certificate" in reason:
        return _REFUSED
    if "socket disconnected" in reason:
        return 2
    return (1 if "Timeout" in reason else 3) if reason else 0


@contextmanager
def told(kafka: Kafka) -> Iterator[None]:
    """Turn what the client raises into one sentence with the broker's address and the reason.

    Raises:
        BrokerAwayError: it may pass by itself; a plain AffectstreamError does not.
    """
    reasons = _Reasons()
    logger = logging.getLogger("kafka.net.manager")
    logger.addHandler(reasons)
    try:
        yield
    except (KafkaError, OSError, ValueError) as error:
        reason = str(reasons) or str(error).partition("\n")[0]
        message = f"Kafka at {kafka.bootstrap}: {reason}: check `kafka` in the configuration"
        may_pass = isinstance(error, OSError) or getattr(error, "retriable", False)
        kind = BrokerAwayError if may_pass and not reasons.final else AffectstreamError
        raise kind(message) from error
    finally:
        logger.removeHandler(reasons)


def need_topics(kafka: Kafka, topics: Iterable[str], right: str = "READ") -> None:
    """Raise where a topic is missing or the user lacks this right to it.

    The client would ask for a missing topic again and again, and what may not be read shows only
    when it is fetched.
    """
    with told(kafka):
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
    """Raise where a topic is missing, or holds less than the job has read of it already."""
    need_topics(kafka, TOPICS)
    settings = reader_settings(kafka) | {"group_id": kafka.group}
    with told(kafka), closing(KafkaConsumer(**settings)) as consumer:
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
                f"{ends[tp]}, but the job goes on at {read}: the topic was cut or made anew; start "
                "anew with `--state` naming a new folder; what has landed is not landed twice"
            )
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
