"""The tables on a real Spark session: maintenance, backfill, corrected labels, both ways."""

import datetime as dt
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from examples import query_spark
from examples.corrected_labels import merge_corrections
from infra.spark import spark_jars
from pipelines.backfill.backfill import backfill
from pipelines.backfill.days import Days
from pipelines.backfill.objections import read_objections
from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.spark import backfill as spark_backfill
from pipelines.spark.backfill import check_unchanged, rebuild
from pipelines.spark.maintain import SparkEngine
from pipelines.spark.session import check_local, spark_session
from pipelines.tables.changes import (
    BACKFILL,
    CHANGE,
    ERASURE,
    RETENTION,
    read_changes,
    readable_versions,
    reasons,
)
from pipelines.tables.check import check_tables
from pipelines.tables.engine import DeltalakeEngine, Engine
from pipelines.tables.maintain import Maintenance, maintain
from pipelines.tables.query import query
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.live_runs import QUIET, same, table
from tests.support.midnights import FIRST, write_midnights
from tests.support.served import BEGIN, LENGTH, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

pytestmark = pytest.mark.spark

FEATURES, DECISIONS = "emotion_features", "expression_decisions"
DAY = dt.timedelta(days=1)
A_DAY = int(DAY / LENGTH)
NOW = BEGIN + DAY


@pytest.fixture(scope="module")
def session() -> Iterator[object]:
    """One session for all tests here: a start takes six seconds, and code warms up slowly.

    The first of Java's two compilers alone takes half of the time for so little data.
    """
    spark_jars.fetch()
    with spark_session(spark_jars.JARS, java="-XX:TieredStopAtLevel=1") as started:
        yield started


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def features(root: Path) -> DeltaTable:
    return DeltaTable(root / FEATURES)


def place(root: Path, name: str = FEATURES) -> str:
    return f"delta.`{root / name}`"


def test_the_session_listens_on_loopback_only(session) -> None:
    conf = session.sparkContext.getConf()
    assert conf.get("spark.driver.host") == conf.get("spark.driver.bindAddress") == "127.0.0.1"
    assert session.sparkContext.uiWebUrl is None


def maintained(root: Path, engine: Engine, now: dt.datetime):
    how = Maintenance(engine, clock=lambda: now)
    (done,) = maintain(root, [FEATURES], how, QUIET)
    return done


def test_both_engines_leave_the_same_rows_in_as_many_files(session, tmp_path: Path) -> None:
    now = NOW + dt.timedelta(days=TABLES[FEATURES].retention_days)
    for name in ("deltalake", "spark"):
        root = tmp_path / name
        prepare_tables(root)
        land(root, FEATURES, feature("old", -A_DAY))
        for window in range(3):
            land(root, FEATURES, *(feature(who, window + A_DAY) for who in "abc"))
        stray = root / FEATURES / "stray.parquet"
        stray.write_bytes(b"of a commit that never was")
        os.utime(stray, (time.time() - 8 * 86_400,) * 2)
    one = maintained(tmp_path / "deltalake", DeltalakeEngine(), now)
    other = maintained(tmp_path / "spark", SparkEngine(session), now)
    assert one == other
    assert (one.work.expired_rows, one.after, one.vacuumed) == (1, 1, 1)
    same(table(tmp_path / "deltalake", FEATURES), table(tmp_path / "spark", FEATURES))
    assert not (tmp_path / "spark" / FEATURES / "stray.parquet").exists()
    by_spark = features(tmp_path / "spark")
    said = reasons(by_spark, range(1, by_spark.version() + 1))
    assert [*said.values()] == [RETENTION]
    assert maintained(tmp_path / "spark", SparkEngine(session), now).work.sort == []


def test_spark_maintains_beside_our_writer(session, root: Path) -> None:
    stop, count = threading.Event(), 0

    def write() -> None:
        nonlocal count
        while not stop.is_set():
            land(root, FEATURES, feature("a", count), feature("a", count - A_DAY))
            if count % 2:
                land(root, FEATURES, feature("a", count - 1, revision=2))
            count += 1
            time.sleep(0.05)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        sorts = sum(
            len(maintained(root, SparkEngine(session), BEGIN + 4 * LENGTH).work.sort)
            for _ in range(2)
        )
    finally:
        stop.set()
        thread.join()
    assert sorts >= 1
    rows = table(root, FEATURES)
    found = dict(zip(rows["window_id"].to_pylist(), rows["revision"].to_pylist(), strict=True))
    wanted = {f"a-{n - late}-recommendation": 1 for n in range(count) for late in (0, A_DAY)}
    wanted |= {f"a-{n - 1}-recommendation": 2 for n in range(count) if n % 2}
    assert found == wanted


