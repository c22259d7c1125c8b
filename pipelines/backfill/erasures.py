"""Erasures beside a backfill: nobody who is erased while it runs comes back by it."""

import datetime as dt

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from pipelines.serve.follow import Changes, Follower
from pipelines.tables.changes import ERASURE, REASON
from schemas.table import PARTITION, Root
from schemas.tables import TABLES
from transforms.landing.retry import retry_commit

_FOLLOWED = ("observations", "emotion_features", "expression_decisions")


class Erasures:
    """Follows who is erased from the tables from now on.

    Made before anything is read. A backfill asks before each commit, and after it once more, since
    no commit to one table conflicts with an erasure in another. An erasure that deletes a person's
    observations first is seen by one of both, or deletes what was written itself.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._erased: set[str] = set()
        self._followers = [
            Follower(root, name, [TABLES[name].row_id, "subject_ref"]) for name in _FOLLOWED
        ]
        self._positions = {follower.name: follower.here() for follower in self._followers}

    def check_none(self) -> None:
        """Raise CommitFailedError where someone was erased: what was read is to be read again."""
        if erased := self._seen():
            message = f"{len(erased)} subjects were erased meanwhile"
            raise CommitFailedError(message)

    def repeat(self, name: str, day: dt.date) -> None:
        """Delete from a day that was just written the rows of everyone erased meanwhile."""
        erased = self._seen()
        if not erased:
            return
        table = DeltaTable(f"{self._root}/{name}")
        subjects = ", ".join(f"'{ref}'" for ref in sorted(erased))
        where = f"{PARTITION} = '{day}' AND subject_ref IN ({subjects})"
        why = CommitProperties(custom_metadata={REASON: ERASURE})
        retry_commit(
            lambda: table.delete(where, commit_properties=why),
            f"{self._root}/{name}",
            "deletions",
            table.update_incremental,
        )

    def _seen(self) -> set[str]:
        for follower in self._followers:
            while changes := self._next(follower):
                self._erased.update(changes.erased)
                self._positions[follower.name] = changes.position
        return self._erased

    def _next(self, follower: Follower) -> Changes | None:
        position = self._positions[follower.name]
        return None if position is None else follower.read(position)
