"""What a role may see of the tables, as tables of their own.

A filter inside the user's own statement would not be enough: the engine may evaluate a condition of
the user's before the filter, and an error, a plan or a statistic would tell of rows that are
hidden. So what is limited is copied first, without what is hidden, and the user's statement runs in
an engine that has nothing else.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from deltalake import DeltaTable, QueryBuilder, write_deltalake

from pipelines.access.roles import Grant, Role, schema_of
from pipelines.tables.analyst_views import VIEWS, View, tables_of, views_for
from pipelines.tables.statement import named_in
from schemas.errors import AffectstreamError
from schemas.tables import TABLES

Engine = Callable[[Mapping[str, DeltaTable], Iterable[View]], QueryBuilder]
"""Makes an engine that knows these tables, and these views of them."""

_NO_FIELD = re.compile(r'No field named (?:\w+\.)*"?(\w+)')
_CHANGES = ("_change_", "_commit_")
"""How the columns begin that a change feed has beside the table's."""


class Reader(NamedTuple):
    """Who reads: a role and its name, and the clock by which rows expire."""

    name: str
    role: Role
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def needed(self, sql: str) -> list[str]:
        """Return the tables that have to be opened for this statement.

        Those that the role may see and the statement names, and those of views that it names.
        """
        named = named_in(sql, self.role.tables)
        through = {t for name in named if name in VIEWS for t in tables_of(VIEWS[name])}
        return [name for name in TABLES if name in named or name in through]

    def check_past(self) -> None:
        """Raise where the role may not read tables as they were, or their changes."""
        if not self.role.past:
            message = (
                f"role {self.name} reads the tables as they stand: leave out --as-of and "
                "--changes-since"
            )
            raise AffectstreamError(message)

    def explain(self, hint: str, sql: str) -> str | None:
        """Say why what the engine did not find may not be read, None where that is not why."""
        hidden = ({*TABLES, *VIEWS}) - self.role.tables.keys()
        for name in sorted(hidden):
            if f".{name}' not found" in hint:
                allowed = ", ".join(self.role.tables) or "no table"
                return f"role {self.name} may not read {name}; it may read {allowed}"
        if found := _NO_FIELD.search(hint):
            column = found[1]
            for name in named_in(sql, self.role.tables):
                grant = self.role.tables[name]
                if column in schema_of(name).names and not grant.shows(column):
                    return f"role {self.name} may not read the column {column} of {name}"
        return None


class Shown(NamedTuple):
    """What a statement may meet: tables, and views that are made of them where it runs."""

    tables: dict[str, DeltaTable]
    views: list[View]


def restrict(
    reader: Reader,
    sql: str,
    opened: Mapping[str, DeltaTable],
    ready: Collection[str],
    folder: str,
    engine: Engine,
) -> Shown:
    """Return the tables and views of a statement as the reader may see them.

    ``opened`` are the whole tables, ``ready`` the names of the views that can be had of them. What
    is limited is copied into ``folder``, which is the caller's to delete; what hides nothing is
    not.
    """
    shown = Shown({}, [])
    for name in named_in(sql, reader.role.tables):
        grant, view = reader.role.tables[name], VIEWS.get(name)
        needed = tables_of(view) if view else (name,)
        if not set(needed) <= opened.keys() or (view and name not in ready):
            continue
        if view and grant.whole and all(_is_whole(reader.role, table) for table in needed):
            shown.tables.update({table: opened[table] for table in needed})
            shown.views.append(view)
        elif grant.whole and not view:
            shown.tables[name] = opened[name]
        else:
            tables = {table: opened[table] for table in needed}
            whole = engine(tables, views_for([] if view is None else [name]))
            shown.tables[name] = _copy(whole, name, grant, opened, folder, reader.now())
    return shown._replace(views=views_for(view.name for view in shown.views))


def _is_whole(role: Role, table: str) -> bool:
    return table in role.tables and role.tables[table].whole


def _copy(
    whole: QueryBuilder,
    name: str,
    grant: Grant,
    opened: Mapping[str, DeltaTable],
    folder: str,
    now: datetime,
) -> DeltaTable:
    """Write what a grant shows of a table or view as a table of its own."""
    names = _columns(name, opened)
    chosen = [
        f'"{n}"' for n in names if grant.shows(n) or (n.startswith(_CHANGES) and name in opened)
    ]
    conditions = grant.conditions(names, now) or ["true"]
    found: Any = whole.execute(
        f"SELECT {', '.join(chosen)} FROM {name} WHERE {' AND '.join(conditions)}"
    )
    place = Path(folder) / "shown" / name
    write_deltalake(place, found)
    return DeltaTable(place)


def _columns(name: str, opened: Mapping[str, DeltaTable]) -> list[str]:
    """Return the columns of a table as it is opened, or of a view."""
    if name in opened:
        return [field.name for field in opened[name].schema().fields]
    return list(VIEWS[name].schema.names)
