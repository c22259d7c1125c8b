"""Maintenance: what it does to rows, files and log, and that nobody who writes beside it loses."""

import datetime as dt
import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from rich.console import Console

from pipelines.tables.changes import RETENTION, readable_versions, reasons
from pipelines.tables.engine import DeltalakeEngine
from pipelines.tables.maintain import Maintenance, maintain, plan
from pipelines.tables.schedule import print_schedule
from schemas.errors import AffectstreamError
from schemas.table import NO_DAY
from schemas.tables import TABLES
from tests.support.served import BEGIN, LENGTH, erase, feature, land, subject
from tests.support.synthetic_tables import dead_letter
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

QUIET = Console(quiet=True)
NOON = dt.datetime.combine(BEGIN.date(), dt.time(12), dt.UTC)
"""In the day of the first windows, which is open then."""
DAY = dt.timedelta(days=1)
A_DAY = int(DAY / LENGTH)
"""Windows in a day."""
FEATURES = "emotion_features"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def features(root: Path) -> DeltaTable:
    return DeltaTable(root / FEATURES)


def ids(root: Path) -> list[str]:
    return sorted(features(root).to_pyarrow_table()["window_id"].to_pylist())


def run(root: Path, now: dt.datetime, **settings: object):
    how = Maintenance(DeltalakeEngine(), clock=lambda: now, **settings)
    return {each.table: each for each in maintain(root, [], how, QUIET)}


def files(*rows: tuple[dt.date, int]) -> pa.Table:
    days, sizes = zip(*rows, strict=True)
    return pa.table(
        {
            "partition.event_date": pa.array(days, pa.date32()),
            "size_bytes": pa.array(sizes, pa.int64()),
            "num_records": pa.array([10] * len(rows), pa.int64()),
            "path": [f"{number}.parquet" for number in range(len(rows))],
            "modification_time": pa.array([int(NOON.timestamp() * 1000)] * len(rows), pa.int64()),
        }
    )


def test_a_day_is_sorted_once_it_is_closed_and_again_when_small_files_have_come() -> None:
    today = NOON.date()
    yesterday, before = today - DAY, today - 2 * DAY
    large = 90 << 20
    stand = files(
        (today, 100), (today, 100), (yesterday, 100), (before, large), (before, large), (before, 9)
    )
    table = TABLES[FEATURES]
    first = plan(table, stand, None, NOON)
    assert first.sort == [before, yesterday]
    assert first.compact == [today]
    again = plan(table, stand, yesterday, NOON)
    assert again.sort == [], "one small file is what a sort leaves"
    late = pa.concat_tables([stand, files((before, 7))])
    assert plan(table, late, yesterday, NOON).sort == [before]
    midnight = dt.datetime.combine(today, dt.time(0, 30), dt.UTC)
    assert plan(table, stand, before, midnight).sort == [], "yesterday's late rows may still come"


def test_what_has_no_subject_is_compacted_and_not_sorted() -> None:
    old = NOON.date() - 3 * DAY
    work = plan(TABLES["dead_letters"], files((old, 100), (old, 100)), None, NOON)
    assert work.sort == []
    assert work.compact == [old]


def test_days_past_retention_are_told_from_those_of_no_known_day() -> None:
    table = TABLES["dead_letters"]
    kept = NOON.date() - dt.timedelta(days=table.retention_days)
    stand = files((kept - DAY, 5), (kept, 5), (NO_DAY, 5))
    work = plan(table, stand, None, NOON)
    assert work.cutoff == kept
    assert work.undated == []
    assert work.expired_rows == 10
    within = plan(table, stand, None, NOON - DAY)
    assert within.cutoff is None
    assert plan(TABLES["consent_ledger"], stand, NOON.date(), NOON).cutoff is None


def test_undated_rows_are_as_old_as_their_file_which_is_left_as_it_is() -> None:
    table = TABLES["dead_letters"]
    stand = files((NO_DAY, 5), (NO_DAY, 5))
    day_after = NOON + dt.timedelta(days=table.retention_days + 1)
    within = plan(table, stand, None, day_after - DAY)
    assert within.undated == within.compact == [], "a new file would be of a new age"
    over = plan(table, stand, None, day_after)
    assert over.undated == ["0.parquet", "1.parquet"]
    assert over.expired_rows == 20
    assert plan(TABLES["consent_ledger"], stand, NOON.date(), day_after).undated == []
    assert plan(TABLES[FEATURES], stand, None, NOON).sort == []


def test_undated_dead_letters_are_deleted_when_they_have_stood_for_their_retention(
    root: Path,
) -> None:
    name = "dead_letters"
    now = dt.datetime.now(dt.UTC)
    for number in range(3):
        land(root, name, {**dead_letter(number, "bad_time"), "event_date": NO_DAY})
    land(root, name, {**dead_letter(3, "bad_json"), "event_date": now.date()})
    days = TABLES[name].retention_days

    def left() -> list[int]:
        return sorted(DeltaTable(root / name).to_pyarrow_table()["offset"].to_pylist())

    assert run(root, now)[name].work.expired_rows == 0
    assert left() == [0, 1, 2, 3]
    later = now + dt.timedelta(days=days, hours=25)
    before = DeltaTable(root / name).version()
    assert run(root, later, dry_run=True)[name].work.expired_rows == 4
    assert left() == [0, 1, 2, 3]
    assert run(root, later)[name].work.expired_rows == 4
    assert left() == []
    after = DeltaTable(root / name)
    said = reasons(after, range(before + 1, after.version() + 1))
    assert {*said.values()} == {RETENTION}


