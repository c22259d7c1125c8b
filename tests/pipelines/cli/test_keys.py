"""The commands of the key file, in a process of their own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.keys import read_keys
from tests.pipelines.cli.test_main import run
from tests.support.records import period, write_key_file
from tests.support.served import feature, land
from transforms.landing.made_under import note_made_under
from transforms.landing.prepare import prepare_tables


def test_create_rotate_and_check(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    made = run("keys", "create", path, "--region", "eu", "--region", "CN")
    assert made.returncode == 0, made.stderr
    assert [each.region for each in read_keys(path).periods] == [None, "EU", "CN"]
    again = run("keys", "create", path)
    assert (again.returncode, "never overwritten" in again.stderr) == (1, True)
    done = run("keys", "rotate", path)
    assert done.returncode == 0, done.stderr
    assert f"since {read_keys(path).periods[-1].since.isoformat()}" in done.stderr
    shown = run("keys", "check", path, "--tables", tmp_path / "tables")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == ["all", "all", "CN", "CN", "EU", "EU"]
    assert "no tables yet" in lines[-1]
    for secret in read_keys(path).periods:
        assert secret.key.hex()[:8] not in shown.stdout
    path.chmod(0o644)
    refused = run("keys", "check", path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"chmod 600 {path}" in refused.stderr


def test_config_new_keys_makes_the_same_file(tmp_path: Path) -> None:
    for command in (["config", "--new-keys"], ["keys", "create"]):
        path = tmp_path / command[0]
        assert run(*command, path).returncode == 0
        assert "persons: " in path.read_text()
        assert "tombstone: " in path.read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--since", "2026-03-01"], "is past, or too soon"),
        (["--since", "1999-01-01T00:00:00+0000"], "has a period since 2000-01-01"),
    ],
)
def test_a_rotation_that_is_refused_says_why(tmp_path: Path, given: list[str], said: str) -> None:
    path = tmp_path / "keys.yaml"
    run("keys", "create", path)
    done = run("keys", "rotate", path, *given)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_shredding_asks_and_says_what_it_costs(tmp_path: Path) -> None:
    old, new = (period(f"{year}-01-01T00:00:00Z", year) for year in ("2000", "2026"))
    path = write_key_file(
        tmp_path / "keys.yaml", old, new, persons=period("2000-01-01T00:00:00Z", "p").key.hex()
    )
    command = ["keys", "shred", path, "--until", "2026-01-01"]
    unsaid = run(*command)
    assert unsaid.returncode == 1
    assert "by --tables" in unsaid.stderr
    assert "for good?" not in unsaid.stderr
    asked = run(*command, "--yes-lose-links")
    assert asked.returncode == 1
    assert "an erasure finds no row that was written under them" in asked.stderr
    assert len(read_keys(path).periods) == 2
    prepare_tables(tmp_path / "tables")
    note_made_under(tmp_path / "tables", read_keys(path))
    start = datetime(2025, 12, 31, tzinfo=UTC)
    row = {"window_start": start, "window_end": start, "event_date": start.date()}
    land(tmp_path / "tables", "emotion_features", feature("a", 1) | row)
    beside = run(*command, "--yes", "--tables", tmp_path / "tables")
    assert beside.returncode == 1
    assert "emotion_features" in beside.stderr
    done = run(*command, "--yes", "--tables", tmp_path / "tables", "--yes-lose-links")
    assert done.returncode == 0, done.stderr
    assert "removed the keys of 1 periods" in done.stderr
    assert [each.key for each in read_keys(path).periods] == [new.key]
