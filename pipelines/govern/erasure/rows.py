"""The rows of persons: found, counted and deleted, table by table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable

from pipelines.govern.erasure.people import Person
from pipelines.tables.arrow_types import rows_with
from pipelines.tables.changes import ERASURE, REASON
from pipelines.tables.query import standing
from schemas.events import TIME
from schemas.table import Root, Table
from schemas.tables import TABLES
from transforms.landing.layout import file_properties
from transforms.landing.retry import retry_commit

_FIRST = "observations"
"""Deleted first: a backfill, which rebuilds the others from these, looks there for erasures."""
_LETTERS = "dead_letters"
_PERSON, _EVENT = "person_ref", "event_id"
LEDGER = "consent_ledger"
"""Deleted last: it knows by which references the others name a person."""


@dataclass(frozen=True, slots=True)
class PersonRows:
    """Rows of one table: their ids, how many each person has by tombstone, and how to find them.

    ``keys`` are the references that a merge deletes by, and until when; ``predicate`` joins them.
    """

    table: str
    ids: frozenset[str]
    counts: Counter[str]
    keys: pa.Table
    predicate: str


def find_rows(
    root: Root, people: Iterable[Person], until: Mapping[str, int], *, ledger: bool
) -> list[PersonRows]:
    """Return what stands of these persons, and the dead letters of their events.

    Of the ledger alone, or of all other tables.

    ``until`` gives for some tombstones the time, in µs since 1970, up to which rows are meant:
    persons who consented anew since they asked. It is the end of a window. Of all others every row
    is meant.
    """
    owners: dict[str, Person] = {}
    for person in people:
        owners |= dict.fromkeys((*person.references, *person.exact), person)
    found, events = [], set[str]()
    names = sorted(standing(root), key=lambda name: name != _FIRST)
    names = [name for name in names if (name == LEDGER) == ledger]
    for name in names:
        table = TABLES[name]
        column = _PERSON if ledger else table.subject
        if column is None:
            continue
        rows = _read(root, table, column, owners, until)
        if rows.num_rows:
            found.append(_of_persons(table, column, rows, owners, until))
        if _EVENT in rows.column_names:
            events.update(rows[_EVENT].drop_null().to_pylist())
    if _LETTERS in names and events:
        found += _letters(root, events)
    return found


def rows_by_id(name: str, ids: Sequence[str]) -> PersonRows:
    """Return rows of a table that are known by their ids, whoever they are of."""
    keys, row_id = pa.table({"ref": pa.array(ids, pa.string())}), TABLES[name].row_id
    return PersonRows(name, frozenset(ids), Counter(), keys, f"t.{row_id} = s.ref")


def delete_rows(root: Root, found: Iterable[PersonRows]) -> dict[str, int]:
    """Delete these rows; return for each table the version that lacks them.

    By a merge with the references, since the log would keep those that a predicate names.
    """
    versions = {}
    for rows in found:
        versions[rows.table] = _delete(f"{root}/{rows.table}", rows)
    return versions


def _time_of(table: Table) -> str:
    """Return the column by which rows are limited; the ids of one window go together."""
    return "window_end" if "window_end" in table.schema.names else table.lookup_column


def _read(
    root: Root, table: Table, column: str, owners: Mapping[str, Person], until: Mapping[str, int]
) -> pa.Table:
    """Return the rows' ids, whose they are, and their event ids where the table has some."""
    columns = {table.row_id, _time_of(table), _EVENT} & set(table.schema.names)
    rows = rows_with(DeltaTable(f"{root}/{table.name}"), column, owners, sorted(columns))
    if not until:
        return rows
    times = rows[_time_of(table)].cast(pa.int64()).to_pylist()
    limits = [until.get(owners[who].tombstone) for who in rows[column].to_pylist()]
    meant = [limit is None or time <= limit for time, limit in zip(times, limits, strict=True)]
    return rows.filter(pa.array(meant, pa.bool_()))


def _of_persons(
    table: Table,
    column: str,
    rows: pa.Table,
    owners: Mapping[str, Person],
    until: Mapping[str, int],
) -> PersonRows:
    references = pc.unique(rows[column]).to_pylist()
    limits = [until.get(owners[ref].tombstone) for ref in references]
    return PersonRows(
        table.name,
        frozenset(rows[table.row_id].to_pylist()),
        Counter(owners[ref].tombstone for ref in rows[column].to_pylist()),
        pa.table({"ref": pa.array(references), "until": pa.array(limits, pa.int64()).cast(TIME)}),
        f"t.{column} = s.ref AND (s.until IS NULL OR t.{_time_of(table)} <= s.until)",
    )


def _letters(root: Root, events: set[str]) -> Iterator[PersonRows]:
    """Yield the dead letters that name an event of theirs; they say of nobody whose they are."""
    table = TABLES[_LETTERS]
    rows = rows_with(DeltaTable(f"{root}/{table.name}"), _EVENT, events, [table.row_id])
    if rows.num_rows:
        ids = frozenset(rows[table.row_id].to_pylist())
        keys = pa.table({"ref": pc.unique(rows[_EVENT])})
        yield PersonRows(table.name, ids, Counter(), keys, f"t.{_EVENT} = s.ref")


def _delete(place: str, rows: PersonRows) -> int:
    table = DeltaTable(place)
    why, layout = (
        CommitProperties(custom_metadata={REASON: ERASURE}),
        file_properties(TABLES[rows.table]),
    )

    def commit() -> int:
        merged = table.merge(
            rows.keys,
            predicate=rows.predicate,
            source_alias="s",
            target_alias="t",
            commit_properties=why,
            writer_properties=layout,
        )
        merged.when_matched_delete().execute()
        return table.version()

    return retry_commit(commit, place, "deletions", table.update_incremental)