def test_undated_rows_that_came_later_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "dead_letters"
    land(root, name, {**dead_letter(0, "bad_time"), "event_date": NO_DAY})
    engine = DeltalakeEngine()
    delete = engine.delete

    def delete_after_a_writer(table: DeltaTable, expired: str) -> None:
        monkeypatch.setattr(engine, "delete", delete)
        land(root, name, {**dead_letter(1, "bad_time"), "event_date": NO_DAY})
        delete(table, expired)

    monkeypatch.setattr(engine, "delete", delete_after_a_writer)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=TABLES[name].retention_days + 1)
    maintain(root, [name], Maintenance(engine, clock=lambda: later), QUIET)
    assert DeltaTable(root / name).to_pyarrow_table()["offset"].to_pylist() == [1]


def test_rows_past_their_retention_are_deleted_with_the_reason_and_no_others(root: Path) -> None:
    land(root, FEATURES, feature("old", -A_DAY), feature("kept", 0))
    days = dt.timedelta(days=TABLES[FEATURES].retention_days)
    before = features(root).version()
    assert run(root, NOON + days)[FEATURES].work.expired_rows == 1
    assert ids(root) == ["kept-0-recommendation"]
    after = features(root)
    said = reasons(after, range(before + 1, after.version() + 1))
    assert [*said.values()] == [RETENTION]


def test_closed_days_are_sorted_by_subject_and_time_and_left_alone_then(root: Path) -> None:
    for window in range(6):
        land(root, FEATURES, *(feature(who, window) for who in "abcdefgh"))
    land(root, FEATURES, feature("a", A_DAY))
    land(root, FEATURES, feature("a", A_DAY + 1))
    known = ids(root)
    done = run(root, NOON + DAY)[FEATURES]
    assert (done.before, done.after) == (8, 2)
    assert done.work.sort == [BEGIN.date()]
    assert done.work.compact == [BEGIN.date() + DAY]
    assert ids(root) == known
    sorted_day = features(root).to_pyarrow_table(partitions=[("event_date", "=", "2090-11-30")])
    first = sorted_day["subject_ref"].to_pylist()
    assert len(set(first[:12])) <= 4, "the rows of a subject stand together"
    version = features(root).version()
    again = run(root, NOON + DAY)[FEATURES]
    assert features(root).version() == version, "what is in order is not committed again"
    assert again.work.sort == again.work.compact == []


def test_a_dry_run_says_what_it_would_do_and_does_nothing(root: Path) -> None:
    land(root, FEATURES, feature("old", -A_DAY), feature("a", 0))
    land(root, FEATURES, feature("b", 0))
    before = {name: DeltaTable(root / name).version() for name in TABLES}
    now = NOON + dt.timedelta(days=TABLES[FEATURES].retention_days)
    done = run(root, now, dry_run=True)[FEATURES]
    assert done.work.expired_rows == 1
    assert done.work.sort == [BEGIN.date()]
    assert {name: DeltaTable(root / name).version() for name in TABLES} == before
    assert not [*(root / FEATURES / "_delta_log").glob("*.checkpoint.parquet")]


def age(root: Path, name: str, hours: float) -> None:
    """Let everything that a table's files say of time be so many hours earlier."""
    then = time.time() - hours * 3600
    for path in (root / name).rglob("*.parquet"):
        os.utime(path, (then, then))
    for path in (root / name / "_delta_log").glob("*.json"):
        text = path.read_text()
        marker = '"deletionTimestamp":'
        parts = text.split(marker)
        aged = [parts[0], *(f"{int(then * 1000)}{part.lstrip('0123456789')}" for part in parts[1:])]
        path.write_text(marker.join(aged))


def test_a_vacuum_takes_old_files_and_those_of_the_change_feed_but_keeps_a_weeks(
    root: Path,
) -> None:
    land(root, FEATURES, feature("a", 0), feature("b", 0))
    erase(root, FEATURES, "a")
    changed = [*(root / FEATURES / "_change_data").rglob("*.parquet")]
    assert changed
    age(root, FEATURES, 100)
    assert run(root, NOON, dry_run=True)[FEATURES].vacuumed == 0
    assert all(path.exists() for path in changed)
    age(root, FEATURES, 200)
    assert run(root, NOON)[FEATURES].vacuumed == 1 + len(changed)
    assert not any(path.exists() for path in changed)
    assert ids(root) == ["b-0-recommendation"]
    found = b"".join(path.read_bytes() for path in (root / FEATURES).rglob("*.parquet")
                     if "_delta_log" not in path.parts)  # fmt: skip
    assert subject("a").encode() not in found
    for hours in (0, 10**6, 10**23):
        with pytest.raises(AffectstreamError, match=r"at least 1 hour, .* and at most 87,600"):
            run(root, NOON, keep_hours=hours)


