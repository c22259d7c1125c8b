"""Files with secrets or people's data are their owner's alone, whatever the umask."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from infra.processes import free_ports
from infra.redis.redis_server import Redis
from pipelines.live.guards.job_token import write_token
from pipelines.live.guards.rest_tls import make_certificate
from pipelines.review.export import LABELS, _write
from pipelines.serve.api.token_file import add_token
from pipelines.serve.online_sqlite import SqliteStore
from pipelines.tables.results import write_result
from schemas.keys import write_keys
from schemas.settings import Online
from schemas.strict import make_private_folder, open_private, replace_file, write_private
from transforms.landing.prepare import prepare_tables


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Return what somebody else may enter or read under a folder, itself included."""
    return [
        str(path.relative_to(folder))
        for path in (folder, *folder.rglob("*"))
        if path.stat().st_mode & 0o077
    ]


def appended(path: Path) -> None:
    with open_private(path) as file:
        file.write(b"more")


def stored(path: Path) -> None:
    store = SqliteStore(Online(store=str(path)))
    store.purge(0)
    assert len(list(path.parent.iterdir())) == 3, "with the files of its log"


def started(path: Path) -> None:
    server = Redis(path.parent, *free_ports(1), password="secret of redis")
    server.start()
    try:
        process = server.processes[0]
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"secret of redis" not in command
        assert b"secret of redis" in (path.parent / "redis.conf").read_bytes()
    finally:
        server.stop()
    for name in ("redis.log", "redis.pid"):  # they say nothing of anybody
        (path.parent / name).unlink(missing_ok=True)


WRITERS: dict[str, Callable[[Path], object]] = {
    "any": lambda path: write_private(path, b"secret"),
    "a log": appended,
    "keys": write_keys,
    "tokens": lambda path: add_token(path, "me", "analyst", timedelta(days=1)),
    "online store": stored,
    "job token": lambda path: write_token(path.parent),
    "certificate": make_certificate,
    "redis": pytest.param(started, marks=pytest.mark.redis),
}


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(*(each.values if hasattr(each, "values") else [each]), id=name,
                     marks=getattr(each, "marks", ()))
        for name, each in WRITERS.items()
    ],
)  # fmt: skip
def test_what_is_written_is_its_owners_alone(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    make_private_folder(tmp_path)
    write(tmp_path / "written")
    assert list(tmp_path.iterdir())
    assert open_to_others(tmp_path) == []


def test_what_stood_open_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("a longer text of before")
    path.chmod(0o666)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    appended(path)
    assert path.read_bytes() == b"newmore"
    assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "folder").mkdir(mode=0o777)
    make_private_folder(tmp_path / "folder")
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's file beside the folder that is written to."""
    (tmp_path / "shared").mkdir()
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    return path


REPLACING: dict[str, Callable[[Path], object]] = {
    "secret": lambda path: write_private(path, b"secret"),
    "rows": lambda path: write_result(pa.table({"a": [1]}), "parquet", path),
    "lines": lambda path: write_result(pa.table({"a": [1]}), "table", path),
    "labels": lambda path: _write(LABELS.empty_table(), path),
}


@pytest.mark.parametrize("write", REPLACING.values(), ids=REPLACING)
@pytest.mark.parametrize("name", ["out", "out.part", ".out.part", ".out.new", ".out.tmp"])
def test_nothing_is_written_through_a_link(
    write: Callable[[Path], object], name: str, victim: Path
) -> None:
    """Neither where the file is to be, nor under a name that it could have until then."""
    folder = victim.parent / "shared"
    (folder / name).symlink_to(victim)
    write(folder / "out")
    assert victim.read_bytes() == b"precious"
    assert not (folder / "out").is_symlink()
    assert (folder / "out").stat().st_size
    assert {path.name for path in folder.iterdir()} == {"out", name}


def test_a_log_is_not_appended_to_through_a_link(victim: Path) -> None:
    link = victim.parent / "shared" / "log"
    link.symlink_to(victim)
    with pytest.raises(OSError, match="log"):
        appended(link)
    assert victim.read_bytes() == b"precious"


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def fail() -> None:
        with replace_file(path) as file:
            file.write(b"new, and not whole")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            write_private(other, b"")


def test_tables_get_a_folder_of_their_own_and_leave_one_that_stands(tmp_path: Path) -> None:
    prepare_tables(tmp_path / "below" / "new")
    assert (tmp_path / "below" / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir(mode=0o750)
    prepare_tables(tmp_path / "shared")
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o750
