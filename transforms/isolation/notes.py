"""Notes of what a worker has in work, in files that outlive it; the next worker gathers them."""

import fcntl
import json
import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from schemas.arrow import take_rows
from transforms.isolation.deaths import (
    ALONE_AFTER,
    Journal,
    Place,
    Suspicion,
    journal,
    notes_in,
    places,
    write_broken,
)

_EMPTY = bytes(8)
_ROW = np.dtype([("topic", "<i4"), ("partition", "<i4"), ("offset", "<i8")])


class Watch:
    """What one worker process has in work, by stage.

    Nothing is flushed to the disk: what a process wrote survives its death, if not the machine's,
    which no record causes. Each thread that works has a file, locked for as long as the process
    lives.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        notes_in(folder).mkdir(parents=True, exist_ok=True)
        self.journal = journal(folder)
        gather(folder, self.journal)
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"  # machines may share the folder
        self._turn = threading.Condition()
        self._busy = 0
        self._exclusive = False
        self._free: list[int] = []
        self._paths: list[Path] = []
        self._left = False

    def parts(self, stage: str, batch: pa.RecordBatch) -> Iterator["Part"]:
        """Split a batch: the condemned records, each suspicious one by itself, and all others."""
        self.journal.refresh()
        known = self.journal.suspected(stage)
        if not known:
            yield Part(batch, Note(self, stage, batch))
            return
        found = [known.get(place, Suspicion()) for place in places(batch)]
        condemned = np.array([one.condemned for one in found], bool)
        alone = np.array([one.deaths >= ALONE_AFTER for one in found], bool)
        if condemned.any():
            yield Part(take_rows(batch, condemned))
        for row in np.flatnonzero(alone & ~condemned).tolist():
            yield self._part(stage, take_rows(batch, np.array([row])), known, exclusive=True)
        if not alone.all():
            yield self._part(stage, take_rows(batch, ~alone), known, exclusive=False)

    def _part(
        self, stage: str, rows: pa.RecordBatch, known: dict[Place, Suspicion], *, exclusive: bool
    ) -> "Part":
        suspects = [place for place in places(rows) if place in known]
        return Part(rows, Note(self, stage, rows, exclusive=exclusive), suspects)

    def begin(self, content: bytes, *, exclusive: bool) -> int:
        """Write a note; where it is exclusive, nothing else of this process is in work then."""
        with self._turn:
            self._turn.wait_for(lambda: not (self._exclusive or (exclusive and self._busy)))
            descriptor = self._free.pop() if self._free else self._open()
            if not self._left:
                os.pwrite(descriptor, content, 0)
            self._busy += 1
            self._exclusive = exclusive
        return descriptor

    def end(self, descriptor: int) -> None:
        """Clear a note."""
        with self._turn:
            os.pwrite(descriptor, _EMPTY, 0)
            self._free.append(descriptor)
            self._busy -= 1
            self._exclusive = False  # it was, if at all, for this one
            self._turn.notify_all()

    def _open(self) -> int:
        path = notes_in(self.folder) / f"{self._name}.{len(self._paths)}"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                self._paths.append(path)
                return descriptor
            os.close(descriptor)  # a worker that started took it for a dead one's

    def leave(self) -> None:
        """Take all notes away: this process ends because it is told to, not by a record."""
        with self._turn:
            self._left = True
            for path in self._paths:
                path.unlink(missing_ok=True)


class Note:
    """A context in which a note stands, of the rows that a stage works on; it may be entered often.

    The file holds the length of a JSON header, the header, and 16 bytes a row.
    """

    __slots__ = ("_content", "_descriptor", "_exclusive", "_watch", "stage")

    def __init__(
        self, watch: Watch, stage: str, rows: pa.RecordBatch, *, exclusive: bool = False
    ) -> None:
        self._watch, self._exclusive, self.stage = watch, exclusive, stage
        self._content = _encode(stage, rows)
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = self._watch.begin(self._content, exclusive=self._exclusive)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.end(self._descriptor)

    def passed(self, suspects: list[Place]) -> None:
        """Take back what was suspected of these."""
        self._watch.journal.passed(self.stage, suspects)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that a stage works on together, and the note of them; without one they are condemned."""

    rows: pa.RecordBatch
    note: Note | None = None
    suspects: list[Place] = field(default_factory=list)

    def passed(self) -> None:
        if self.note and self.suspects:
            self.note.passed(self.suspects)


def _encode(stage: str, rows: pa.RecordBatch) -> bytes:
    topics = rows["topic"].dictionary_encode()
    table = np.empty(rows.num_rows, _ROW)
    table["topic"] = topics.indices.to_numpy(zero_copy_only=False)
    for name in ("partition", "offset"):
        table[name] = rows[name].to_numpy(zero_copy_only=False)
    head = {"stage": stage, "topics": topics.dictionary.to_pylist(), "rows": rows.num_rows}
    header = json.dumps(head).encode()
    return len(header).to_bytes(8, "little") + header + table.tobytes()


def _decode(content: bytes) -> tuple[str, list[Place]] | None:
    """Return stage and places of a note, None where it is empty or was not written to its end."""
    size = int.from_bytes(content[:8], "little")
    if not size:
        return None
    try:
        head = json.loads(content[8 : 8 + size])
        rows = np.frombuffer(content, _ROW, head["rows"], 8 + size)
    except ValueError:
        return None
    topics = head["topics"]
    found = [(topics[topic], partition, offset) for topic, partition, offset in rows.tolist()]
    return head["stage"], found


def gather(folder: Path, into: Journal) -> None:
    """Write the notes of workers that died into the journal; those of the living are locked."""
    died: dict[str, list[tuple[str, list[Place]]]] = defaultdict(list)
    for path in sorted(notes_in(folder).iterdir()):
        try:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(file.fileno()).st_nlink:  # another worker has just read it
                    continue
                path.unlink()
                note = _decode(file.read())
        except (BlockingIOError, FileNotFoundError):
            continue
        if note:
            died[path.stem].append(note)
    for notes in died.values():
        for stage, found in notes:
            into.died(stage, found, alone=len(notes) == 1 and len(found) == 1)


@dataclass(slots=True)
class _Process:
    """What this process keeps; a replay has no watch, since nothing would start it again."""

    watch: Watch | None = None


PROCESS = _Process()


def keep_watch(folder: Path) -> Watch:
    """Keep notes in this folder for as long as this process lives."""
    PROCESS.watch = Watch(folder)
    return PROCESS.watch


def report_broken(message: str) -> None:
    """Tell the supervisor, where there is one, that a stage is broken."""
    if PROCESS.watch:
        write_broken(PROCESS.watch.folder, message)
