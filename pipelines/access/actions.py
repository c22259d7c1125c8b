"""Actions that a role has to be allowed, each a line of the audit log that says how it ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from pipelines.access.audit import AuditLog, Entry, user_name
from pipelines.access.logged_query import lines_of
from pipelines.access.roles import read_roles
from pipelines.access.settings import Access
from schemas.errors import AffectstreamError
from schemas.table import Root


def check_action(access: Access, root: Root, role: str | None, action: str) -> None:
    """Refuse an action that the role may not do; without a role whoever owns the tables may.

    Raises:
        AffectstreamError: the role may not, which the log has too, or there is no such role.
    """
    if role is None or action in read_roles(access.roles).named(role).may:
        return
    log = AuditLog(access.audit_folder(root), access.audit_days)
    log.append([*lines_of(_entry(role, action, outcome="refused"))])
    message = f"role {role} may not {action}: add it to `may` of the role in {access.roles}"
    raise AffectstreamError(message)


@contextmanager
def log_action(
    access: Access,
    root: Root,
    role: str | None,
    action: str,
    what: str,
    subjects: Sequence[str] = (),
    rows: int = 0,
) -> Iterator[None]:
    """Write to the audit log what the block did once it has ended: ``ok``, or that it failed.

    ``subjects`` are the pseudonyms that it is about, ``what`` says what is done to ``rows`` rows.

    Raises:
        AffectstreamError: the log cannot be written. Where that is so beforehand the block is not
            run; what has ended is not undone.
    """
    log = AuditLog(access.audit_folder(root), access.audit_days)
    log.append([])
    entry = _entry(role, f"{action} {what}", subjects=subjects, rows=rows)
    try:
        yield
    except BaseException:
        failed = entry._replace(at=datetime.now(UTC), rows=0, outcome="failed")
        log.append([*lines_of(failed)])
        raise
    log.append([*lines_of(entry._replace(at=datetime.now(UTC)))])


def _entry(
    role: str | None,
    what: str,
    *,
    subjects: Sequence[str] = (),
    rows: int = 0,
    outcome: str = "ok",
) -> Entry:
    return Entry(
        at=datetime.now(UTC),
        who=user_name(),
        role=role or "",
        via="review",
        what=what,
        subjects=subjects,
        rows=rows,
        outcome=outcome,
    )
