import datetime as dt
import os
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from schemas.errors import AffectstreamError
from schemas.table import PARTITION
from schemas.tables import DEAD_LETTERS, EMOTION_FEATURES, OBSERVED, TABLES
from transforms.landing.delta import TableWriter
from transforms.landing.prepare import prepare_tables

START = dt.datetime(2026, 9, 1, 23, 59, 50, tzinfo=dt.UTC)


def features(*rows: tuple[int, int]) -> pa.RecordBatch:
    """Feature rows of (window number, revision); window 2 and later lie in the next day."""
    full = []
    for number, revision in rows:
        start = START + dt.timedelta(seconds=5 * number)
        row = {"window_id": f"w{number}", "window_start": start, "revision": revision}
        row |= {"event_date": start.date(), "n_text": revision}
        full.append({name: row.get(name) for name in EMOTION_FEATURES.names})
    return pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)


def landed(root: Path) -> dict[str, int]:
    rows = DeltaTable(str(root / "emotion_features")).to_pyarrow_table().to_pylist()
    assert len({row["window_id"] for row in rows}) == len(rows), "a row id stands twice"
    assert all(row["n_text"] == row["revision"] for row in rows)
    return {row["window_id"]: row["revision"] for row in rows}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


@pytest.mark.parametrize("remember_s", [None, 75.0])
def test_any_repetition_is_a_no_op(root: Path, remember_s: float | None) -> None:
    writer = TableWriter(root, "emotion_features", remember_s=remember_s)
    assert writer.commit([features((0, 1), (1, 1), (5, 2))]) == 3
    version = DeltaTable(str(root / "emotion_features")).version()
    assert writer.commit([features((5, 2)), features((0, 1))]) == 0
    assert TableWriter(root, "emotion_features").commit([features((1, 1))]) == 0
    assert DeltaTable(str(root / "emotion_features")).version() == version, "an empty commit"


@pytest.mark.parametrize("remember_s", [None, 75.0])
def test_a_higher_revision_replaces_and_a_lower_one_never_does(
    root: Path, remember_s: float | None
) -> None:
    writer = TableWriter(root, "emotion_features", remember_s=remember_s)
    writer.commit([features((0, 2), (1, 1))])
    assert writer.commit([features((0, 1), (1, 3), (1, 2), (7, 1))]) == 2
    assert landed(root) == {"w0": 2, "w1": 3, "w7": 1}
    assert writer.commit([features((1, 2), (0, 1))]) == 0
    assert landed(root) == {"w0": 2, "w1": 3, "w7": 1}


