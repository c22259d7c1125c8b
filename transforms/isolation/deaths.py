"""Deaths of workers: which records were in work then, and which of them is to blame.

A record that makes a native decoder crash takes its worker along, so nothing is left to catch. What
workers had in work when they died (``notes.py``) stands in a journal that all workers of a job
read (docs/adr/0012).
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from schemas.events import REFERENCE
from schemas.strict import make_private_folder, write_private

Place = tuple[str, int, int]
"""Topic, partition and offset: what a record is called."""

ALONE_AFTER = 2
"""Deaths with a record in work after which it is worked on alone. Two kills from outside hit the
same place only where it did not pass between them."""
CONDEMNED_AFTER = (3, 2)
"""Deaths with a record in work, and of these with it alone, after which it is a dead letter."""


def places(batch: pa.RecordBatch) -> list[Place]:
    """Return the place of each row."""
    columns = (batch[name].to_pylist() for name, _ in REFERENCE)
    return list(zip(*columns, strict=True))


@dataclass(slots=True)
class Suspicion:
    """How often workers died with a record in work since it last passed, and with it alone."""

    deaths: int = 0
    alone: int = 0

    @property
    def condemned(self) -> bool:
        return self.deaths >= CONDEMNED_AFTER[0] and self.alone >= CONDEMNED_AFTER[1]


class _Line(msgspec.Struct):
    """Adds deaths to these places, or takes all back where it has none: they have passed."""

    stage: str
    places: list[Place]
    deaths: int = 0
    alone: int = 0


class Journal:
    """Suspicions by stage and place, folded from an append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._reading = threading.Lock()
        self._suspected: dict[str, dict[Place, Suspicion]] = defaultdict(dict)
        self.refresh()

    def refresh(self) -> None:
        """Read what was added since; 2 µs where nothing was."""
        with self._reading:
            try:
                if os.stat(self._path).st_size == self._read:  # half the time of Path's
                    return
            except FileNotFoundError:
                return
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        self._fold(line)

    def _fold(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.MsgspecError:  # a worker died while it wrote
            return
        known = self._suspected[line.stage]
        for place in line.places:
            if not line.deaths:
                known.pop(place, None)
                continue
            suspicion = known.setdefault(place, Suspicion())
            suspicion.deaths += line.deaths
            suspicion.alone += line.alone

    def died(self, stage: str, found: list[Place], *, alone: bool) -> None:
        """Write down that a worker died with these in work."""
        self._add(_Line(stage, found, 1, int(alone)))

    def passed(self, stage: str, found: list[Place]) -> None:
        """Write down that these are not to blame."""
        self._add(_Line(stage, found))

    def _add(self, line: _Line) -> None:
        with self._path.open("ab", buffering=0) as file:  # one write: workers' lines do not mix
            file.write(msgspec.json.encode(line) + b"\n")
        self.refresh()

    def suspected(self, stage: str) -> dict[Place, Suspicion]:
        return self._suspected[stage]

    def condemned(self) -> set[tuple[str, Place]]:
        """Return stage and place of every record that no worker takes any more."""
        return {
            (stage, place)
            for stage, known in self._suspected.items()
            for place, suspicion in known.items()
            if suspicion.condemned
        }

    def compact(self) -> None:
        """Leave only what is suspected now in the file; no worker may run meanwhile."""
        same: dict[tuple[str, int, int], list[Place]] = defaultdict(list)
        for stage, known in self._suspected.items():
            for place, suspicion in known.items():
                same[stage, suspicion.deaths, suspicion.alone].append(place)
        lines = [
            _Line(stage, found, deaths, alone) for (stage, deaths, alone), found in same.items()
        ]
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        write_private(self._path, text)
        self._read = len(text)


_BROKEN = "broken"


def journal(folder: Path) -> Journal:
    """Return the journal of a folder; it may not be there yet."""
    return Journal(folder / "journal")


def notes_in(folder: Path) -> Path:
    """Return where the workers of a folder leave their notes, as ``PID-NAME.NUMBER``."""
    return folder / "notes"


def forget(folder: Path, pids: Iterable[int]) -> None:
    """Take away the notes of processes that were killed on purpose."""
    for pid in pids:
        for path in notes_in(folder).glob(f"{pid}-*"):
            path.unlink(missing_ok=True)


def write_broken(folder: Path, message: str) -> None:
    """Leave a sentence for the supervisor, which ends the job with it."""
    (folder / _BROKEN).write_text(message, encoding="utf-8")


def read_broken(folder: Path) -> str | None:
    """Return the sentence that a worker left, None where there is none."""
    try:
        return (folder / _BROKEN).read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None


def start_anew(folder: Path) -> None:
    """Tidy up before a job is started: no worker may run."""
    make_private_folder(folder)
    (folder / _BROKEN).unlink(missing_ok=True)
    journal(folder).compact()
