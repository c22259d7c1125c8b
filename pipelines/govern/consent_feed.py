"""The consents of a live job: the landed ledger, and the governance topics as they grow."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from deltalake.exceptions import DeltaError
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, SaslAuthenticationFailedError

from pipelines.config import Config
from pipelines.govern.ledger import (
    LedgerReader,
    landed_links,
    read_landed,
    read_tombstones,
)
from pipelines.kafka.clients import partitions_of, read_to_end, reader_settings
from pipelines.serve.followed_table import FollowedTable
from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.events import GOVERNANCE
from schemas.stages import CONSENT_AGE, Stage
from transforms.gating.consent import Consents, Verdicts
from transforms.gating.opt_ins import OptIns

_FRESH_S = 1.0
"""A withdrawal closes the gate within this time at most, and a window is 5 s."""
_AGE_MS = Metrics.distribution(Stage.GATE, CONSENT_AGE)


class _Follower:
    """One process's view: everything was read once before the first question."""

    def __init__(self, config: Config) -> None:
        self._kafka = config.kafka
        self._reader = LedgerReader.of(config)
        self._config = config
        landed = read_landed(config.tables)
        self._consents = Consents(landed)
        self._opt_ins = OptIns(self._consents, landed)
        self._erasures, self._erasures_version = FollowedTable(config.tables, "erasures"), -1
        self._lock = threading.Lock()
        self._consumer: KafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._read_at = 0.0
        self.read()
        self._opt_ins.link(*landed_links(config.tables))

    def read(self) -> None:
        """Read the governance topics to their present end, and who was erased.

        Where the login is refused the password may be another one by now: it is read again once.

        Raises:
            BrokerAwayError: they cannot be read, for which no event is to blame.
        """
        try:
            try:
                self._read()
            except SaslAuthenticationFailedError:
                self._read()
        except KafkaError as error:
            message = f"the governance topics cannot be read: {error}"
            raise BrokerAwayError(message) from error
        try:
            self._read_erasures()
        except (DeltaError, pa.ArrowException, OSError, AffectstreamError) as error:
            message = f"it cannot be read who was erased: {error}"
            raise BrokerAwayError(message) from error

    def _read_erasures(self) -> None:
        table = self._erasures.newest()
        if table is not None and table.version() != self._erasures_version:
            tombstones = read_tombstones(self._config)
            self._consents.bury(tombstones)
            self._opt_ins.bury(tombstones)
            self._erasures_version = table.version()

    def _read(self) -> None:
        try:
            consumer = self._consumer = self._consumer or KafkaConsumer(
                **reader_settings(self._kafka)
            )
            self._assign(consumer)
            read_at = time.monotonic()
            new = self._reader.rows(read_to_end(consumer, self._partitions))
        except KafkaError:
            self._forget()
            raise
        self._consents.add(*new)
        for rows in new:
            self._opt_ins.add(rows)
        self._read_at = read_at

    def _forget(self) -> None:
        """Let the next reading begin anew: what a broken one had polled is lost."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer, self._partitions = None, []

    def _assign(self, consumer: KafkaConsumer) -> None:
        """Take partitions that were added, from their beginning."""
        found = partitions_of(consumer, GOVERNANCE)
        if found != self._partitions:
            consumer.assign(found)
            self._partitions = found

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at > _FRESH_S:
            self.read()

    def erased_until(self, events: pa.RecordBatch) -> np.ndarray:
        with self._lock:
            self._refresh()
            return self._consents.erased_until(events)

    def consult(self, judge: Callable[[Consents], Verdicts]) -> Verdicts:
        with self._lock:
            self._refresh()
            found = judge(self._consents)
            if found.unheard:  # perhaps said since: look once before refusing
                self.read()
                found = judge(self._consents)
            _AGE_MS.update(round((time.monotonic() - self._read_at) * 1000))
        return found

    def may_show(self, subjects: pa.Array, times: pa.Array, prior: pa.Array | None) -> np.ndarray:
        with self._lock:
            self._refresh()
            return self._opt_ins.may_show(subjects, times, prior)

    def erased_subjects(self) -> Mapping[str, int]:
        with self._lock:
            self._refresh()
            found = self._opt_ins.erased_subjects()
        return found


@lru_cache(maxsize=1)
def _follower(config: str) -> _Follower:
    return _Follower(Config.model_validate_json(config))


class ConsentFeed:
    """Answers as of event time, from the ledger and the governance topics up to now.

    What nobody said by the time that an event is judged is unknown, and so refused. The threads of
    a worker process share one view.
    """

    def __init__(self, config: Config) -> None:
        self._follower = _follower(config.model_dump_json())

    def consult(self, judge: Callable[[Consents], Verdicts]) -> Verdicts:
        """Return what ``judge`` makes of the consents as they stand now."""
        return self._follower.consult(judge)

    def erased_until(self, events: pa.RecordBatch) -> np.ndarray:
        """Return until when each row's person is erased; see ``gating.consent.Consents``."""
        return self._follower.erased_until(events)

    def may_show(
        self, subjects: pa.Array, times: pa.Array, prior: pa.Array | None = None
    ) -> np.ndarray:
        """Return a mask of the subjects who may be shown; see ``gating.opt_ins.OptIns``."""
        return self._follower.may_show(subjects, times, prior)

    def erased_subjects(self) -> Mapping[str, int]:
        """Return the references of who was erased, and until when in µs since 1970."""
        return self._follower.erased_subjects()
