"""Tables that an earlier version wrote, and tables that are not ours to write to."""

import io
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType
from rich.console import Console

from pipelines.config import Config, load_config
from pipelines.run.replay import replay
from pipelines.tables.overview import print_tables, standing_tables
from pipelines.tables.query import query, read_table, tables
from schemas.errors import AffectstreamError
from schemas.table import PARTITION
from schemas.tables import EMOTION_FEATURES, TABLES
from tests.support.records import raw, record
from transforms.landing.prepare import SCHEMA_VERSION, prepare_tables

RELEASED = Path(__file__).parents[2] / "data" / "released-0.1.0"
QUIET = Console(quiet=True)


@pytest.fixture
def released(tmp_path: Path) -> Config:
    """A copy of what 0.1.0 wrote from its log, and the settings that it did so with."""
    shutil.copytree(RELEASED, tmp_path / "released")
    here = tmp_path / "released"
    (here / "keys.yaml").chmod(0o600)  # git keeps no more than who may execute
    return load_config(
        here / "config.yaml",
        log=here / "log",
        tables=here / "tables",
        keys=here / "keys.yaml",
        scenarios=here / "scenarios.yaml",
    )


def versions(root: str) -> dict[str, int]:
    return {
        path.name: DeltaTable(path).version()
        for path in sorted(Path(root).iterdir())
        if path.is_dir()
    }


def rows(root: str, name: str) -> list[dict]:
    found = query(root, f"SELECT * FROM {name}").to_pylist()
    return sorted(found, key=lambda row: row[TABLES[name].row_id])


def write_lesson(folder: Path) -> Path:
    """A log in which a lesson is under review while somebody writes."""
    granted = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
    lesson = {"scenario": "social"}
    log = folder / "lesson"
    log.mkdir()
    given = raw(
        record("consent", 0, granted),
        record("context", 1, {"lesson_state": "review"}, **lesson),
        record("text", 2, {"text": "I see", "lang": "en"}, **lesson),
    )
    pq.write_table(pa.Table.from_batches([given]), log / "part-0.parquet")
    return log


def test_tables_of_0_1_0_are_queried_as_they_are(released: Config) -> None:
    before = versions(released.tables)
    counted = tables(released.tables)
    assert counted["emotion_features"] == 152
    assert counted["consent_ledger"] == 113
    found = read_table(released.tables, "emotion_features", "window_id", "lesson_state")
    assert found.num_rows == 152
    assert found["lesson_state"].null_count == 152
    schemas = {each.table: each.schema for each in standing_tables(released.tables)}
    assert schemas == dict.fromkeys(set(TABLES) - {"erasures"}, 1)
    assert versions(released.tables) == before


def test_the_log_of_0_1_0_adds_only_that_a_child_may_not_consent_itself(released: Config) -> None:
    """All that stands stays as it is; what the law asks since is told of the child of that log."""
    before = {name: rows(released.tables, name) for name in set(TABLES) - {"runs", "erasures"}}
    replay(released, QUIET)
    added = {}
    for name, known in before.items():
        new = {field.name: None for field in TABLES[name].schema if field.name not in known[0]}
        row_id = TABLES[name].row_id
        ids = {row[row_id] for row in known}
        found = rows(released.tables, name)
        assert [row for row in found if row[row_id] in ids] == [row | new for row in known], name
        added[name] = [row for row in found if row[row_id] not in ids]
    assert {name for name in added if added[name]} == {"consent_ledger", "refusals", "dead_letters"}
    assert {row["age_band"] for row in added["consent_ledger"]} == {"child"}
    refused = {(row["age_band"], row["code"], row["modality"]) for row in added["refusals"]}
    assert refused == {("child", "consent_insufficient", way) for way in ("text", "context")}
    assert [row["code"] for row in added["dead_letters"]] == ["grant_needs_guardian"]
    assert rows(released.tables, "emotion_features")[0]["lesson_state"] is None


def test_a_column_that_was_added_is_written_beside_rows_of_0_1_0(
    released: Config, tmp_path: Path
) -> None:
    known = rows(released.tables, "emotion_features")
    replay(released.model_copy(update={"log": write_lesson(tmp_path)}), QUIET)
    told = query(
        released.tables, "SELECT n_text, lesson_state FROM emotion_features ORDER BY window_start"
    ).to_pylist()
    assert told.count({"n_text": 1, "lesson_state": "review"}) == 1
    assert len(told) == len(known) + 1
    version = {each.table: each.schema for each in standing_tables(released.tables)}
    assert version["emotion_features"] == 3
    again = versions(released.tables)
    prepare_tables(released.tables)
    assert versions(released.tables) == again, "what is up to date is left alone"


def add_column(table: DeltaTable) -> None:
    table.alter.add_columns([Field("felt", PrimitiveType("string"), nullable=True)])


def make_newer(table: DeltaTable) -> None:
    table.alter.set_table_properties({SCHEMA_VERSION: "9"}, raise_if_not_exists=False)


def write_other(table: DeltaTable, schema: pa.Schema) -> None:
    place = table.table_uri.removeprefix("file://")
    shutil.rmtree(place)
    write_deltalake(place, schema.empty_table(), partition_by=[PARTITION])


def drop_column(table: DeltaTable) -> None:
    place = EMOTION_FEATURES.get_field_index("scenario")
    write_other(table, EMOTION_FEATURES.remove(place))


def change_type(table: DeltaTable) -> None:
    place = EMOTION_FEATURES.get_field_index("revision")
    other = EMOTION_FEATURES.set(place, pa.field("revision", pa.string()))
    write_other(table, other)


def forbid_null(table: DeltaTable) -> None:
    place = EMOTION_FEATURES.get_field_index("activity")
    write_other(table, EMOTION_FEATURES.set(place, pa.field("activity", pa.string(), False)))


def constrain(table: DeltaTable) -> None:
    table.alter.add_constraint({"few": "revision < 1000000"})


def keep_deletion_vectors(table: DeltaTable) -> None:
    place = table.table_uri.removeprefix("file://")
    shutil.rmtree(place)
    given = {"delta.enableDeletionVectors": "true"}
    DeltaTable.create(place, schema=EMOTION_FEATURES, partition_by=[PARTITION], configuration=given)


def name_no_version(table: DeltaTable) -> None:
    table.alter.set_table_properties({SCHEMA_VERSION: "two"}, raise_if_not_exists=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            make_newer,
            "by a later affectstream (schema 9 of emotion_features, this program knows 3)",
        ),
        (add_column, "(it has felt, which nobody writes): give a new folder"),
        (drop_column, "(it has no scenario): give a new folder"),
        (change_type, "(its revision is string and not integer): give a new folder"),
        (forbid_null, "(its activity may not be null): give a new folder"),
        (constrain, "(it has the constraint few): give a new folder"),
        (keep_deletion_vectors, "it uses deletionVectors, variantType; it has delta.enable"),
        (name_no_version, "names 'two' as its property affectstream.schema, which is no version"),
    ],
)
def test_a_table_that_differs_is_one_sentence_before_anything_is_written(
    released: Config, change, said: str
) -> None:
    root = released.tables
    shutil.rmtree(f"{root}/review_queue")
    change(DeltaTable(f"{root}/emotion_features"))
    before = versions(root)
    with pytest.raises(AffectstreamError) as raised:
        replay(released, QUIET)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert versions(root) == before, "and the table that was missing is not there"
    shown = io.StringIO()
    print_tables(standing_tables(root), Console(file=shown, width=200))
    assert said in shown.getvalue()


def test_no_tables_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"no table under .*: run a replay into it"):
        standing_tables(tmp_path)
