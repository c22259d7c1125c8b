"""Which version of a row was known when: by the change feed, as far back as it reaches."""

import ibis
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.serve.feast.source import TIME
from pipelines.tables.changes import (
    BACKFILL,
    CHANGE,
    VERSION,
    ChangesGoneError,
    read_changes,
    readable_versions,
    reasons,
)
from schemas.table import Table

LANDED = "landed_at"
_COMMITTED = "_commit_timestamp"
_AT_ONCE = 20  # versions: as many at most are left out where one of them was vacuumed


def row_versions(table: DeltaTable, known: Table, live: ibis.Table) -> ibis.Table:
    """Return the versions that live rows have had, with ``landed_at``, when each was committed.

    Of a version that landed before the change feed reaches back it is the end of its window, since
    it cannot have been earlier. What a row was before it was deleted and landed again is left out.

    Raises:
        AffectstreamError: the table has no change feed.
    """
    changes, row_id = _readable_changes(table), known.row_id
    if changes is None:
        return live.mutate(**{LANDED: live[TIME]})
    found = ibis.memtable(_with_lists(changes))
    found = found.mutate(**{LANDED: found[_COMMITTED].cast(live[TIME].type())})
    found = _since_last_delete(found, table, row_id)
    first = found.group_by(row_id).agg(first_version=found[VERSION].min())
    news = found.filter(found[CHANGE].isin(["insert", "update_postimage"]))
    before = found.filter(found[CHANGE] == "update_preimage").join(first, row_id)
    before = before.filter(before[VERSION] == before["first_version"])
    before = before.mutate(**{LANDED: before[TIME]})
    untouched = live.anti_join(found, row_id).mutate(**{LANDED: live[TIME]})
    columns = {**live.schema(), LANDED: live[TIME].type()}
    parts = [part.select(*columns).cast(columns) for part in (news, before, untouched)]
    return ibis.union(*parts, distinct=False).semi_join(live, row_id)


def _readable_changes(table: DeltaTable) -> pa.Table | None:
    """Return the changes of the newest versions, back to the first that was vacuumed."""
    versions = readable_versions(table)
    parts, last = [], versions.last
    while last >= versions.first:
        first = max(versions.first, last - _AT_ONCE + 1)
        try:
            parts.append(read_changes(table, first, last))
        except ChangesGoneError:
            break
        last = first - 1
    return pa.concat_tables(parts) if parts else None


def _since_last_delete(found: ibis.Table, table: DeltaTable, row_id: str) -> ibis.Table:
    """Leave out what a row was before it was deleted, unless a backfill wrote it anew."""
    deletes = found.filter(found[CHANGE] == "delete")
    versions = deletes[[VERSION]].distinct().to_pyarrow()[VERSION].to_pylist()
    backfills = [v for v, why in reasons(table, versions).items() if why == BACKFILL]
    if backfills:
        deletes = deletes.filter(deletes[VERSION].notin(backfills))
    gone = deletes.group_by(row_id).agg(gone=deletes[VERSION].max())
    found = found.left_join(gone, row_id, rname="{name}_of_delete")
    return found.filter(found["gone"].isnull() | (found[VERSION] >= found["gone"]))


def _with_lists(rows: pa.Table) -> pa.Table:
    """Return lists of a fixed size as lists of any, as DuckDB reads them from files."""
    fields = [
        field.with_type(pa.list_(field.type.value_type))
        if pa.types.is_fixed_size_list(field.type)
        else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