def test_order_does_not_matter(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    prepare_tables(other)
    parts = [features((0, 1), (3, 1)), features((0, 3)), features((3, 2), (4, 1)), features((0, 2))]
    for part in parts:
        TableWriter(root, "emotion_features").commit([part])
    for part in parts[::-1]:
        TableWriter(other, "emotion_features").commit([part])
    assert landed(root) == landed(other) == {"w0": 3, "w3": 2, "w4": 1}


def test_a_zombie_with_a_stale_handle_adds_nothing_twice(root: Path) -> None:
    zombie, writer = (TableWriter(root, "emotion_features", remember_s=75) for _ in range(2))
    assert writer.commit([features((0, 1), (1, 1))]) == 2
    assert zombie.commit([features((0, 1), (1, 1), (2, 1))]) == 1
    assert landed(root) == {"w0": 1, "w1": 1, "w2": 1}


def test_writers_side_by_side_lose_nothing(root: Path) -> None:
    def write(seed: int) -> None:
        writer = TableWriter(root, "emotion_features", remember_s=75 if seed else None)
        for step in range(5):
            writer.commit([features(*((n, 1) for n in range(step * 4, step * 4 + 8 + seed)))])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert landed(root) == {f"w{n}": 1 for n in range(26)}


def test_rows_without_event_time_land_by_day(root: Path) -> None:
    def letters(*numbers: int) -> pa.RecordBatch:
        rows = [
            dict.fromkeys(DEAD_LETTERS.names)
            | {"dead_letter_id": f"d{n}", "offset": n, "event_date": START.date()}
            for n in numbers
        ]
        return pa.RecordBatch.from_pylist(rows, schema=DEAD_LETTERS)

    writer = TableWriter(root, "dead_letters", remember_s=75)
    assert [writer.commit([letters(*part)]) for part in ((7, 9), (7,), (8, 9))] == [2, 0, 1]
    assert writer._recent is None, "a day of them would be held in memory"


def observed(*rows: tuple[str, float, int, int]) -> pa.RecordBatch:
    """Rows of (event id, second, content, offset)."""
    full = []
    for event_id, second, content, offset in rows:
        at = START + dt.timedelta(seconds=second)
        row = {"event_id": event_id, "event_time": at, "event_date": at.date()}
        row |= {"content": content, "partition": 0, "offset": offset, "modality": "text"}
        full.append({name: row.get(name) for name in OBSERVED.names})
    return pa.RecordBatch.from_pylist(full, schema=OBSERVED)


@pytest.mark.parametrize("remember_s", [None, 75.0])
def test_a_repetition_is_a_no_op_and_a_reused_id_is_told(
    root: Path, remember_s: float | None
) -> None:
    def land(*rows: tuple[str, float, int, int]) -> tuple[int, list[int]]:
        done = writer.land([observed(row) for row in rows])
        return done.new, done.reused["offset"].to_pylist()

    writer = TableWriter(root, "observations", remember_s=remember_s)
    assert land(("a", 0, 1, 7), ("b", 1, 2, 8)) == (2, [])
    assert land(("a", 0, 1, 7)) == (0, []), "read again after a restore"
    assert land(("a", 0, 1, 9)) == (0, [])
    assert land(("a", 0, 5, 10), ("c", 2, 1, 11)) == (1, [10])
    assert land(("d", 3, 4, 14), ("d", 2, 3, 12), ("d", 2, 3, 13)) == (1, [14])
    assert land(("a", 9, 6, 15)) == (0, [15]), "within the minute, at another time"
    stands = DeltaTable(str(root / "observations")).to_pyarrow_table()
    contents = {row["event_id"]: row["content"] for row in stands.to_pylist()}
    assert contents == {"a": 1, "b": 2, "c": 1, "d": 3}
    again = TableWriter(root, "observations", remember_s=remember_s)
    assert again.land([observed(("a", 0, 1, 16))]).reused.num_rows == 0
    assert again.land([observed(("a", 0, 2, 17))]).reused["offset"].to_pylist() == [17]


def test_every_table_is_partitioned_and_documented(root: Path) -> None:
    for name in TABLES:
        table = DeltaTable(str(root / name))
        assert table.metadata().partition_columns == [PARTITION]
        assert all(field.metadata.get("doc") for field in table.schema().fields)
        TableWriter(root, name)


def test_a_table_whose_docs_are_worded_otherwise_takes_rows(tmp_path: Path) -> None:
    older = [field.with_metadata({"doc": "as it was"}) for field in EMOTION_FEATURES]
    path = str(tmp_path / "emotion_features")
    DeltaTable.create(path, schema=pa.schema(older), partition_by=[PARTITION])
    prepare_tables(tmp_path)
    writer = TableWriter(tmp_path, "emotion_features")
    assert writer.commit([features((0, 1))]) == 1
    assert writer.commit([features((0, 2), (3, 1))]) == 2
    assert landed(tmp_path) == {"w0": 2, "w3": 1}


def test_a_writer_that_remembers_sees_what_another_committed(root: Path) -> None:
    writer, other = (TableWriter(root, "emotion_features", remember_s=75) for _ in range(2))
    writer.commit([features((0, 1), (1, 1))])
    other.commit([features((1, 4), (2, 1))])
    assert writer.commit([features((1, 3), (2, 1), (3, 1))]) == 1
    writer.commit([features((-20_000, 1))])  # more than a day before what it remembers
    assert writer.commit([features((-20_000, 1))]) == 0
    DeltaTable(str(root / "emotion_features")).optimize.compact()
    assert writer.commit([features((3, 1), (4, 1))]) == 1
    assert landed(root) == {"w0": 1, "w1": 4, "w2": 1, "w3": 1, "w4": 1, "w-20000": 1}


def test_what_a_writer_remembers_is_bounded_and_never_wrong(root: Path) -> None:
    """Event time runs on for 15 minutes; rows come late, again, revised and out of order."""
    chance = random.Random(11)
    writer = TableWriter(root, "emotion_features", remember_s=75)
    expected: dict[str, int] = {}
    for now in range(0, 180, 3):
        # 75 s are 15 windows; at the end all come in time
        back = chance.choice([0, 1, 5, 14, 16, 30, 90]) if now < 120 else 0
        rows = [(now - n, chance.randint(1, 3)) for n in range(back, back + 6)]
        before = dict(expected)
        for number, revision in rows:
            expected[f"w{number}"] = max(expected.get(f"w{number}", 0), revision)
        changed = sum(before.get(name) != revision for name, revision in expected.items())
        assert writer.commit([features(*rows)]) == changed
    assert landed(root) == expected
    assert writer._recent is not None
    assert len(expected) > 150
    assert len(writer._recent) < 50, "what is old is not forgotten"


@pytest.mark.parametrize(("remember_s", "reads"), [(75, 1), (600, 0)])
def test_late_rows_are_looked_up_in_memory_as_far_back_as_they_may_come(
    root: Path, monkeypatch: pytest.MonkeyPatch, remember_s: float, reads: int
) -> None:
    writer = TableWriter(root, "emotion_features", remember_s=remember_s)
    for number in range(0, 180, 3):  # 15 minutes of windows
        writer.commit([features((number, 1))])
    found = []
    whole = DeltaTable.to_pyarrow_dataset
    monkeypatch.setattr(
        DeltaTable, "to_pyarrow_dataset", lambda *given: found.append(given) or whole(*given)
    )
    assert writer.commit([features((177 - 90, 2))]) == 1  # 450 s behind the newest
    assert len(found) == reads


def test_an_unwritable_root_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AffectstreamError, match="cannot write tables"):
        prepare_tables(tmp_path / "file")


@pytest.mark.parametrize("part", ["refusals", "refusals/_delta_log"])
def test_a_table_that_may_only_be_read_is_one_sentence(part: str) -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's folders are closed to other users
        root = Path(made)
        prepare_tables(root)
        for folder in (root, *root.glob("**/")):
            folder.chmod(0o777)
        (root / part).chmod(0o555)
        me = os.geteuid()
        if me == 0:  # who may write everywhere
            os.seteuid(65534)
        try:
            with pytest.raises(
                AffectstreamError, match=r"at refusals \(.*denied.*\): make it a folder"
            ):
                prepare_tables(root)
        finally:
            os.seteuid(me)
            (root / part).chmod(0o777)
        prepare_tables(root)