def test_the_log_has_a_checkpoint_and_its_feed_can_be_read_on(root: Path) -> None:
    land(root, FEATURES, feature("a", 0))
    run(root, NOON + DAY)
    checkpoints = [*(root / FEATURES / "_delta_log").glob("*.checkpoint.parquet")]
    assert [int(path.name[:20]) for path in checkpoints] == [features(root).version()]
    assert readable_versions(features(root)).last == features(root).version()
    assert plan(TABLES[FEATURES], files((BEGIN.date(), 5)), BEGIN.date(), NOON + DAY).sort == []


def test_the_log_loses_what_is_older_than_a_month(root: Path) -> None:
    land(root, FEATURES, feature("a", 0))
    log = root / FEATURES / "_delta_log"

    def versions_after(days: int) -> list[int]:
        then = time.time() - days * 86_400
        for path in log.iterdir():
            os.utime(path, (then, then))
        land(root, FEATURES, feature("b", days))
        run(root, NOON)
        return sorted(int(path.stem) for path in log.glob("*.json"))

    assert versions_after(20)[0] == 0
    assert versions_after(40)[0] > 1
    assert len(ids(root)) == 3


def test_some_tables_are_maintained_by_name(root: Path) -> None:
    how = Maintenance(DeltalakeEngine())
    done = maintain(root, ["refusals", "runs"], how, QUIET)
    assert [each.table for each in done] == ["refusals", "runs"]
    with pytest.raises(AffectstreamError, match="did you mean `refusals`"):
        maintain(root, ["refusal"], how, QUIET)


def test_the_schedule_names_every_table_with_days_owner_and_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_schedule(Console(width=300), None, {})
    lines = capsys.readouterr().out.splitlines()
    for table in TABLES.values():
        (line,) = [line for line in lines if line.split()[:2] == [table.name, "all"]]
        kept = "as proof" if table.retention_days is None else f"{table.retention_days} days"
        for part in (table.description, table.owner, kept, table.retention_reason):
            assert part in line


def write_beside(root: Path, stop: threading.Event, lost: list[BaseException]) -> int:
    """Commit appends and revisions, today and yesterday, until told to stop; return how many."""
    writer = TableWriter(root, FEATURES, remember_s=120)
    schema, count = TABLES[FEATURES].schema, 0
    try:
        while not stop.is_set():
            rows = [feature("live", count), feature("live", count - A_DAY)]
            rows += [feature("live", count - 1, revision=2)] if count % 3 == 2 else []
            whole = [{name: row.get(name) for name in schema.names} for row in rows]
            writer.commit([pa.RecordBatch.from_pylist(whole, schema=schema)])
            count += 1
    except BaseException as error:
        lost.append(error)
    return count


def test_a_writer_beside_all_of_it_loses_no_row_and_doubles_none(root: Path) -> None:
    year = TABLES[FEATURES].retention_days
    for number in range(4):
        land(root, FEATURES, feature("expired", -(year + 5 + number) * A_DAY))
    stop, lost, counts = threading.Event(), [], []
    thread = threading.Thread(target=lambda: counts.append(write_beside(root, stop, lost)))
    thread.start()
    sorts = vacuumed = rounds = 0
    try:
        while (sorts < 5 or rounds < 8) and rounds < 200 and not lost:
            stray = root / FEATURES / f"stray-{rounds}.parquet"
            stray.write_bytes(b"of a commit that never was")
            os.utime(stray, (time.time() - 8 * 86_400,) * 2)
            done = run(root, NOON)[FEATURES]
            sorts, vacuumed = sorts + len(done.work.sort), vacuumed + done.vacuumed
            rounds += 1
    finally:
        stop.set()
        thread.join()
    assert lost == []
    assert sorts >= 5
    assert vacuumed == rounds
    (count,) = counts
    assert count > rounds
    rows = features(root).to_pyarrow_table()
    found = dict(zip(rows["window_id"].to_pylist(), rows["revision"].to_pylist(), strict=True))
    wanted = {f"live-{number - late}-recommendation": 1 for number in range(count)
              for late in (0, A_DAY)}  # fmt: skip
    wanted |= {f"live-{n - 1}-recommendation": 2 for n in range(count) if n % 3 == 2}
    assert len(rows) == len(found), "none is there twice"
    assert found == wanted


def test_a_table_that_another_program_altered_is_refused_before_anything_is_done(
    root: Path,
) -> None:
    land(root, FEATURES, feature("a", 0))
    write_deltalake(
        root / "refusals",
        pa.table({"felt": ["joy"], "event_date": pa.array([BEGIN.date()])}),
        partition_by=["event_date"],
        mode="overwrite",
        schema_mode="overwrite",
    )
    version = features(root).version()
    with pytest.raises(AffectstreamError, match="felt, which nobody writes"):
        run(root, NOON + DAY)
    assert features(root).version() == version
