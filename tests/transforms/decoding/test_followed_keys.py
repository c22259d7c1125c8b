"""A running job takes keys that are added to its file, and none that would change what it did."""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.keys import Keys
from tests.support.records import period, write_key_file
from transforms.decoding import followed_keys
from transforms.decoding.followed_keys import FollowedKeys

FIRST = period("2026-01-01T00:00:00Z", "first")
SECOND = period("2026-09-01T00:00:00Z", "second")


@pytest.fixture
def each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(followed_keys.time, "monotonic", lambda: float(next(ticks)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_key_file(tmp_path / "keys.yaml", FIRST)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    fresh = path.with_name("fresh")
    write(fresh)
    fresh.replace(path)


def names(keys: Keys) -> list[str]:
    return [each.since.isoformat() for each in keys.periods]


@pytest.mark.usefixtures("each_second")
def test_a_period_that_is_added_counts_without_a_restart(path: Path) -> None:
    followed = FollowedKeys(path, names)
    before = followed.newest()
    assert followed.newest() is before, "nothing is made anew for nothing"
    replace(path, lambda fresh: write_key_file(fresh, FIRST, SECOND))
    assert followed.newest() == [*before, SECOND.since.isoformat()]


@pytest.mark.usefixtures("each_second")
@pytest.mark.parametrize(
    "write",
    [
        lambda fresh: write_key_file(fresh, SECOND),
        lambda fresh: write_key_file(fresh, period("2026-01-01T00:00:00Z", "other")),
        lambda fresh: write_key_file(fresh, period("2026-02-01T00:00:00Z", "first")),
        lambda fresh: write_key_file(fresh, FIRST, persons=SECOND.key.hex()),
        lambda fresh: write_key_file(fresh, FIRST, tombstone=SECOND.key.hex()),
        lambda fresh: write_key_file(fresh, FIRST, period("2025-01-01T00:00:00Z", "before")),
        lambda fresh: write_key_file(fresh, FIRST, period("2026-01-01T00:00:00Z", "us", "US")),
        lambda fresh: fresh.write_text("periods: ["),
        lambda fresh: write_key_file(fresh, FIRST, SECOND).chmod(0o644),
    ],
)
def test_other_keys_and_broken_files_change_nothing_and_are_said(
    path: Path, write: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    followed = FollowedKeys(path, names)
    before = followed.newest()
    replace(path, write)
    with caplog.at_level(logging.ERROR):
        assert followed.newest() is before
        assert followed.newest() is before
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the keys stay as they are"
    ], "once, not with each batch"
    path.unlink()
    assert followed.newest() is before
    replace(path, lambda fresh: write_key_file(fresh, FIRST, SECOND))
    assert followed.newest() != before, "a file that is mended is taken"
