"""What people showed, by the topic ``expression.decisions``, and for how long it counts."""

import json
import time
from bisect import bisect_right, insort
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from kafka import KafkaConsumer

TOPIC = "expression.decisions"
PURPOSE = "recommendation"
POLL_MS, FIRST_S = 500, 30.0
LEAST_CONFIDENCE = 0.4
"""Below this an expression is treated as one that nobody estimated."""


@dataclass(frozen=True, slots=True, order=True)
class Shown:
    """An expression that somebody showed; None where the stream abstained."""

    since: datetime
    decision: str
    until: datetime = field(compare=False)
    expression: str | None = field(compare=False)
    confidence: float = field(compare=False)


class ShownExpressions:
    """Expressions by subject, as long as nobody asked to forget them.

    ``count`` says what became of the messages, by kind.
    """

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.notices: set[str] = set()
        self._shown: defaultdict[str, list[Shown]] = defaultdict(list)

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take one message: a decision, or the null that says to forget a subject at once."""
        subject = key.decode()
        if value is None:
            self._shown.pop(subject, None)
            self.count["forgotten"] += 1
            return
        event = json.loads(value)
        data = event["data"]
        if data["purpose"] != PURPOSE:  # consent to something else is no consent to this
            self.count["other purpose"] += 1
            return
        if data.get("notice"):
            self.notices.add(data["notice"])
        shown = Shown(
            since=datetime.fromisoformat(event["time"]),
            decision=event["id"],
            until=datetime.fromisoformat(event["expirytime"]),
            expression=data["expression"],
            confidence=data["confidence"] or 0.0,
        )
        known = self._shown[subject]
        if shown in known:  # told before, by a feed that began again
            known.remove(shown)
        insort(known, shown)
        self.count["taken"] += 1

    def history(self, subject: str) -> list[Shown]:
        """Return all that is known of a subject, in order of time."""
        return self._shown.get(subject, [])

    def at(self, subject: str, when: datetime) -> Shown | None:
        """Return what a subject showed then, None where that is not known well enough.

        Only the newest decision counts, and only until it expires: an older one, of before the
        stream abstained, is no longer true.
        """
        known = self.history(subject)
        place = bisect_right(known, when, key=lambda shown: shown.since)
        newest = known[place - 1] if place else None
        if newest is None or when >= newest.until:
            return None
        unsure = newest.expression is None or newest.confidence < LEAST_CONFIDENCE
        return None if unsure else newest


def read_topic(bootstrap: str, shown: ShownExpressions, quiet_s: float = 5.0) -> None:
    """Take all messages from the first on, until none came for ``quiet_s`` seconds.

    A live recommender waits for ever. Those of aborted transactions do not count.
    """
    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    with closing(consumer):
        last = time.monotonic() + FIRST_S
        while time.monotonic() < last + quiet_s:
            for records in consumer.poll(POLL_MS).values():
                last = time.monotonic()
                for record in records:
                    shown.take(record.key, record.value)
