"""No text stands in the statistics of a table: not in its log, not in the footers of its files."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

from pipelines.tables.engine import DeltalakeEngine
from schemas.events import TIME
from schemas.table import PARTITION
from schemas.tables import TABLES, on_its_way
from tests.support.served import BEGIN
from transforms.landing.delta import TableWriter
from transforms.landing.layout import STATISTICS, file_properties
from transforms.landing.prepare import prepare_tables


def rows(name: str, number: int, revision: int = 1) -> pa.RecordBatch:
    """One row with a text of its own in each column of texts."""
    table = TABLES[name]
    schema = on_its_way(table.schema) if table.of_events else table.schema
    row = {}
    for field in schema:
        if pa.types.is_string(field.type):
            row[field.name] = f"{field.name}.text.{number}"
        elif field.type == TIME:
            row[field.name] = BEGIN
        elif pa.types.is_integer(field.type):
            row[field.name] = number
    row |= {PARTITION: BEGIN.date()} | ({"revision": revision} if table.revised else {})
    full = [{column: row.get(column) for column in schema.names}]
    return pa.RecordBatch.from_pylist(full, schema=schema)


def in_statistics(place: Path) -> set[str]:
    """Return the columns whose texts stand in log or footer, read as bytes."""
    found = set()
    for path in place.rglob("*"):
        if path.suffix == ".json":
            data = path.read_bytes()
        elif path.suffix == ".parquet" and "_delta_log" in path.parts:
            data = str(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".parquet":
            whole = path.read_bytes()
            data = whole[-8 - int.from_bytes(whole[-8:-4], "little") :]
            found |= indexed(path)
        else:
            continue
        found |= {
            field.name for field in pq_schema(place) if f"{field.name}.text.".encode() in data
        }
    return found


def indexed(path: Path) -> set[str]:
    """Return the columns of texts for which a file has statistics, in a footer or an index."""
    metadata = pq.read_metadata(path)
    columns = [
        metadata.row_group(group).column(number)
        for group in range(metadata.num_row_groups)
        for number in range(metadata.num_columns)
    ]
    return {
        column.path_in_schema
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and (column.is_stats_set or column.has_column_index)
    }


def pq_schema(place: Path) -> pa.Schema:
    return TABLES[place.name].schema


@pytest.mark.parametrize("name", list(TABLES))
def test_what_any_writer_leaves_has_no_statistics_of_texts(name: str, tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    place, table = tmp_path / name, TABLES[name]
    writer = TableWriter(tmp_path, name)
    for number in range(3):
        writer.commit([rows(name, number)])
    if table.revised:
        writer.commit([rows(name, 1, revision=9)])
    engine, stands = DeltalakeEngine(), DeltaTable(place)
    engine.compact(stands, BEGIN.date())
    stands.update_incremental()
    if table.subject and table.time:
        engine.sort(stands, BEGIN.date(), [table.subject, table.time])
        stands.update_incremental()
    engine.delete(stands, f"{table.row_id} = '{table.row_id}.text.2'")
    stands.update_incremental()
    stands.create_checkpoint()
    # Beside what lookups need, the log holds the ids that a predicate named, which are keyed, and
    # the change feed's files say what kind of change they are.
    named = {table.row_id, "_change_type", table.subject, table.lookup_column}
    assert in_statistics(place) <= named
    assert len(stands.to_pyarrow_table()) == 2, "and rows are found as before"


def test_the_search_sees_them_where_a_writer_has_its_defaults(tmp_path: Path) -> None:
    place = tmp_path / "emotion_features"
    batch = pa.Table.from_batches([rows("emotion_features", 1)])
    write_deltalake(place, batch, partition_by=[PARTITION], writer_properties=WriterProperties())
    assert in_statistics(place) >= {"scene_id", "activity", "purpose", "session_ref"}


def test_a_table_that_stands_gets_the_property_and_keeps_its_rows(tmp_path: Path) -> None:
    place, name = tmp_path / "emotion_features", "emotion_features"
    batch = pa.Table.from_batches([rows(name, 1)])
    DeltaTable.create(place, batch.schema, partition_by=[PARTITION])
    write_deltalake(place, batch, mode="append")
    prepare_tables(tmp_path)
    prepare_tables(tmp_path)
    stands = DeltaTable(place)
    told = stands.metadata().configuration[STATISTICS].split(",")
    assert "subject_ref" in told
    assert not {"scene_id", "activity", "scores"} & set(told)
    version = stands.version()
    TableWriter(tmp_path, name).commit([rows(name, 2)])
    entry = (place / "_delta_log" / f"{version + 1:020}.json").read_text()
    (stats,) = [json.loads(line)["add"]["stats"] for line in entry.splitlines() if '"add"' in line]
    assert "scene_id" not in stats
    assert "subject_ref" in json.loads(stats)["minValues"]


def test_files_are_compressed_as_before(tmp_path: Path) -> None:
    place = tmp_path / "refusals"
    batch = pa.Table.from_batches([rows("refusals", 1)]).select(TABLES["refusals"].schema.names)
    write_deltalake(place, batch, writer_properties=file_properties(TABLES["refusals"]))
    (path,) = place.glob("*.parquet")
    assert pq.read_metadata(path).row_group(0).column(0).compression == "SNAPPY"
