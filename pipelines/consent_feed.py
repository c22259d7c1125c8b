"""The consents of a live job: the landed ledger, and the governance topics as they grow."""

import threading
import time
from functools import lru_cache

import numpy as np
import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from pipelines.config import Config
from pipelines.kafka_clients import partitions_of, read_to_end, reader_settings
from pipelines.ledger import LedgerReader, landed
from schemas.errors import BrokerAwayError
from schemas.events import GOVERNANCE
from transforms.consent import UNKNOWN, Consents

_FRESH_S = 1.0
"""A withdrawal closes the gate within this time at most, and a window is 5 s."""


class _Follower:
    """One process's view: everything was read once before the first question."""

    def __init__(self, config: Config) -> None:
        self._reader = LedgerReader(config)
        self._consents = Consents(landed(config.tables))
        self._consumer = KafkaConsumer(**reader_settings(config.kafka))
        self._lock = threading.Lock()
        self._partitions: list[TopicPartition] = []
        self._read_at = 0.0
        self.read()

    def read(self) -> None:
        """Read the governance topics to their present end.

        Raises:
            BrokerAwayError: they cannot be read, for which no event is to blame.
        """
        read_at = time.monotonic()
        try:
            self._assign()
            new = self._reader.rows(read_to_end(self._consumer, self._partitions))
        except KafkaError as error:
            message = f"the governance topics cannot be read: {error}"
            raise BrokerAwayError(message) from error
        for rows in new:
            self._consents.add(rows)
        self._read_at = read_at

    def _assign(self) -> None:
        """Take partitions that were added, from their beginning."""
        found = partitions_of(self._consumer, GOVERNANCE)
        if found != self._partitions:
            self._consumer.assign(found)
            self._partitions = found

    def ask(self, events: pa.RecordBatch, modality: str) -> np.ndarray:
        with self._lock:
            if time.monotonic() - self._read_at > _FRESH_S:
                self.read()
            said = self._consents.ask(events, modality)
            if (said == UNKNOWN).any():  # perhaps said since: look once before refusing
                self.read()
                said = self._consents.ask(events, modality)
        return said


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

    def ask(self, events: pa.RecordBatch, modality: str) -> np.ndarray:
        """Return UNKNOWN, WITHDRAWN or GRANTED a row, see ``transforms.consent.Consents``."""
        return self._follower.ask(events, modality)
