"""The audit log: who read what, one line for each time, each line sealed to the one before.

A line is a JSON object that ends with ``hash``, the SHA-256 of the rest of it; ``before`` is the
hash of the line before. A line that is changed, removed or put in between breaks the chain. Whoever
may write the files could make the whole chain anew: so note the head elsewhere from time to time
(``affectstream audit verify`` prints it), and verify against it.

A file holds a month. Its lines go on from those of the month before; when a file is older than it
is kept, it is deleted, and a line of the newest file says so.
"""

import fcntl
import hashlib
import os
import pwd
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import AffectstreamError

FIRST: Final = "0" * 64
"""What stands before the first line."""
_SEAL: Final = b',"hash":"'
_SEAL_LENGTH: Final = len(_SEAL) + 64 + len(b'"}')
_TAIL: Final = 1 << 16
"""Bytes at the end of a file in which its last line stands whole: a line has at most 8 kB."""
MOST_SUBJECTS: Final = 100
"""Subjects that one line names."""
_LONGEST: Final = 256
_LONGEST_STATEMENT: Final = 2_000
_PSEUDONYM: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", re.IGNORECASE)
_MEMBERS: Final = {
    "n": int, "via": str, "what": str, "subjects": list, "before": str,
}  # fmt: skip
"""What a line must have, and of which type."""
_NO_ENTRY: Final = "the line is no entry"


class Entry(NamedTuple):
    """One reading: by whom, over which way, of what, about whom, how many rows, how it ended.

    ``at`` is UTC; ``subjects`` are the pseudonyms that were asked for, and of a query those of the
    answer. A line has hashes of them, so that nothing of a person who is erased stands in it.
    ``statement`` is what a query was asked, at most 2,000 characters, with hashes for pseudonyms.
    """

    at: datetime
    who: str
    role: str
    via: str
    what: str
    subjects: Sequence[str] = ()
    rows: int = 0
    outcome: str = "ok"
    statement: str = ""


class Head(NamedTuple):
    """The newest line: its number, from 1 on, and its hash."""

    number: int
    hash: str


NOTHING = Head(0, FIRST)


class _Tail(NamedTuple):
    """The newest file, how long it was when this process wrote to it, and its head."""

    file: Path
    size: int
    head: Head


class AuditLog:
    """Appends to the log in a folder; other processes may append to the same."""

    def __init__(self, folder: Path, keep_days: int) -> None:
        self.folder, self._keep_days = folder, keep_days
        self._tail: _Tail | None = None

    def append(self, entries: Sequence[Entry]) -> Head:
        """Write these entries, all or none, to the disk; return the head.

        Without any it only finds out whether the log could be written to now.

        Raises:
            AffectstreamError: the folder cannot be written, is open to others, or its newest file
                does not end as a log does.
        """
        try:
            with _only_writer(self.folder):
                return self._append(list(entries))
        except OSError as error:
            message = (
                f"the audit log in {self.folder} cannot be written ({error.strerror}), and what "
                "is not logged is not answered: make room, or name another folder as `access.audit`"
            )
            raise AffectstreamError(message) from error

    def _append(self, entries: list[Entry]) -> Head:
        now = datetime.now(UTC)
        newest = self._newest()
        file = self.folder / f"{now:%Y-%m}.jsonl"
        head = NOTHING if newest is None else newest.head
        old: list[Path] = []
        if newest is not None and file.name <= newest.file.name:
            file, size = newest.file, newest.size  # also where the clock was set back
        else:
            size, old = 0, self._past_retention(now)
            entries = [*(_deletion(path, now) for path in old), *entries]
        lines = []
        for entry in entries:
            line, head = _sealed(entry, head)
            lines.append(line)
        written = b"".join(lines)
        _write_whole(file, size, written)
        self._tail = _Tail(file, size + len(written), head)
        for path in old:  # once the log says so
            path.unlink()
        return head

    def _past_retention(self, now: datetime) -> list[Path]:
        kept_from = f"{now - timedelta(days=self._keep_days):%Y-%m}.jsonl"
        return [file for file in log_files(self.folder) if file.name < kept_from]

    def _newest(self) -> _Tail | None:
        """Return how the log stands; what this process wrote last is not read again."""
        # A disk that was full when a month began has left an empty file.
        files = [file for file in log_files(self.folder) if file.stat().st_size]
        if not files:
            return None
        file, status = files[-1], files[-1].stat()
        if status.st_mode & 0o077:
            message = f"others may read {file}, the audit log: chmod 600 {file}"
            raise AffectstreamError(message)
        known = self._tail
        if known is not None and (known.file, known.size) == (file, status.st_size):
            return known
        with file.open("rb") as opened:
            opened.seek(max(0, status.st_size - _TAIL))
            last = opened.read().rstrip(b"\n").rpartition(b"\n")[2] + b"\n"
        try:
            return _Tail(file, status.st_size, _read_line(last)[0])
        except ValueError as error:
            message = (
                f"{file} does not end with a whole line, as after a power failure or a change by "
                "hand: keep a copy of the folder, and name a new one as `access.audit`"
            )
            raise AffectstreamError(message) from error


