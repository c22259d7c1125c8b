"""Roles: what each may see of tables, views and pages, read from a YAML file."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from pipelines.serve.literals import moment, text
from pipelines.tables.analyst_views import VIEWS
from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml, suggest
from schemas.tables import TABLES

API_PAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "latest": ("emotion_features",),
        "decision": ("expression_decisions",),
        "history": ("emotion_features", "expression_decisions"),
        "explanation": ("expression_decisions", "emotion_features", "observations"),
        "metrics": (),
    }
)
"""Page of the HTTP API → the tables whose rows it shows."""
PAGE_VIEWS: Final = ("live", "scenes", "health", "decisions", "reviews", "erasures")
"""Views of the dashboard."""
ACTIONS: Final = ("label", "export")
"""What may be done with reviews: say what was shown, and write labels to a file for training."""
ENDS: Final = ("window_end", "event_time")
"""Columns that say how old a row is: the first of them that a table has."""


_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")

Purposes = frozenset[str] | None
"""Purposes whose rows may be seen, None for all."""


class Grant(Frozen):
    """What a role may see of one table or view."""

    columns: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    purposes: frozenset[str] | None = Field(default=None, min_length=1)
    unexpired: bool = False
    max_age_s: Annotated[float, Field(gt=0)] | None = None

    @property
    def whole(self) -> bool:
        """Whether it hides nothing."""
        return self == Grant()

    @property
    def rows_limited(self) -> bool:
        """Whether it hides rows."""
        return self.unexpired or self.max_age_s is not None or self.purposes is not None

    @property
    def columns_whole(self) -> bool:
        """Whether it hides no column."""
        return self.columns is None and not self.without

    def shows(self, column: str) -> bool:
        """Return whether a column may be seen."""
        return column not in self.without and (self.columns is None or column in self.columns)

    def conditions(self, names: Iterable[str], now: datetime) -> list[str]:
        """Return the SQL conditions of the rows that may be seen, of a table with these columns."""
        found = []
        if self.purposes is not None:
            listed = ", ".join(text(purpose) for purpose in sorted(self.purposes))
            found.append(f"purpose IN ({listed})")
        if self.unexpired:
            found.append(f"expires_at > {moment(now)}")
        if self.max_age_s is not None:
            end = next(column for column in ENDS if column in names)
            found.append(f"{end} > {moment(now - timedelta(seconds=self.max_age_s))}")
        return found


class Role(Frozen):
    """What one role may see, and what it ``may`` do; ``past`` tells whether also as it was."""

    description: str
    api: frozenset[str] = frozenset()
    page: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    past: bool = False
    tables: Mapping[str, Grant] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_known(self) -> "Role":
        for names, known, what in (
            (self.api, API_PAGES, "page of the API"),
            (self.page, PAGE_VIEWS, "view of the page"),
            (self.may, ACTIONS, "action"),
            (self.tables, (*TABLES, *VIEWS), "table or view"),
        ):
            if unknown := sorted(set(names) - set(known)):
                message = f"{unknown[0]!r} is no {what}: {suggest(unknown[0], known)}"
                raise ValueError(message)
        for name, grant in self.tables.items():
            _check_columns(name, grant)
        return self

    @model_validator(mode="after")
    def _pages_read_what_is_granted(self) -> "Role":
        for page in sorted(self.api):
            if lacking := [name for name in API_PAGES[page] if name not in self.tables]:
                message = f"api lists {page}, which reads {lacking[0]}: list it under tables too"
                raise ValueError(message)
        limited = [name for name, grant in self.tables.items() if grant.rows_limited]
        if self.page and limited:  # it counts rows by the tables' logs, which know of all
            message = (
                f"the page shows all rows, and those of {limited[0]} are limited: leave out `page`"
            )
            raise ValueError(message)
        return self

    def purposes(self, page: str) -> Purposes:
        """Return the purposes whose rows a page of the API may show."""
        limits = [self.tables[name].purposes for name in API_PAGES[page]]
        known = [limit for limit in limits if limit is not None]
        return frozenset.intersection(*known) if known else None


class Roles(Frozen):
    """The roles of a file by name; ``version`` names the state of the file."""

    version: str
    roles: Mapping[str, Role]

    @field_validator("roles")
    @classmethod
    def _names_are_plain(cls, given: Mapping[str, Role]) -> Mapping[str, Role]:
        for name in given:
            if not _NAME.fullmatch(name):
                message = (
                    f"{name!r} is no name of a role: write a-z, then also 0-9, _ or -, 64 at most"
                )
                raise ValueError(message)
        return given

    def named(self, name: str) -> Role:
        """Return the role of this name.

        Raises:
            AffectstreamError: there is none.
        """
        found = self.roles.get(name)
        if found is None:
            message = f"there is no role {name!r}: {suggest(name, self.roles)}"
            raise AffectstreamError(message)
        return found


def read_roles(path: Path) -> Roles:
    """Read and check a file of roles.

    Raises:
        AffectstreamError: it is none.
    """
    return read_yaml(path, Roles, "a file of roles")


def schema_of(name: str) -> pa.Schema:
    """Return the schema of a table or view."""
    return TABLES[name].schema if name in TABLES else VIEWS[name].schema


def _check_columns(name: str, grant: Grant) -> None:
    known = schema_of(name).names
    if unknown := sorted({*(grant.columns or ()), *grant.without} - set(known)):
        message = f"{name} has no column {unknown[0]!r}: {suggest(unknown[0], known)}"
        raise ValueError(message)
    if grant.columns is not None and grant.without:
        message = f"{name} has both `columns` and `without`: give one of them"
        raise ValueError(message)
    if grant.columns == ():
        message = f"{name} shows no column: leave it out, or name some"
        raise ValueError(message)
    for limit, needed in (
        (grant.purposes, ("purpose",)),
        (grant.unexpired, ("expires_at",)),
        (grant.max_age_s, ENDS),
    ):
        if limit and not set(needed) & set(known):
            message = f"{name} has no {needed[0]} by which its rows could be limited: leave it out"
            raise ValueError(message)