def test_past_days_are_rebuilt_as_they_landed(session, tmp_path: Path, keys: Path) -> None:
    log = write_midnights(tmp_path, 1)
    config = load_config(None, log=log, tables=tmp_path / "tables", keys=keys)
    replay(config, QUIET)
    landed = {name: table(config.tables, name) for name in (FEATURES, DECISIONS)}
    objected = [*read_objections(config.tables)]
    rows = landed[FEATURES]
    theirs = pc.is_in(rows["subject_ref"], pa.array(objected))
    assert pc.any(theirs).as_py()
    first = pc.and_not(pc.equal(rows["event_date"], pa.scalar(FIRST)), theirs)
    others = " AND subject_ref NOT IN ({})".format(", ".join(f"'{ref}'" for ref in objected))
    damaged = DeltaTable(f"{config.tables}/{FEATURES}")
    damaged.update({"valence": "0.9"}, predicate=f"event_date = '{FIRST}'{others}")
    DeltaTable(f"{config.tables}/{DECISIONS}").delete(f"event_date = '{FIRST + DAY}'{others}")
    version = damaged.version()
    days = Days(FIRST, FIRST + DAY)
    found = backfill(config, days, partial(rebuild, session, write=True), QUIET, write=True)
    assert {key: result.differ for key, result in found.items()} == {
        (FEATURES, FIRST): pc.sum(first).as_py(),
        (FEATURES, FIRST + DAY): 0,
        (DECISIONS, FIRST): 0,
        (DECISIONS, FIRST + DAY): found[DECISIONS, FIRST + DAY].rows,
    }
    assert set(found[FEATURES, FIRST].examples["what"].to_pylist()) == {"valence"}
    for name, rows in landed.items():
        same(table(config.tables, name), rows)
    after = DeltaTable(f"{config.tables}/{FEATURES}")
    assert reasons(after, range(version + 1, after.version() + 1)) == {version + 1: BACKFILL}


