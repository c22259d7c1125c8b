"""A live job on the tables that 0.1.0 wrote."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import Kafka
from pipelines.kafka.publish import publish
from pipelines.tables.query import query, tables
from tests.support.live_runs import CONSTANT, QUIET, live_config, run_to_end
from tests.support.records import raw, record

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
RELEASED = Path(__file__).parents[1] / "data" / "released-0.1.0" / "tables"
GRANTED = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}


def test_a_column_that_was_added_is_written_beside_rows_of_0_1_0(
    kafka: Kafka, jars: Path, tmp_path: Path, keys: Path
) -> None:
    shutil.copytree(RELEASED, tmp_path / "tables")
    before = tables(tmp_path / "tables")
    (tmp_path / "log").mkdir()
    given = raw(
        record("consent", 0, GRANTED),
        *(record("context", second, {"lesson_state": "review"}) for second in (2, 3)),
        *(record("text", second, {"text": "I see", "lang": "en"}) for second in (2, 3, 20)),
    )
    pq.write_table(pa.Table.from_batches([given]), tmp_path / "log" / "part-0.parquet")
    publish(tmp_path / "log", kafka, retime=True, console=QUIET)
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT)
    run_to_end(config)
    after = tables(config.tables)
    assert after["observations"] == before["observations"] + 3
    new = query(
        config.tables, "SELECT lesson_state FROM emotion_features WHERE n_text > 0 AND "
        "window_start > now() - INTERVAL '1 hour' ORDER BY window_start"
    )  # fmt: skip
    *told, later = new["lesson_state"].to_pylist()  # the first two may share a window
    assert set(told) == {"review"}
    assert later is None
    assert after["emotion_features"] == before["emotion_features"] + new.num_rows
