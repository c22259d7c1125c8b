"""The audit log: each line is sealed to the one before, and nothing is lost, torn or hidden."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from infra.processes import ROOT
from pipelines.access import audit
from pipelines.access.audit import (
    NOTHING,
    AuditLog,
    Entry,
    hash_of,
    log_files,
    read_entries,
    verify,
)
from pipelines.access.audit_writer import AuditWriter
from pipelines.cli.main import app
from schemas.errors import AffectstreamError
from schemas.keys import read_keys, write_keys
from transforms.pseudonymise import Pseudonyms

AT = datetime(2026, 11, 30, 10, tzinfo=UTC)
REF = "0123456789abcdef" * 2


def entry(what: str = "latest", **more: object) -> Entry:
    return Entry(AT, "dana (1a2b)", "analyst", "api", what, (REF,), 1)._replace(**more)


def log(folder: Path, *whats: str) -> AuditLog:
    made = AuditLog(folder, 365)
    for what in whats:
        made.append([entry(what)])
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def test_a_log_that_nobody_touched_is_whole_and_its_owners_alone(folder: Path) -> None:
    head = AuditLog(folder, 365).append([entry("latest"), entry("history", rows=7)])
    head = AuditLog(folder, 365).append([entry("decision")])
    found = verify(folder)
    assert (found.lines, found.head, found.problems) == (3, head, [])
    assert verify(folder, head.hash).problems == []
    (file,) = log_files(folder)
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert REF not in file.read_text(), "what an erasure looks for is not there"
    first, second, _ = read_entries(folder)
    assert (first["who"], first["role"], first["subjects"]) == (
        "dana (1a2b)",
        "analyst",
        [hash_of(REF)],
    )
    assert (second["what"], second["rows"], second["n"]) == ("history", 7, 2)


def remove(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def change(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'"rows":1', b'"rows":0'), *lines[3:]]


def swap(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def repeat(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[1], *lines[2:]]


def reseal(lines: list[bytes]) -> list[bytes]:
    """Change a line and give it the right hash: the next one still names the old one."""
    body = msgspec.json.decode(lines[2])
    del body["hash"]
    body["who"] = "somebody else"
    encoded = msgspec.json.encode(body)
    seal = audit.hashlib.sha256(encoded).hexdigest().encode()
    return [*lines[:2], encoded[:-1] + b',"hash":"' + seal + b'"}\n', *lines[3:]]


def drop_the_first(lines: list[bytes]) -> list[bytes]:
    return lines[2:]


def tear(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-20]]


def add_a_member(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'{"n"', b'{"x":1,"n"'), *lines[3:]]


@pytest.mark.parametrize(
    "attack", [remove, change, swap, repeat, reseal, drop_the_first, tear, add_a_member]
)
def test_what_was_done_to_a_log_is_noticed(
    folder: Path, attack: Callable[[list[bytes]], list[bytes]]
) -> None:
    log(folder, *"abcde")
    assert verify(folder).problems == []
    (file,) = log_files(folder)
    file.write_bytes(b"".join(attack(file.read_bytes().splitlines(keepends=True))))
    assert verify(folder).problems


def test_a_log_that_was_cut_or_made_anew_is_noticed_by_a_head_that_was_noted(folder: Path) -> None:
    head = log(folder, *"abcde").append([entry("f")])
    (file,) = log_files(folder)
    whole = file.read_bytes()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    assert verify(folder).problems == [], "the end of a chain alone tells nothing"
    assert "its end removed" in verify(folder, head.hash).problems[0]
    file.unlink()
    log(folder, *"abxdef")
    assert verify(folder).problems == []
    assert verify(folder, head.hash).problems


@pytest.mark.parametrize("body", [b'{"n":1,"via":"x"}', b"[1]", b'{"n":"1","before":"0"}', b"1"])
def test_a_line_that_was_sealed_and_is_no_entry_is_said(folder: Path, body: bytes) -> None:
    log(folder, "a")
    (file,) = log_files(folder)
    seal = b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    file.write_bytes(file.read_bytes() + body[:-1] + seal)
    assert "the line" in verify(folder).problems[0]
    assert len(list(read_entries(folder))) == 1


def test_the_command_prints_the_head_and_fails_where_something_is_wrong(folder: Path) -> None:
    head = log(folder, "a", "b").append([entry("c")])
    command = ["audit", "verify", "--folder", str(folder)]
    whole = CliRunner().invoke(app, command)
    assert (whole.exit_code, whole.stdout) == (0, f"3 lines, head 3 {head.hash}\n")
    (file,) = log_files(folder)
    file.write_bytes(file.read_bytes().replace(b'"what":"b"', b'"what":"x"'))
    broken = CliRunner().invoke(app, command)
    assert broken.exit_code == 1
    assert "2026-" in broken.stderr or "changed" in broken.stderr
    wrong = CliRunner().invoke(app, [*command, "--head", "xyz"])
    assert isinstance(wrong.exception, AffectstreamError)
    shown = CliRunner().invoke(app, ["audit", "show", "--folder", str(folder), "--subject", REF])
    assert shown.stdout.count("dana (1a2b)") == 2, "the line that was changed is no entry"


def test_who_read_of_a_person_is_found_by_the_id_that_events_have(
    folder: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.yaml"
    write_keys(keys, ["EU"])
    pseudonyms = Pseudonyms(read_keys(keys))
    ref = min(pseudonyms.references("ann", {"EU"}) - pseudonyms.references("ann", ()))
    log(folder).append([entry("hers", subjects=(ref,)), entry("another's")])
    command = ["audit", "show", "--folder", str(folder), "--keys", str(keys)]
    command += ["--tables", str(tmp_path / "tables"), "--id"]
    assert "hers" in (hers := CliRunner().invoke(app, [*command, "ann"]).stdout)
    assert "another's" not in hers
    assert CliRunner().invoke(app, [*command, "bob"]).stdout.startswith("no reading about that")
    nowhere = CliRunner().invoke(app, ["audit", "show", "--folder", str(tmp_path / "none")])
    assert isinstance(nowhere.exception, AffectstreamError)


def test_texts_of_others_neither_break_a_line_nor_reach_a_terminal(folder: Path) -> None:
    hostile = 'x","hash":"' + "0" * 64 + '"}\n{"n":\x1b[2J\u202e=cmd()'
    log(folder).append([entry(hostile, who=hostile, subjects=(hostile,) * 500)])
    found = verify(folder)
    assert (found.lines, found.problems) == (1, [])
    (line,) = read_entries(folder)
    assert line["what"] == hostile
    assert len(line["subjects"]) == audit.MOST_SUBJECTS
    shown = CliRunner().invoke(app, ["audit", "show", "--folder", str(folder)])
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout


def test_the_largest_line_is_found_again_by_another_process(folder: Path) -> None:
    widest = "\x00" * 500
    most = entry(widest, who=widest, role=widest, subjects=(widest,) * 500)
    log(folder).append([most])
    AuditLog(folder, 365).append([most])
    assert verify(folder).problems == []
    assert verify(folder).lines == 2


def test_processes_and_threads_that_write_at_once_make_one_chain(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.pipelines.access.test_audit import *\n"
        "made = AuditLog(Path(sys.argv[1]), 365)\n"
        "for n in range(40): made.append([entry(f'{sys.argv[2]}-{n}')] * 3)"
    )
    command = [sys.executable, "-c", script, str(folder)]
    others = [subprocess.Popen([*command, name], cwd=ROOT) for name in "ab"]
    mine = [threading.Thread(target=log, args=(folder, *map(str, range(40)))) for _ in range(2)]
    for thread in mine:
        thread.start()
    for thread in mine:
        thread.join()
    assert [other.wait(120) for other in others] == [0, 0]
    found = verify(folder)
    assert (found.lines, found.problems) == (2 * 40 * 3 + 2 * 40, [])


def test_a_batch_is_written_whole_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = log(folder, "a")
    (file,) = log_files(folder)
    before, write = file.read_bytes(), os.write
    monkeypatch.setattr(audit.os, "write", lambda fd, data: write(fd, data[:100]))
    with pytest.raises(AffectstreamError, match=r"cannot be written \(No space left on device\)"):
        made.append([entry("b"), entry("c")])
    monkeypatch.undo()
    assert file.read_bytes() == before
    made.append([entry("d")])
    assert verify(folder).problems == []
    assert [line["what"] for line in read_entries(folder)] == ["a", "d"]


def test_a_log_that_others_may_read_or_that_does_not_end_is_not_gone_on_with(folder: Path) -> None:
    made = log(folder, "a", "b")
    (file,) = log_files(folder)
    file.chmod(0o644)
    with pytest.raises(AffectstreamError, match=r"others may read .*: chmod 600"):
        made.append([entry("c")])
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(AffectstreamError, match="does not end with a whole line"):
        AuditLog(folder, 365).append([entry("c")])


def test_a_month_that_is_older_than_it_is_kept_goes_and_the_log_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Then(datetime):
        today = AT - timedelta(days=120)

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            del tz
            return cls.today

    monkeypatch.setattr(audit, "datetime", Then)
    made = AuditLog(folder, 31)
    for day in range(120, -1, -10):
        Then.today = AT - timedelta(days=day)
        made.append([entry(f"{day} days before")])
    files = [file.name for file in log_files(folder)]
    assert files == ["2026-10.jsonl", "2026-11.jsonl"]
    assert verify(folder).problems == []
    said = [line["what"] for line in read_entries(folder) if line["via"] == "retention"]
    assert said[-1].startswith("deleted 2026-09.jsonl, which ended with ")
    log_files(folder)[0].unlink()
    assert "are gone, and no line says" in verify(folder).problems[0]


def test_a_writer_writes_all_of_it_and_blocks_nobody(folder: Path) -> None:
    writer = AuditWriter(AuditLog(folder, 365))
    began = time.thread_time()
    for number in range(1_000):
        writer.add(entry(str(number)))
    spent_us = (time.thread_time() - began) * 1e3
    writer.close()
    found = verify(folder)
    assert (found.lines, found.problems) == (1_000, [])
    assert [line["what"] for line in read_entries(folder)] == [str(n) for n in range(1_000)]
    assert spent_us < 1_000, "processor time of one entry, in µs"


def test_a_writer_that_cannot_write_says_so_and_writes_all_when_it_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    full.set()
    write = os.write

    def write_if_there_is_room(fd: int, data: bytes) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(audit.os, "write", write_if_there_is_room)
    writer = AuditWriter(AuditLog(folder, 365))
    writer.add(entry("a"))
    wait_until(lambda: not writer.ready)
    writer.add(entry("b"))
    full.clear()
    wait_until(lambda: writer.ready)
    writer.close()
    assert [line["what"] for line in read_entries(folder)] == ["a", "b"]
    assert not writer.ready, "nobody writes any more"


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it did not come about in 10 s")


def test_an_empty_folder_is_an_empty_log(folder: Path) -> None:
    assert verify(folder) == (0, NOTHING, [])
