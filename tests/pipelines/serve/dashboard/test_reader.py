"""Reading for the page: right after every commit, once for all viewers, and in one sentence."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.access.roles import Grant, Role, read_roles
from pipelines.access.settings import ROLES
from pipelines.serve.dashboard.reader import Reader, moment
from pipelines.serve.literals import text
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.clock import Clock
from tests.support.served import BEGIN, feature, land, review
from transforms.landing.prepare import prepare_tables

COUNT = "SELECT count(*) AS n FROM emotion_features"
RELEASED = Path(__file__).parents[3] / "data" / "released-0.1.0" / "tables"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(tmp_path: Path, clock: Clock) -> Reader:
    prepare_tables(tmp_path)
    return Reader(tmp_path, clock)


def count(reader: Reader) -> int:
    return int(reader.rows(COUNT, "emotion_features")["n"][0])


def test_a_commit_is_seen_at_the_next_look(reader: Reader, tmp_path: Path, clock: Clock) -> None:
    assert count(reader) == 0
    land(tmp_path, "emotion_features", feature("ann", 0))
    clock.now += 1
    assert count(reader) == 1


def test_a_result_is_shared_until_its_table_has_a_commit(
    reader: Reader, tmp_path: Path, clock: Clock
) -> None:
    first = reader.rows(COUNT, "emotion_features")
    land(tmp_path, "review_queue", review("ann", 0))
    clock.now += 1
    assert reader.rows(COUNT, "emotion_features") is first
    land(tmp_path, "emotion_features", feature("ann", 0))
    clock.now += 1
    assert reader.rows(COUNT, "emotion_features") is not first


def test_a_table_that_is_made_anew_is_opened_anew(
    reader: Reader, tmp_path: Path, clock: Clock
) -> None:
    land(tmp_path, "emotion_features", feature("ann", 0))
    land(tmp_path, "emotion_features", feature("ann", 1))
    clock.now += 1
    assert count(reader) == 2
    shutil.rmtree(tmp_path / "emotion_features")
    clock.now += 11
    assert reader.rows(COUNT, "emotion_features").empty
    prepare_tables(tmp_path)
    clock.now += 11
    assert count(reader) == 0
    land(tmp_path, "emotion_features", feature("bob", 0))
    clock.now += 1
    assert count(reader) == 1


def test_a_table_that_was_replaced_at_the_same_version_is_read_anew(
    reader: Reader, tmp_path: Path, clock: Clock
) -> None:
    land(tmp_path, "emotion_features", feature("ann", 0))
    clock.now += 1
    assert count(reader) == 1
    before = reader.version("emotion_features")
    shutil.rmtree(tmp_path / "emotion_features")
    prepare_tables(tmp_path)
    land(tmp_path, "emotion_features", feature("bob", 0), feature("bob", 1))
    clock.now += 11
    assert reader.version("emotion_features") == before
    assert count(reader) == 2


def test_without_a_table_there_is_no_row_and_without_any_a_sentence(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "nowhere")
    assert reader.rows(COUNT, "emotion_features").empty
    assert reader.version("emotion_features") is None
    assert reader.days("emotion_features") == []
    assert reader.end("emotion_features", BEGIN.date()) is None
    assert (reader.count("runs"), reader.committed_at("runs")) == (0, None)
    with pytest.raises(AffectstreamError, match=r"no table under .*nowhere: start a job"):
        reader.check_root()


def test_days_and_their_ends_come_from_the_log(
    reader: Reader, tmp_path: Path, clock: Clock
) -> None:
    later = BEGIN + timedelta(days=1)
    other = {"window_start": later, "window_end": later, "event_date": later.date()}
    land(tmp_path, "emotion_features", feature("ann", 3), feature("bob", 0, **other))
    clock.now += 1
    assert reader.days("emotion_features") == [date(2090, 12, 1), date(2090, 11, 30)]
    assert reader.end("emotion_features", BEGIN.date()) == BEGIN + timedelta(seconds=15)
    assert reader.end("emotion_features", date(2020, 1, 1)) is None
    assert reader.count("emotion_features") == 2
    committed = reader.committed_at("emotion_features")
    assert committed is not None
    assert timedelta(0) <= datetime.now(UTC) - committed < timedelta(minutes=1)


def test_a_column_of_a_later_version_is_null_in_tables_of_an_earlier(tmp_path: Path) -> None:
    shutil.copytree(RELEASED, tmp_path / "tables")
    reader = Reader(tmp_path / "tables")
    columns = reader.present("review_queue", "review_id", "reviewed_by")
    assert columns == "review_id, NULL AS reviewed_by"
    found = reader.rows(f"SELECT {columns} FROM review_queue", "review_queue")
    assert len(found) > 0
    assert found["reviewed_by"].isna().all()


@pytest.mark.parametrize("scene", ["x' OR '1'='1", "it's", 'a"b', "back\\slash'", "-- x", "{t}"])
def test_any_text_is_a_literal(reader: Reader, tmp_path: Path, clock: Clock, scene: str) -> None:
    own = {"window_id": "own", "scene_id": scene}
    land(tmp_path, "emotion_features", feature("ann", 0), feature("bob", 0, **own))
    clock.now += 1
    found = reader.rows(
        f"SELECT window_id FROM emotion_features WHERE scene_id = {text(scene)}",
        "emotion_features",
    )
    assert list(found["window_id"]) == ["own"]


def test_a_moment_is_a_literal_to_the_microsecond(
    reader: Reader, tmp_path: Path, clock: Clock
) -> None:
    land(tmp_path, "emotion_features", feature("ann", 0), feature("ann", 1))
    clock.now += 1
    after = BEGIN + timedelta(microseconds=1)
    found = reader.rows(
        f"SELECT window_start FROM emotion_features WHERE window_start >= {moment(after)}",
        "emotion_features",
    )
    assert list(found["window_start"]) == [BEGIN + timedelta(seconds=5)]


def test_a_table_that_cannot_be_read_is_one_sentence(
    reader: Reader, tmp_path: Path, clock: Clock
) -> None:
    land(tmp_path, "emotion_features", feature("ann", 0))
    for file in (tmp_path / "emotion_features").rglob("*.parquet"):
        file.write_bytes(b"no parquet")
    clock.now += 1
    with pytest.raises(
        AffectstreamError, match=r"^emotion_features under .* cannot be read: "
    ) as e:
        reader.rows("SELECT valence FROM emotion_features", "emotion_features")
    assert "\n" not in str(e.value)


def test_a_role_reads_its_tables_and_columns_alone(tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    land(tmp_path, "emotion_features", feature("ann", 0), feature("bob", 0))
    land(tmp_path, "review_queue", review("ann", 0))
    operator = Reader(tmp_path, role=read_roles(ROLES).named("operator"))
    names = "SELECT subject_ref, expression, valence, window_end FROM emotion_features"
    rows = operator.rows(names, "emotion_features")
    assert rows["window_end"].notna().all()
    assert rows[["subject_ref", "expression", "valence"]].isna().all(axis=None)
    counted = "SELECT count(DISTINCT subject_ref) AS n, avg(valence) AS v FROM emotion_features"
    assert operator.rows(counted, "emotion_features")["n"][0] == 0
    assert operator.rows("SELECT * FROM review_queue", "review_queue").empty
    assert operator.version("review_queue") is None
    assert (operator.count("review_queue"), operator.days("review_queue")) == (0, [])
    officer = Reader(tmp_path, role=read_roles(ROLES).named("officer"))
    assert len(officer.rows("SELECT * FROM review_queue", "review_queue")) == 1


@pytest.mark.parametrize("name", list(TABLES))
def test_any_column_of_any_table_can_be_hidden(tmp_path: Path, name: str) -> None:
    """Some have names that SQL knows too, such as offset."""
    prepare_tables(tmp_path)
    hidden = TABLES[name].row_id
    role = Role(description="d", page=frozenset({"live"}), tables={name: Grant(without=(hidden,))})
    found = Reader(tmp_path, role=role).rows(f"SELECT * FROM {name}", name)
    assert list(found.columns) == TABLES[name].schema.names
