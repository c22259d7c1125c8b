"""What the kills left behind, compared with what the producers sent and with a replay of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from infra.bench.loads import commits_of
from schemas.events import WINDOW_KEY
from schemas.tables import TABLES
from tests.support.live_runs import differing, table

Outage = tuple[datetime, datetime]
"""From a kill of the broker until what happened after it landed."""

_SENT = ["topic", "timestamp", "key", "value"]
_MARGIN_MS = 60_000
_DECIDED = ["decision_id", *WINDOW_KEY, "window_end"]
_COUNTS = ("n_text", "n_voice", "n_face", "n_motion")


def not_in_broker(produced: Path, held: pa.Table) -> int:
    """Count the records of the broker that are not the first ones that a producer sent.

    ``produced`` is a producer's log, which it shifted in time as a whole, and ``held`` what the
    topics hold. What a partition has of it has to be a prefix of what was sent there: behind a
    gap, a repetition or another order all is wrong.
    """
    log = ds.dataset(produced)
    first = log.to_table(columns=["timestamp", "key"])
    held = _in_ms(held.filter(pc.is_in(held["key"], pc.unique(first["key"]))))
    shift = pc.min(held["timestamp"]).as_py() - pc.min(_in_ms(first)["timestamp"]).as_py()
    sent = _in_ms(log.to_table(columns=_SENT))
    sent = sent.set_column(1, "timestamp", pc.add(sent["timestamp"], shift))
    until = pc.max(held["timestamp"]).as_py() + _MARGIN_MS
    sent = sent.filter(pc.less(sent["timestamp"], until))
    return sum(_behind_a_gap(sent, part) for part in _partitions(held))


def _in_ms(rows: pa.Table) -> pa.Table:
    place = rows.schema.get_field_index("timestamp")
    return rows.set_column(place, "timestamp", rows["timestamp"].cast(pa.int64()))


def _partitions(held: pa.Table) -> Iterator[pa.Table]:
    for place in held.group_by(["topic", "partition"]).aggregate([]).to_pylist():
        same = (pc.equal(held[name], value) for name, value in place.items())
        yield held.filter(pc.and_(*same)).sort_by("offset").select(_SENT)


def _behind_a_gap(sent: pa.Table, part: pa.Table) -> int:
    keys = pc.is_in(sent["key"], pc.unique(part["key"]))
    mine = sent.filter(pc.and_(pc.equal(sent["topic"], part["topic"][0]), keys))
    pairs = zip(mine.slice(0, len(part)).to_pylist(), part.to_pylist(), strict=False)
    return len(part) - sum(one == other for one, other in pairs)


def outage(root: str, killed: float, back: float) -> Outage:
    """Return the time in which events may have waited at the producer for the broker.

    It ends when the first event landed that happened after the broker was back.
    """
    begin = datetime.fromtimestamp(killed, UTC) - timedelta(seconds=1)
    again = datetime.fromtimestamp(back, UTC)
    for at, added in commits_of(Path(root), "observations", "WRITE", "MERGE"):
        if max(map(_latest, added)) > again:
            return begin, datetime.fromtimestamp(at, UTC)
    return begin, datetime.max.replace(tzinfo=UTC)


def _latest(file: dict[str, str]) -> datetime:
    return datetime.fromisoformat(json.loads(file["stats"])["maxValues"]["event_time"])


def disturbed(
    wanted: pa.Table, made: pa.Table, outages: list[Outage], length_s: float
) -> tuple[set[str], set[str], set[str]]:
    """Return the ids of decisions that are missing, that differ, and those that no outage explains.

    A decision is made once, on time. Where the broker was dead while its window was open, events
    came late: all of them, so that it is missing, or some, so that it differs. Those that follow
    in the same history may differ too.
    """
    rows = {row["decision_id"]: row for row in wanted.select(_DECIDED).to_pylist()}
    missing = set(rows) - set(made["decision_id"].to_pylist())
    differ = differing(wanted, made, "decision_id") - missing
    first: dict[tuple[str, ...], datetime] = {}
    for key in (missing | differ) & set(rows):
        history, end = _history(rows[key]), rows[key]["window_end"]
        first[history] = min(end, first.get(history, end))
    length = timedelta(seconds=length_s)

    def excused(end: datetime) -> bool:
        return any(begin < end and end - length < back for begin, back in outages)

    unexplained = differ - set(rows)  # what only the job has decided
    for key in (missing | differ) & set(rows):
        since = rows[key]["window_end"] if key in missing else first[_history(rows[key])]
        if not excused(since):
            unexplained.add(key)
    return missing, differ, unexplained


def _history(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in WINDOW_KEY)


def other_reviews(wanted: pa.Table, made: pa.Table, excused: set[str]) -> int:
    """Count the reviews that differ though their decisions do not."""
    differ = differing(wanted, made, "review_id")
    of = {
        row["review_id"]: row["decision_id"]
        for rows in (wanted, made)
        for row in rows.select(["review_id", "decision_id"]).to_pylist()
    }
    return sum(of[review] not in excused for review in differ)


def differing_rows(wanted: str, made: str, name: str) -> int:
    """Count the rows of a table that differ in any column, floating-point values by 1e-3."""
    return len(differing(table(wanted, name), table(made, name), TABLES[name].row_id))


def unwindowed(root: str) -> int:
    """Return how many more or fewer observations there are than events in the windows' counts."""
    features = table(root, "emotion_features")
    counted = sum(pc.sum(features[name]).as_py() or 0 for name in _COUNTS)
    return abs(len(table(root, "observations")) - counted)


def grown(measured: list[float]) -> float:
    """Return the last third's median in proportion to the first third's."""
    third = max(len(measured) // 3, 1)
    first, last = (sorted(part)[third // 2] for part in (measured[:third], measured[-third:]))
    return last / first
