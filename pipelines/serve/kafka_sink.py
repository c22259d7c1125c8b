"""The feed in Kafka: each decision once for consumers that read what was committed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from pipelines.kafka.clients import partitions_of, python_settings, read_to_end, reader_settings
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.kafka.topics import FEED, FEED_POSITION, FEED_TRANSACTIONS, create_feed_topics
from pipelines.serve.events import (
    COLUMNS,
    ERASURE,
    MEDIA_TYPE,
    SOURCE,
    START_ANEW,
    Event,
    decision_events,
    lasting,
)
from pipelines.serve.follow import AwayError, Changes, Position
from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.settings import Feed, Kafka

_HEADERS = [("content-type", MEDIA_TYPE.encode())]
_SHUT_OUT = ("ProducerFenced", "InvalidProducerEpoch")
_TRANSACTION_MS = 300_000
_AT_ONCE = 20_000  # events: more would wait in the producer until they count as not delivered
_AWAY_MS = 15_000
"""After this, what the broker has not taken fails, and it counts as away."""


class KafkaSink:
    """Sends decisions and tombstones in one transaction with the position that they lead to.

    The position is a record of a compacted topic with one partition. It is read after the
    transactional producer has started, which ends or takes back what a dead one had begun. A
    second feed of the same name shuts out the first.
    """

    name = "kafka"
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"expression_decisions": COLUMNS}
    suffix = ""
    """What the id of an event has behind its decision's."""

    def __init__(self, kafka: Kafka, feed: Feed, now: Callable[[], datetime]) -> None:
        """Make the topics that are missing, shut out a feed before, and find the position.

        Raises:
            AwayError: the broker does not answer.
            AffectstreamError: it refuses.
        """
        self._kafka, self._purposes, self._now = kafka, feed.purposes, now
        self._name = feed.name
        self.expired = 0
        with self._explained(opened=False):
            create_feed_topics(kafka)
            self._producer = KafkaProducer(
                **python_settings(kafka),
                transactional_id=FEED_TRANSACTIONS + feed.name,
                transaction_timeout_ms=_TRANSACTION_MS,
                request_timeout_ms=_AWAY_MS // 2,
                delivery_timeout_ms=_AWAY_MS,
                linger_ms=5,
                batch_size=256 << 10,
                compression_type="lz4",
            )
            self._producer.init_transactions()
        self._positions: dict[str, Position] = {}

    def positions(self) -> dict[str, Position]:
        """Return how far each table was fed.

        Raises:
            AwayError: the broker does not answer.
            AffectstreamError: what stands there is no position.
        """
        with self._explained(opened=False):
            self._positions = read_positions(self._kafka, self._name)
        return self._positions

    def write(self, changes: Changes) -> int:
        """Send what is new and whom to forget, with the position; return how many events it sent.

        Raises:
            AwayError: the broker does not answer; the sink must be opened anew.
            AffectstreamError: another feed of the same name has taken over, or the broker refuses.
        """
        rows = lasting(changes.rows, self._purposes, self._now())
        rows = rows.sort_by([("window_end", "ascending")])
        self.expired += changes.rows.num_rows - rows.num_rows
        erased, sent = changes.erased, 0
        with self._explained(opened=True):
            if changes.standing is not None:
                known = self._ids_by_subject()
                erased = tuple(sorted(known.keys() - changes.standing))
                sent_before = pa.array(
                    [
                        event_id.removesuffix(self.suffix)
                        for ids in known.values()
                        for event_id in ids
                        if event_id.endswith(self.suffix)
                    ],
                    pa.string(),
                )
                rows = rows.filter(pc.invert(pc.is_in(rows["decision_id"], sent_before)))
            events = self._events(rows)
            send = self._producer.send
            self._producer.begin_transaction()
            for subject in erased:
                send(FEED, key=subject.encode(), headers=_erasure_headers(subject, changes))
            for event in events:
                send(FEED, key=event.subject_ref.encode(), value=event.json, headers=_HEADERS)
                sent += 1
                if sent % _AT_ONCE == 0:
                    self._producer.flush(2 * _AWAY_MS / 1_000)
            where = {"table": changes.table, **changes.position._asdict()}
            key = f"{self._name}/{changes.table}".encode()
            send(FEED_POSITION, key=key, value=json.dumps(where).encode(), partition=0)
            self._producer.flush(2 * _AWAY_MS / 1_000)  # a commit would wait without an end
            self._producer.commit_transaction()
        self._positions[changes.table] = changes.position
        return sent + len(erased)

    def close(self) -> None:
        """Close the producer; what it had begun is taken back by the next one."""
        try:
            self._producer.close(timeout=5)
        except (KafkaError, OSError):
            return

    def _events(self, rows: pa.Table) -> Iterator[Event]:
        return decision_events(rows)

    def _ids_by_subject(self) -> dict[str, list[str]]:
        """Return the ids that the topic holds of each subject since its last tombstone."""
        found: dict[str, list[str]] = {}
        with closing(KafkaConsumer(**reader_settings(self._kafka))) as consumer:
            places = partitions_of(consumer, [FEED])
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            for batch in read_to_end(consumer, places):
                for key, value in zip(
                    batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True
                ):
                    if value is None:
                        found.pop(key.decode(), None)
                    else:
                        found.setdefault(key.decode(), []).append(json.loads(value)["id"])
        return found

    @contextmanager
    def _explained(self, *, opened: bool) -> Iterator[None]:
        """Tell what may pass from what does not; once it was opened, all but being shut out may."""
        try:
            with explain_kafka_error(self._kafka):
                yield
        except AffectstreamError as error:
            if any(sign in str(error) for sign in _SHUT_OUT):
                message = (
                    f"another feed named {self._name} has taken over: stop one, or give one "
                    "another `feed.name`"
                )
                raise AffectstreamError(message) from error
            if opened or isinstance(error, BrokerAwayError):
                raise AwayError(str(error)) from error
            raise


def read_positions(kafka: Kafka, name: str) -> dict[str, Position]:
    """Return how far the feed of this name was fed, by table; nothing where there is none.

    Raises:
        KafkaError: the broker does not answer, or refuses.
        AffectstreamError: what stands there is no position.
    """
    place = TopicPartition(FEED_POSITION, 0)
    found: dict[str, Position] = {}
    with closing(KafkaConsumer(**reader_settings(kafka))) as consumer:
        if not partitions_of(consumer, [FEED_POSITION]):
            return found
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        for batch in read_to_end(consumer, [place]):
            mine = batch.filter(pc.starts_with(batch["key"], f"{name}/"))
            for value in mine["value"].to_pylist():
                try:
                    said = json.loads(value)
                    found[said["table"]] = Position(str(said["table_id"]), int(said["version"]))
                except (ValueError, TypeError, KeyError) as error:
                    message = f"topic {FEED_POSITION} holds what is no position; {START_ANEW}"
                    raise AffectstreamError(message) from error
    return found


def _erasure_headers(subject: str, changes: Changes) -> list[tuple[str, bytes]]:
    attributes = {
        "specversion": "1.0",
        "type": ERASURE,
        "source": SOURCE,
        "id": f"{changes.table}-{changes.position.version}-{subject}",
        "subject": subject,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
