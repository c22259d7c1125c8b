"""Files with secrets or people's data are their owner's alone, whatever the umask."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.processes import free_ports
from infra.redis.redis_server import Redis
from pipelines.live.guards.job_token import write_token
from pipelines.live.guards.rest_tls import make_certificate
from pipelines.serve.api.token_file import add_token
from pipelines.serve.online_sqlite import SqliteStore
from schemas.keys import write_keys
from schemas.settings import Online
from schemas.strict import make_private_folder, open_private, write_private
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


def test_tables_get_a_folder_of_their_own_and_leave_one_that_stands(tmp_path: Path) -> None:
    prepare_tables(tmp_path / "below" / "new")
    assert (tmp_path / "below" / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir(mode=0o750)
    prepare_tables(tmp_path / "shared")
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o750
