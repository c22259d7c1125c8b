"""A query by a role: what it hides is not there, and the audit log says who asked."""

import getpass
import re
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipelines.access.audit import AuditLog, Entry
from pipelines.access.restricted import Reader
from pipelines.access.roles import read_roles
from pipelines.access.settings import Access
from pipelines.tables.analyst_views import VIEWS
from pipelines.tables.query import query
from pipelines.tables.statement import named_in
from schemas.errors import AffectstreamError
from schemas.table import Root
from schemas.tables import TABLES

_REF = re.compile(r"\b[0-9a-f]{32}\b")


def query_as(access: Access, role: str, root: Root, sql: str, **limits: Any) -> pa.Table:
    """Return what a role sees of a statement, once the reading stands in the audit log.

    ``limits`` are those of ``query``. A statement that is refused is logged too; one that cannot
    be logged is not answered.

    Raises:
        AffectstreamError: as ``query`` does, there is no such role, or the log cannot be written.
    """
    reader = Reader(role, read_roles(access.roles).named(role))
    log = AuditLog(access.audit, access.audit_days)
    named = named_in(sql, (*TABLES, *VIEWS))

    def note(outcome: str, rows: int = 0) -> None:
        subjects = tuple(dict.fromkeys(_REF.findall(sql)))
        at, who, what = datetime.now(UTC), getpass.getuser(), ", ".join(named) or "no table"
        log.append([Entry(at, who, role, "query", what, subjects, rows, outcome)])

    try:
        found = query(root, sql, reader=reader, **limits)
    except AffectstreamError:
        note("refused")
        raise
    note("ok", found.num_rows)
    return found
