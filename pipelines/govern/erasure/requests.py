"""Erasure requests as they were recorded: in the topic ``governance.erasure``, or in a log."""

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config import Config
from pipelines.govern.erasure.erase import Request
from pipelines.govern.erasure.spellings import governance_records
from pipelines.govern.ledger import erasure_rows, read_landed, signers_of
from schemas.events import TOPIC_OF
from schemas.keys import Keys
from schemas.stages import MAIN, kind_of
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.gating.tombstones import Tombstones
from transforms.pseudonymise import Pseudonyms

_KIND = "erasure"


def open_requests(config: Config, keys: Keys) -> list[Request]:
    """Return the requests that no erasure has completed, the last one of each subject.

    Where sources sign, a request that none has signed is not among them: it only closes the gate.
    Who consented anew since the request is erased up to it, everybody else wholly.

    Raises:
        AffectstreamError: the broker does not answer.
    """
    asked: dict[str, datetime] = {}
    ids, signers = EventIds(keys), signers_of(config)
    for raw in governance_records(config, [TOPIC_OF[_KIND]]):
        for tag, events in decode_batch(raw, ids, signers):
            if tag == MAIN and events.num_rows and kind_of(events) == _KIND:
                for subject, time in _named(events).items():
                    asked[subject] = max(time, asked.get(subject, time))
    pseudonyms = Pseudonyms(keys)
    done = Tombstones.of(keys.tombstone, _completed(config))
    granted = _last_grants(config)
    requests = []
    for subject, time in asked.items():
        fold = pseudonyms.person(subject)[1]
        until = done.erased_until(fold)
        if until is None or until < _micros(time):
            anew = granted.get(fold)
            requests.append(Request(subject, time if anew and anew > time else None))
    return requests


def _named(events: pa.RecordBatch) -> dict[str, datetime]:
    """Return when each subject asked last.

    A request that is dated after its record is two rows, and counts as of the record.
    """
    recorded = pc.coalesce(events["recorded_at"], events["event_time"]).to_pylist()
    places = zip(
        *(events[name].to_pylist() for name in ("topic", "partition", "offset")), strict=True
    )
    said: dict[tuple[object, ...], datetime] = {}
    for subject, place, time in zip(events["subject"].to_pylist(), places, recorded, strict=True):
        if subject:
            said[subject, place] = min(time, said.get((subject, place), time))
    asked: dict[str, datetime] = {}
    for (subject, _), time in said.items():
        asked[str(subject)] = max(time, asked.get(str(subject), time))
    return asked


def _completed(config: Config) -> Iterator[pa.RecordBatch]:
    for rows in erasure_rows(config.tables):
        yield rows.filter(pc.is_valid(rows["completed_at"]))


def _last_grants(config: Config) -> dict[str, datetime]:
    """Return by person when the last consent was recorded."""
    found: dict[str, datetime] = {}
    for rows in read_landed(config.tables):
        grants = rows.filter(pc.equal(rows["action"], "granted"))
        pairs = zip(
            grants["person_fold"].to_pylist(), grants["recorded_at"].to_pylist(), strict=True
        )
        for fold, time in pairs:
            found[fold] = max(time, found.get(fold, time))
    return found


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)