def test_spark_brings_nobody_back_who_is_erased_meanwhile(
    session, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_midnights(tmp_path, 1)
    config = load_config(None, log=log, tables=tmp_path / "tables", keys=keys)
    replay(config, QUIET)
    refs = set(table(config.tables, FEATURES)["subject_ref"].to_pylist())
    who = sorted(refs - set(read_objections(config.tables)))[0]
    for name in (FEATURES, DECISIONS):
        DeltaTable(f"{config.tables}/{name}").delete(f"subject_ref = '{who}'")
    version = DeltaTable(f"{config.tables}/{FEATURES}").version()
    replace, calls = spark_backfill._replace, []

    def erase_first(*given: object) -> None:
        if not calls:
            DeltaTable(f"{config.tables}/observations").delete(f"subject_ref = '{who}'")
        calls.append(given)
        replace(*given)

    monkeypatch.setattr(spark_backfill, "_replace", erase_first)
    days = Days(FIRST, FIRST)
    backfill(config, days, partial(rebuild, session, write=True), QUIET, write=True)
    for name in (FEATURES, DECISIONS):
        assert who not in table(config.tables, name)["subject_ref"].to_pylist()
    stand = DeltaTable(f"{config.tables}/{FEATURES}")
    said = reasons(stand, range(version + 1, stand.version() + 1))
    assert [*said.values()][:2] == [BACKFILL, ERASURE]


def test_a_day_that_others_changed_since_it_was_read_is_found(session, root: Path) -> None:
    land(root, FEATURES, feature("a", 0), feature("b", 0), feature("c", A_DAY))
    begun = features(root).version()
    since = erase(root, FEATURES, "b")
    session.sql(
        f"UPDATE {place(root)} SET valence = 0.5 WHERE event_date = '{NOW.date()}'"
    ).collect()
    with pytest.raises(CommitFailedError, match="were changed meanwhile"):
        check_unchanged(session, features(root), begun, BEGIN.date())
    check_unchanged(session, features(root), begun, NOW.date())
    check_unchanged(session, features(root), since, BEGIN.date())


def test_tables_go_back_and_forth_between_spark_and_our_writer(session, root: Path) -> None:
    for window in range(3):
        land(root, FEATURES, *(feature(who, window) for who in "abcd"))
    known = features(root).version()
    assert session.table(place(root)).count() == 12
    session.sql(
        f"MERGE INTO {place(root)} t USING (SELECT 'a-0-recommendation' AS id) s "
        "ON t.window_id = s.id WHEN MATCHED THEN UPDATE SET t.expression = 'sadness'"
    ).collect()
    session.sql(f"OPTIMIZE {place(root)} ZORDER BY (subject_ref, window_start)").collect()
    session.sql(f"DELETE FROM {place(root)} WHERE subject_ref = '{subject('d')}'").collect()
    session.sql(f"VACUUM {place(root)}").collect()
    merged = query(root, f"SELECT expression FROM {FEATURES} WHERE window_id LIKE 'a-0-%'")
    assert merged["expression"].to_pylist() == ["sadness"]
    changes = read_changes(features(root), known + 1, features(root).version(), ["window_id"])
    assert sorted(changes[CHANGE].to_pylist()) == [
        *["delete"] * 3, "update_postimage", "update_preimage",
    ]  # fmt: skip
    prepare_tables(root)
    last = land(root, FEATURES, feature("a", 0, revision=2), feature("e", 4))
    assert sorted(read_changes(features(root), last, last)[CHANGE].to_pylist()) == [
        "insert", "update_postimage", "update_preimage",
    ]  # fmt: skip
    assert query(root, f"SELECT count(*) AS n FROM {FEATURES}")["n"].to_pylist() == [10]
    assert readable_versions(features(root)).first <= known
    seen = session.read.format("delta").option("readChangeFeed", "true")
    by_spark = seen.option("startingVersion", last).load(str(root / FEATURES))
    assert by_spark.count() == 3
    revised = session.table(place(root)).where("revision = 2").toArrow()
    assert revised["window_id"].to_pylist() == ["a-0-recommendation"]


def test_labels_that_reviewers_corrected_are_merged_into_the_queue(session, root: Path) -> None:
    rows = [
        {"review_id": f"r{n}", "decision_id": f"d{n}", "window_id": f"w{n}", "scenario": "support",
         "subject_ref": subject("a"), "reason": "low_confidence", "confidence": 0.2,
         "window_end": BEGIN, "event_date": BEGIN.date()}
        for n in range(3)
    ]  # fmt: skip
    land(root, "review_queue", *rows)
    given = root / "corrections.csv"
    head = "review_id,reviewer_decision,reviewed_by\n"
    given.write_text(f"{head}r0,sadness,dana\nr2,neutral,dana\nr9,joy,dana\n")
    assert merge_corrections(session, root, given) == 2
    given.write_text(f"{head}r0,joy,lee\nr2,unclear,dana\n")
    assert merge_corrections(session, root, given) == 1, "what dana decided is hers to change"
    found = query(root, "SELECT * FROM review_queue ORDER BY review_id")
    assert found["reviewer_decision"].to_pylist() == ["sadness", None, "unclear"]
    assert found["reviewed_by"].to_pylist() == ["dana", None, "dana"]
    assert found["reviewed_at"].is_null().to_pylist() == [False, True, False]
    assert land(root, "review_queue", rows[0]) == DeltaTable(root / "review_queue").version()
    again = query(root, "SELECT count(*) AS n, count(reviewer_decision) AS c FROM review_queue")
    assert again.to_pylist() == [{"n": 3, "c": 2}], "the stream takes no decision back"


def test_the_example_reads_what_a_query_reads(session, root: Path) -> None:
    rows = [feature("a", 0), feature("a", 720), feature("b", 0), feature("x", 0)]
    since = land(root, FEATURES, *rows)
    land(root, FEATURES, feature("a", 0, revision=2, valence=-0.5))
    erase(root, FEATURES, "x")
    found = [row.asDict() for row in query_spark.scene_mood(session, root).collect()]
    summed = "count(*) AS windows, avg(valence) AS valence, avg(p_joy) AS p_joy"
    hour = "date_bin(INTERVAL '1 hour', window_start)"
    sql = f"SELECT scene_id, {hour} AS hour, {summed} FROM expressions GROUP BY 1, 2 ORDER BY 1, 2"
    for row, expected in zip(found, query(root, sql).to_pylist(), strict=True):
        at = row.pop("hour").astimezone(dt.UTC)
        assert (row.pop("scene_id"), at) == (expected.pop("scene_id"), expected.pop("hour"))
        assert row == pytest.approx(expected)
    changes = query_spark.changes_since(session, root, since).collect()
    sql = f"SELECT window_id, revision, _change_type, _commit_version FROM {FEATURES}"
    own = query(root, sql, changes_since=since).to_pylist()
    assert sorted(map(tuple, changes)) == sorted(tuple(row.values()) for row in own)
    assert {row["_change_type"] for row in changes} == {
        *("update_preimage", "update_postimage", "delete")
    }


Change = Callable[[object, Path], None]


def turn_on(name: str, value: str = "true") -> Change:
    def change(session, root: Path) -> None:
        session.sql(f"ALTER TABLE {place(root)} SET TBLPROPERTIES ('{name}' = '{value}')")

    return change


def delete_by_vector(session, root: Path) -> None:
    turn_on("delta.enableDeletionVectors")(session, root)
    session.sql(f"DELETE FROM {place(root)} WHERE window_id LIKE 'a-0-%'").collect()


def widen(session, root: Path) -> None:
    turn_on("delta.enableTypeWidening")(session, root)
    session.sql(f"ALTER TABLE {place(root)} ALTER COLUMN revision TYPE BIGINT")


def make_anew(more: str, clause: str) -> Change:
    """Create the table by Spark, with the same rows."""

    def change(session, root: Path) -> None:
        frame = session.table(place(root))
        kept = str(root / "kept")
        frame.write.format("parquet").save(kept)
        shutil.rmtree(root / FEATURES)
        columns = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in frame.schema)
        session.sql(f"CREATE TABLE {place(root)} ({columns}{more}) USING delta {clause}")
        rows = session.read.parquet(kept)
        rows.write.format("delta").mode("append").save(str(root / FEATURES))

    return change


