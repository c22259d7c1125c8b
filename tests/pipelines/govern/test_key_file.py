"""Rotation and shredding of a key file, beside tables that stand."""

import datetime as dt
import fcntl
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.govern import key_file
from pipelines.govern.key_file import rotate, shred
from schemas.errors import AffectstreamError
from schemas.keys import Keys, read_keys, write_keys
from tests.support.records import decoded, period, record, write_key_file
from tests.support.served import feature, land
from transforms.landing.made_under import check_made_under, note_made_under
from transforms.landing.prepare import prepare_tables
from transforms.pseudonymise import Pseudonyms

DAY = dt.timedelta(days=1)
OLD = period("2000-01-01T00:00:00Z", "old")
TIMES = [f"2026-0{month}-01T00:00:00Z" for month in (3, 6)]
SPRING, SUMMER = (period(time, time) for time in TIMES)
SUMMER_BEGAN = SUMMER.since
PERSONS = hashlib.sha256(b"persons").hexdigest()
LANDED = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file as `keys create` writes it."""
    write_keys(tmp_path / "keys.yaml", ["EU"])
    return tmp_path / "keys.yaml"


def tables(root: Path, keys: Keys, at: dt.datetime = LANDED) -> Path:
    """Tables with one row of this time, made under these keys."""
    prepare_tables(root)
    row = {"window_start": at, "window_end": at + dt.timedelta(seconds=5), "event_date": at.date()}
    land(root, "emotion_features", feature("a", 1) | row)
    note_made_under(root, keys)
    return root


def test_a_rotation_adds_keys_from_the_next_midnight_on(path: Path, tmp_path: Path) -> None:
    before = read_keys(path)
    root = tables(tmp_path / "tables", before)
    since = rotate(path, root)
    assert (since.hour, since.minute, since.second, since.microsecond) == (0, 0, 0, 0)
    assert dt.timedelta(minutes=59) < since - now() <= DAY + dt.timedelta(hours=1)
    after = read_keys(path)
    assert after.periods[: len(before.periods)] == before.periods
    assert [(p.since, p.region) for p in after.periods[2:]] == [(since, None), (since, "EU")]
    assert (after.person, after.tombstone) == (before.person, before.tombstone)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir() if each.name != "tables"] == ["keys.yaml"]
    with pytest.raises(AffectstreamError, match="were made under other keys"):
        check_made_under(root, before)  # the rotation was noted at once


@pytest.mark.parametrize("days", [0.0006, 0, -1, -400])
def test_a_past_rotation_beside_rows_is_refused(path: Path, tmp_path: Path, days: float) -> None:
    root = tables(tmp_path / "tables", read_keys(path))
    text = path.read_text()
    for where in (root, None):
        with pytest.raises(AffectstreamError, match=r"is past, or too soon.* would land once more"):
            rotate(path, where, now() + days * DAY)
    assert path.read_text() == text
    prepare_tables(tmp_path / "new")
    assert rotate(path, tmp_path / "new", LANDED) == LANDED, "tables without rows"


def test_a_rotation_goes_behind_all_others(path: Path, tmp_path: Path) -> None:
    since = rotate(path, None)
    for again in (None, since, since - dt.timedelta(hours=1)):
        with pytest.raises(AffectstreamError, match=r"has a period since .*: give a later --since"):
            rotate(path, None, again)
    rotate(path, None, since + DAY)
    assert len(read_keys(path).periods) == 6


def test_a_rotation_under_other_keys_than_those_of_the_tables_is_refused(
    path: Path, tmp_path: Path
) -> None:
    root = tables(tmp_path / "tables", Keys.of([OLD]))
    with pytest.raises(AffectstreamError, match="were made under other keys"):
        rotate(path, root)


def test_an_old_file_says_after_a_rotation_what_it_meant_before(tmp_path: Path) -> None:
    path = write_key_file(tmp_path / "keys.yaml", SPRING)
    before = read_keys(path)
    rotate(path, None)
    assert {"persons", "tombstone"} < yaml.safe_load(path.read_text()).keys()
    after = read_keys(path)
    assert (after.person, after.tombstone) == (before.person, before.tombstone)
    assert Pseudonyms(after).person("alice") == Pseudonyms(before).person("alice")
    earlier = yaml.safe_load(path.read_text())
    earlier["periods"].append({"since": "1990-01-01T00:00:00Z", "key": OLD.key.hex()})
    path.write_text(yaml.safe_dump(earlier))
    with pytest.raises(
        AffectstreamError, match=r"one key in the period since 2026-03-01.*`persons`"
    ):
        read_keys(path)  # the key of persons is that of the first period alone


def _rotate(path: Path, days: int) -> None:
    rotate(path, None, now() + days * DAY)


def test_no_key_is_lost_between_two_that_rotate(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_rotate, args=(path, days)) for days in range(1, 9)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    done = sum(each.exitcode == 0 for each in both)
    assert done >= 1
    assert len(read_keys(path).periods) == 2 + 2 * done


def test_a_rotation_that_fails_leaves_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AffectstreamError, match=r"cannot change .*No space left"):
        rotate(path, None)
    assert path.read_text() == text
    assert [each.name for each in path.parent.iterdir()] == ["keys.yaml"]


_KILLED = """
import datetime, os, pathlib, signal, sys
from pipelines.govern.key_file import rotate
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
rotate(pathlib.Path(sys.argv[1]), None, datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
"""


def test_what_a_killed_rotation_leaves_is_removed_by_the_next_command(rotated: Path) -> None:
    old = SPRING.key.hex()
    command = [sys.executable, "-c", _KILLED, str(rotated)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    left = {file.name for file in rotated.parent.iterdir() if old in file.read_text()}
    assert left == {rotated.name, f".{rotated.name}.new"}
    shred(rotated, None, SUMMER_BEGAN, lose_links=True)
    assert [file.name for file in rotated.parent.iterdir()] == [rotated.name]
    assert old not in rotated.read_text()


def test_a_copy_that_still_has_a_shredded_key_is_named(rotated: Path) -> None:
    copy = rotated.with_name(f".{rotated.name}.swp")
    copy.write_text(rotated.read_text().upper())
    with pytest.raises(AffectstreamError, match=r"keys are removed from .*, and .*\.swp still has"):
        shred(rotated, None, SUMMER_BEGAN, lose_links=True)
    assert SPRING.key.hex() not in rotated.read_text()
    assert copy.exists(), "it is not ours to remove"


def test_only_who_may_read_the_file_can_hold_up_its_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    rotate(path, None)
    os.close(folder)
    monkeypatch.setattr(key_file, "_PATIENCE_S", 0.2)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AffectstreamError, match=r"another command has been changing .* 0 s"):
            rotate(path, None, now() + 30 * DAY)
    rotate(path, None, now() + 30 * DAY)


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    rotate(link, None)
    assert link.is_symlink()
    assert len(read_keys(path).periods) == 4


def test_keys_of_a_provider_are_not_rotated_here() -> None:
    with pytest.raises(AffectstreamError, match="where the provider keeps them"):
        rotate(Path("provider:vault"), None)


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """A file of three periods, of whose persons another key is."""
    return write_key_file(tmp_path / "keys.yaml", OLD, SPRING, SUMMER, persons=PERSONS)


def test_shredding_removes_the_keys_of_periods_that_ended(rotated: Path, tmp_path: Path) -> None:
    before = read_keys(rotated)
    refs = Pseudonyms(before).references("alice", ["US"])
    root = tables(tmp_path / "tables", before, SUMMER_BEGAN)
    done = shred(rotated, root, SUMMER_BEGAN)
    assert [each.since for each in done.removed] == [OLD.since, SPRING.since]
    after = read_keys(rotated)
    assert [each.key for each in after.periods] == [SUMMER.key]
    assert (after.person, after.tombstone) == (before.person, before.tombstone)
    left = Pseudonyms(after)
    assert left.person("alice") == Pseudonyms(before).person("alice")
    assert len(refs) == 6
    assert refs & left.references("alice", ["US"]) == left.references("alice", ["US"])
    assert not any(key.hex() in rotated.read_text() for key in (OLD.key, SPRING.key))
    assert rotated.stat().st_mode & 0o777 == 0o600
    check_made_under(root, after)
    with pytest.raises(AffectstreamError, match="is missing or another"):
        check_made_under(root, Keys.of([SUMMER], persons=after.person, tombstone=after.tombstone))


@pytest.mark.parametrize(
    ("until", "gone"),
    [
        (SPRING.since, 1),
        (SUMMER_BEGAN - dt.timedelta(microseconds=1), 1),
        (SUMMER_BEGAN, 2),
        (SUMMER_BEGAN + 30 * DAY, 2),
    ],
)
def test_a_period_is_shredded_only_when_it_had_ended(
    rotated: Path, until: dt.datetime, gone: int
) -> None:
    shred(rotated, None, until, lose_links=True)
    assert len(read_keys(rotated).periods) == 3 - gone
    assert len(read_keys(rotated).shredded) == gone


def test_the_key_in_use_and_that_of_persons_are_never_shredded(
    rotated: Path, tmp_path: Path
) -> None:
    with pytest.raises(AffectstreamError, match="is not past"):
        shred(rotated, None, now() + DAY, lose_links=True)
    with pytest.raises(AffectstreamError, match="needed until the next one begins"):
        shred(rotated, None, SPRING.since - DAY, lose_links=True)
    old = write_key_file(tmp_path / "old.yaml", OLD, SPRING, SUMMER)
    with pytest.raises(AffectstreamError, match="that of persons, too"):
        shred(old, None, SPRING.since, lose_links=True)
    done = shred(old, None, SUMMER_BEGAN, lose_links=True)
    assert [each.key for each in done.left] == [OLD.key]
    assert [each.key for each in read_keys(old).periods] == [OLD.key, SUMMER.key]
    assert Pseudonyms(read_keys(old)).person("alice") == Pseudonyms(Keys.of([OLD])).person("alice")


def test_while_rows_of_a_period_stand_its_key_stays(rotated: Path, tmp_path: Path) -> None:
    keys = read_keys(rotated)
    tick = dt.timedelta(microseconds=1)
    root = tables(tmp_path / "tables", keys, SUMMER_BEGAN - tick)
    for where, said in ((root, "emotion_features under .* holds rows of before 2026-06-01"),
                        (tmp_path, "name the tables"), (tmp_path / "nowhere", "name the tables"),
                        (None, "name the tables")):  # fmt: skip
        with pytest.raises(AffectstreamError, match=said):
            shred(rotated, where, SUMMER_BEGAN)
    assert len(read_keys(rotated).periods) == 3
    shred(rotated, root, SPRING.since)
    shred(rotated, root, SUMMER_BEGAN, lose_links=True)
    assert len(read_keys(rotated).shredded) == 2


def test_a_region_is_shredded_along_its_own_line(tmp_path: Path) -> None:
    own = [period(time, f"EU {time}", "EU") for time in ("2026-04-01T00:00:00Z", *TIMES[1:])]
    path = write_key_file(tmp_path / "keys.yaml", OLD, SPRING, *own, persons=PERSONS)
    done = shred(path, None, dt.datetime(2026, 6, 1, tzinfo=dt.UTC), lose_links=True)
    assert {(each.region, each.since) for each in done.removed} == {
        (None, OLD.since), ("EU", own[0].since)
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        record("text", 1, {"text": "x"}, region=where, time=when)
        for where, when in (("US", "2026-03-02T00:00:00Z"), ("EU", "2026-06-02T00:00:00Z"))
    ]
    found = Pseudonyms(read_keys(path)).batch(decoded(*rows))["subject_ref"].to_pylist()
    whole = Keys.of([OLD, SPRING, *own])
    assert found == Pseudonyms(whole).batch(decoded(*rows))["subject_ref"].to_pylist()
