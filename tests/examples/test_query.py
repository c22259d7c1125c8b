"""The examples give what the tables hold: no row that was replaced or erased, in any library."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable, TableFeatures

from examples import query_duckdb, query_pandas, query_polars
from schemas.errors import AffectstreamError
from tests.support.served import BEGIN, erase, feature, land
from tests.support.synthetic_tables import expression_columns, scores_of
from transforms.landing.prepare import prepare_tables

JOY, FEAR = (expression_columns(name, 0.6, 0.4) for name in ("joy", "fear"))
UNSURE = expression_columns("anger", 0.3, 0.4)
PLAZA = (2 * JOY["valence"] + FEAR["valence"]) / 3


@pytest.fixture
def tables(tmp_path: Path) -> str:
    """Tables with a replaced row, an erased subject and a window that abstained."""
    prepare_tables(tmp_path)
    hour = 720
    late = feature("a", 0, revision=2, **JOY)
    land(tmp_path, "emotion_features", feature("a", 0, **FEAR), feature("x", 0, **FEAR))
    land(tmp_path, "emotion_features", late, feature("a", hour, **JOY), feature("b", 0, **FEAR))
    land(tmp_path, "emotion_features", feature("b", 1, **UNSURE))
    land(tmp_path, "emotion_features", feature("c", 0, scene_id="arena", **FEAR))
    erase(tmp_path, "emotion_features", "x")
    return str(tmp_path)


def test_pandas_has_means_by_local_hour(tables: str) -> None:
    table = query_pandas.main(tables, "Asia/Shanghai")
    assert table.index.hour.tolist() == [18, 19]
    assert table["plaza"].tolist() == pytest.approx(
        [(JOY["valence"] + FEAR["valence"]) / 2, JOY["valence"]]
    )
    assert table["arena"].iloc[0] == pytest.approx(FEAR["valence"])


def test_polars_reads_what_stands_and_vectors_by_place(tables: str) -> None:
    arena, plaza = query_polars.main(tables).to_dicts()
    assert (arena["windows"], plaza["windows"]) == (1, 3)
    assert plaza["valence"] == pytest.approx(PLAZA)
    joy = (2 * scores_of("joy", 0.6)[3] + scores_of("fear", 0.6)[3]) / 3
    assert plaza["p_joy"] == pytest.approx(joy)
    newest = query_polars.latest(tables)
    assert sorted(ref[0] for ref in newest["subject_ref"]) == ["a", "b", "c"]


def test_duckdb_reads_live_files_and_joins_a_view(tables: str) -> None:
    arena, first, second = query_duckdb.main(tables).to_pylist()
    assert (arena["scene_id"], arena["windows"], arena["newest_of"]) == ("arena", 1, 1)
    hours = [row["hour"].replace(tzinfo=UTC) for row in (first, second)]
    assert hours == [BEGIN, datetime(2090, 11, 30, 11, tzinfo=UTC)]
    assert (first["windows"], first["newest_of"]) == (2, 0)  # b's newest window abstained
    assert (second["windows"], second["newest_of"]) == (1, 1)


def test_duckdb_refuses_deletion_vectors(tables: str) -> None:
    features = DeltaTable(f"{tables}/emotion_features")
    features.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    with pytest.raises(AffectstreamError, match="uses deletionVectors"):
        query_duckdb.main(tables)
