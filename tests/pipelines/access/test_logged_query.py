"""The audit log says who read about whom, whatever the statement and the environment say."""

import os
import pwd
from pathlib import Path

import pytest

from pipelines.access.audit import hash_of, read_entries, verify
from pipelines.access.logged_query import query_as
from pipelines.access.settings import Access
from tests.support.served import feature, land
from transforms.landing.prepare import prepare_tables

SECRET = "5ec2e7" + "0" * 26


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stream") / "tables"
    prepare_tables(made)
    land(made, "emotion_features", feature("eve", 0, subject_ref=SECRET))
    return made


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT subject_ref AS x FROM emotion_features",
        "SELECT upper(subject_ref) FROM emotion_features",
        "SELECT array_agg(subject_ref) FROM emotion_features",
        "SELECT string_agg(subject_ref, ',') FROM emotion_features",
        "SELECT named_struct('a', subject_ref) FROM emotion_features",
        "SELECT count(*) FROM emotion_features WHERE subject_ref = '{eve}'",
        "SELECT count(*) FROM emotion_features WHERE subject_ref = lower('{upper}')",
    ],
)
def test_who_is_read_about_is_logged_whatever_the_statement(
    root: Path, tmp_path: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "innocent.bob")
    access = Access(audit=tmp_path / "audit")
    query_as(access, "analyst", root, sql.format(eve=SECRET, upper=SECRET.upper()))
    (entry,) = read_entries(tmp_path / "audit")
    assert hash_of(SECRET) in entry["subjects"]
    assert entry["who"] == pwd.getpwuid(os.getuid()).pw_name
    text = "".join(file.read_text() for file in (tmp_path / "audit").glob("*.jsonl")).lower()
    assert SECRET not in text, "an erasure does not reach the log"


def test_a_statement_that_hides_whom_it_asks_about_stands_in_the_log(
    root: Path, tmp_path: Path
) -> None:
    pieces = f"'{SECRET[:16]}' || '{SECRET[16:]}'"
    sql = f"SELECT valence FROM emotion_features WHERE subject_ref = {pieces}"
    query_as(Access(audit=tmp_path / "audit"), "analyst", root, sql)
    (entry,) = read_entries(tmp_path / "audit")
    assert entry["subjects"] == []
    assert entry["statement"] == sql


def test_an_answer_about_many_is_noted_in_many_lines(root: Path, tmp_path: Path) -> None:
    many = ", ".join(f"('{number:032x}')" for number in range(10_250))
    query_as(Access(audit=tmp_path / "audit"), "analyst", root, f"SELECT * FROM (VALUES {many})")
    entries = list(read_entries(tmp_path / "audit"))
    assert len(entries) == 101
    named = [name for entry in entries for name in entry["subjects"]]
    assert named == [hash_of(f"{number:032x}") for number in range(10_000)]
    assert entries[-1]["what"] == "the same reading: 250 more"
    assert verify(tmp_path / "audit").problems == []


def test_the_log_stands_beside_the_tables_wherever_a_command_is_given(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for place in (root, tmp_path / "link"):
        query_as(Access(), "analyst", place, "SELECT count(*) FROM emotion_features")
    assert len(list(read_entries(root.parent / "audit"))) == 2
    assert not list((tmp_path / "elsewhere").iterdir())
    remote = Access().audit_folder("s3://bucket/tables")
    assert remote.is_absolute()