MAPPED = "PARTITIONED BY (event_date) TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
IDENTITY = ", number BIGINT GENERATED ALWAYS AS IDENTITY"


@pytest.mark.parametrize(
    ("change", "read", "write"),
    [
        (delete_by_vector, "deletionVectors", "deletionVectors"),
        (make_anew("", MAPPED), "columnMapping", "delta.columnMapping.mode=name"),
        (turn_on("delta.checkpointPolicy", "v2"), "v2Checkpoint", "v2Checkpoint"),
        (widen, "typeWidening", "typeWidening"),
        (make_anew("", "CLUSTER BY (subject_ref)"), None, "clustering"),
        (turn_on("delta.enableRowTracking"), None, "rowTracking"),
        (make_anew(IDENTITY, "PARTITIONED BY (event_date)"), None, "identityColumns"),
        (turn_on("delta.enableInCommitTimestamps"), None, "inCommitTimestamp"),
    ],
    ids=["vectors", "mapping", "v2", "widened", "clustered", "tracked", "identity", "timestamps"],
)
def test_what_breaks_readers_or_writers_is_refused_in_a_sentence(
    session, root: Path, change: Change, read: str | None, write: str
) -> None:
    land(root, FEATURES, *(feature(who, window) for who in "ab" for window in range(2)))
    change(session, root)
    version = features(root).version()
    with pytest.raises(AffectstreamError, match=write) as refused:
        prepare_tables(root)
    assert "\n" not in str(refused.value)
    asked = f"SELECT count(window_id) AS n FROM {FEATURES}"
    if read is None:
        assert query(root, asked)["n"].to_pylist() == [4]
        assert features(root).to_pyarrow_table()["window_id"].null_count == 0
    else:
        for ask in (lambda: query(root, asked), lambda: check_tables(root, None)):
            with pytest.raises(AffectstreamError, match=f"uses .*{read}.*DROP FEATURE") as unread:
                ask()
            assert "\n" not in str(unread.value)
    assert features(root).version() == version


def test_tables_in_an_object_store_are_refused() -> None:
    with pytest.raises(AffectstreamError, match="use --engine deltalake"):
        check_local("s3://tables/session")


def test_missing_jars_are_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(AffectstreamError, match="run `make spark`"),
        spark_session(tmp_path),
    ):
        pass
