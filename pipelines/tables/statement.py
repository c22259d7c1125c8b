"""What a statement says before it runs: whether it only reads, and which tables it names."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pipelines.tables.analyst_views import VIEWS, tables_of
from schemas.errors import AffectstreamError

_COMMENT = r"--[^\r\n]*\r?\n|/\*(?:(?!/\*|\*/).)*\*/"
_READS = re.compile(
    rf"(?:\s|\(|{_COMMENT})*(?:explain\s+(?:analyze\s+)?(?:verbose\s+)?)?\(*\s*"
    r"(?:select|with|values|describe|show)\b",
    re.IGNORECASE | re.DOTALL,
)
"""What a statement may begin with. The engine refuses a second statement and DML, but it would run
COPY, which writes files, and CREATE EXTERNAL TABLE, which reads any. A comment that holds another
``/*`` is not skipped: engines differ on where it ends, and a COPY could hide behind it."""

_CATALOG = re.compile(r"\bshow\b|\binformation_schema\b", re.IGNORECASE)

Asked = TypeVar("Asked")


def check_reads(sql: str) -> None:
    """Raise AffectstreamError where a statement may do more than read."""
    if not _READS.match(sql):
        message = (
            "affectstream only reads: a query begins with SELECT, WITH, VALUES, EXPLAIN, DESCRIBE "
            "or SHOW"
        )
        raise AffectstreamError(message)


def named_in(sql: str, names: Iterable[str]) -> list[str]:
    """Return those of the names that a statement may mean: each that stands in it as a word.

    A word in a comment or a string counts too: that a table is opened in vain does no harm. What
    lists the tables themselves means all.
    """
    if _CATALOG.search(sql):
        return list(names)
    words = set(re.findall(r"\w+", sql.lower()))
    return [name for name in names if name in words]


def tables_named_in(sql: str, tables: Iterable[str]) -> list[str]:
    """Return those of the tables that a statement may read, by their names or through views."""
    through = {table for name in named_in(sql, VIEWS) for table in tables_of(VIEWS[name])}
    own = named_in(sql, tables)
    return [table for table in tables if table in own or table in through]


def per_table(
    option: str, asked: Asked | Mapping[str, Asked] | None, named: list[str]
) -> dict[str, Asked]:
    """Return which table of a statement an option is meant for: of the only one, or those it names.

    Versions are counted by each table for itself, so one version means nothing for two tables.

    Raises:
        AffectstreamError: it is one value and the statement names several tables or none, or it
            names a table that the statement does not.
    """
    if asked is None:
        return {}
    if isinstance(asked, Mapping):
        if unknown := sorted(asked.keys() - set(named)):
            tables = ", ".join(named) or "no table"
            message = f"{option} names {unknown[0]}, but the statement reads {tables}"
            raise AffectstreamError(message)
        return dict(asked)
    if len(named) != 1:
        tables = ", ".join(named) if named else "none"
        example = f": name one, as in {option} {named[0]}={asked}" if named else ""
        message = (
            f"each table counts its own versions, so {option} {asked} is for a statement that "
            f"reads one table, and this one reads {tables}{example}"
        )
        raise AffectstreamError(message)
    return {named[0]: asked}


def parse_asked(
    option: str, given: Sequence[str], parse: Callable[[str], Asked]
) -> Asked | dict[str, Asked] | None:
    """Read what stands after an option: ``VALUE`` once, or ``TABLE=VALUE`` for each table.

    Raises AffectstreamError where one of several names no table, or ``parse`` does.
    """
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return parse(given[0])
    pairs = [value.rpartition("=") for value in given]
    if nameless := [value for table, _, value in pairs if not table]:
        message = f"{option} {nameless[0]} names no table: write {option} TABLE={nameless[0]}"
        raise AffectstreamError(message)
    return {table: parse(value) for table, _, value in pairs}


def parse_version(text: str) -> int:
    """Read the number of a version; raises AffectstreamError where it is none."""
    if text.isascii() and text.isdecimal():
        return int(text)
    message = f"{text} is no version: give a number from 0 on, as `affectstream tables` shows them"
    raise AffectstreamError(message)


def parse_moment(text: str) -> int | datetime:
    """Read a version, or a time in ISO 8601 that is in UTC where it names no zone.

    Raises AffectstreamError where it is neither.
    """
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        message = (
            f"{text} is neither a version nor a time: give a number, or a time as in "
            "2026-11-30T10:00+08:00 (UTC where it names no zone)"
        )
        raise AffectstreamError(message) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