class Verified(NamedTuple):
    """What a log was found to be: its lines, its head, and what is wrong, a sentence each."""

    lines: int
    head: Head
    problems: list[str]


def verify(folder: Path, known: str | None = None) -> Verified:
    """Read the whole log and check that each line is sealed to the one before.

    ``known`` is a hash that was noted earlier: it must be that of a line that still stands.

    Raises:
        AffectstreamError: the folder cannot be read.
    """
    head, lines, problems, began = NOTHING, 0, [], None
    deleted: set[str] = set()
    seen = known is None
    try:
        for file in log_files(folder):
            for number, line in enumerate(_lines(file), 1):
                lines += 1
                try:
                    found, entry = _read_line(line)
                except ValueError as error:
                    problems.append(f"{file.name}:{number}: {error}")
                    continue
                began = began or (file, entry)
                if lines > 1 and (entry["before"], entry["n"]) != (head.hash, head.number + 1):
                    problems.append(
                        f"{file.name}:{number}: line {entry['n']} does not follow line "
                        f"{head.number}: something was removed, or put in between"
                    )
                if entry["via"] == "retention":
                    deleted.add(str(entry["what"]).rpartition(" ")[2])
                head = found
                seen = seen or found.hash == known
    except OSError as error:
        message = f"the audit log in {folder} cannot be read: {error.strerror}"
        raise AffectstreamError(message) from error
    if began and began[1]["before"] not in {FIRST, *deleted}:
        problems.insert(
            0,
            f"{began[0].name}:1: the lines before number {began[1]['n']} are gone, and no line "
            "says that their retention was over",
        )
    if not seen:
        problems.append(f"no line has the hash {known}: the log was made anew, or its end removed")
    return Verified(lines, head, problems)


def read_entries(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of the log, the oldest first, those that are no entries left out."""
    for file in log_files(folder):
        for line in _lines(file):
            try:
                yield _read_line(line)[1]
            except ValueError:
                continue


def hash_of(subject: str) -> str:
    """Return what stands in a line for a pseudonym: 128 random bits cannot be tried out."""
    return hashlib.sha256(subject.encode()).hexdigest()[:32]


def pseudonyms_in(text: str) -> list[str]:
    """Return what looks like a pseudonym in a text, in any case."""
    return [found.lower() for found in _PSEUDONYM.findall(text)]


def _mask(statement: str) -> str:
    masked = _PSEUDONYM.sub(lambda found: hash_of(found[0].lower()), statement)
    return masked[:_LONGEST_STATEMENT]


def user_name() -> str:
    """Return the name of the user whose process this is, whatever its environment says."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def log_files(folder: Path) -> list[Path]:
    """Return the files of a log, the oldest month first."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].jsonl"))


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from opened


def _deletion(file: Path, now: datetime) -> Entry:
    """Return the line that says that a file is deleted, and how it ended."""
    head = NOTHING
    for line in _lines(file):
        with suppress(ValueError):
            head = _read_line(line)[0]
    what = f"deleted {file.name}, which ended with {head.number} {head.hash}"
    return Entry(now, "affectstream", "", "retention", what)


def _sealed(entry: Entry, before: Head) -> tuple[bytes, Head]:
    """Return an entry as a line, and the head that it makes."""
    body = msgspec.json.encode(
        {
            "n": before.number + 1,
            "at": entry.at,
            "who": entry.who[:_LONGEST],
            "role": entry.role[:_LONGEST],
            "via": entry.via,
            "what": entry.what[:_LONGEST],
            "subjects": [hash_of(subject) for subject in entry.subjects[:MOST_SUBJECTS]],
            "rows": entry.rows,
            "outcome": entry.outcome,
            **({"statement": _mask(entry.statement)} if entry.statement else {}),
            "before": before.hash,
        }
    )
    digest = hashlib.sha256(body).hexdigest()
    line = body[:-1] + _SEAL + digest.encode() + b'"}\n'
    return line, Head(before.number + 1, digest)


def _read_line(line: bytes) -> tuple[Head, dict[str, Any]]:
    """Return the head that a line makes, and its entry.

    Raises:
        ValueError: it is not a line that was sealed so.
    """
    whole = line.removesuffix(b"\n")
    body, seal = whole[:-_SEAL_LENGTH] + b"}", whole[-_SEAL_LENGTH:]
    digest = hashlib.sha256(body).hexdigest()
    if not line.endswith(b"\n") or seal != _SEAL + digest.encode() + b'"}':
        message = "the line was changed, or is not whole"
        raise ValueError(message)
    try:
        entry: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ValueError(_NO_ENTRY) from error
    if not all(isinstance(entry.get(name), kind) for name, kind in _MEMBERS.items()):
        raise ValueError(_NO_ENTRY)
    return Head(entry["n"], digest), entry


def _write_whole(file: Path, size: int, data: bytes) -> None:
    """Write to the end of a file and to the disk, or leave the file as it was."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        try:
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Wait for other writers; the folder and its lock are their owner's alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
