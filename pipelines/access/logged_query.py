"""A query by a role: what it hides is not there, and the audit log says who asked."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from pipelines.access.audit import MOST_SUBJECTS, AuditLog, Entry, pseudonyms_in, user_name
from pipelines.access.restricted import Reader
from pipelines.access.roles import read_roles
from pipelines.access.settings import Access
from pipelines.tables.analyst_views import VIEWS
from pipelines.tables.arrow_types import flat_columns, is_text
from pipelines.tables.query import query
from pipelines.tables.statement import named_in
from schemas.errors import AffectstreamError
from schemas.table import Root
from schemas.tables import TABLES

_MOST_NAMED: Final = 10_000
"""Pseudonyms that are noted of one reading, 100 a line; the last line says how many more."""


def query_as(access: Access, role: str, root: Root, sql: str, **limits: Any) -> pa.Table:
    """Return what a role sees of a statement, once the reading stands in the audit log.

    ``limits`` are those of ``query``. The log has the statement, and the pseudonyms in it and in
    the answer. A statement that is refused is logged too; one that cannot be logged is not
    answered.

    Raises:
        AffectstreamError: as ``query`` does, there is no such role, or the log cannot be written.
    """
    reader = Reader(role, read_roles(access.roles).named(role))
    log = AuditLog(access.audit_folder(root), access.audit_days)
    entry = Entry(
        at=datetime.now(UTC),
        who=user_name(),
        role=role,
        via="query",
        what=", ".join(named_in(sql, (*TABLES, *VIEWS))) or "no table",
        subjects=pseudonyms_in(sql),
        statement=sql,
    )
    try:
        found = query(root, sql, reader=reader, **limits)
    except AffectstreamError:
        log.append([*lines_of(entry._replace(outcome="refused"))])
        raise
    shown = [*entry.subjects, *_pseudonyms_of(found)]
    log.append([*lines_of(entry._replace(subjects=shown, rows=found.num_rows))])
    return found


def lines_of(entry: Entry) -> Iterator[Entry]:
    """Yield an entry, and one more for each MOST_SUBJECTS pseudonyms that it has besides."""
    named = list(dict.fromkeys(entry.subjects))
    yield entry._replace(subjects=named[:MOST_SUBJECTS])
    for place in range(MOST_SUBJECTS, min(len(named), _MOST_NAMED), MOST_SUBJECTS):
        part = named[place : place + MOST_SUBJECTS]
        yield entry._replace(what="the same reading", subjects=part, statement="")
    if (more := len(named) - _MOST_NAMED) > 0:
        yield entry._replace(what=f"the same reading: {more:,} more", subjects=(), statement="")


def _pseudonyms_of(table: pa.Table) -> Iterator[str]:
    """Yield what looks like a pseudonym in a table, in columns of any name."""
    for column in table.columns:
        for part in filter(lambda part: is_text(part.type), flat_columns(column.combine_chunks())):
            for text in part.cast(pa.large_string()).unique().drop_null().to_pylist():
                yield from pseudonyms_in(text)
