"""The public face: what a notebook gets of ``import affectstream``."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable

import affectstream
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.modalities import MODALITIES
from tests.support.served import feature, land
from transforms.landing.prepare import prepare_tables

HEAVY = "{'apache_beam', 'torch', 'transformers', 'great_expectations', 'pandas', 'kafka'}"


def test_the_import_loads_neither_beam_nor_torch() -> None:
    code = f"import affectstream, sys; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_log_becomes_tables_and_frames(tmp_path: Path, keys: Path) -> None:
    write_bench_log(tmp_path / "session", 300, subjects=6)
    file = tmp_path / "config.yaml"
    file.write_text(f"keys: {keys}\ntables: {tmp_path / 'tables'}\n")
    constant = {name: {"model": "constant"} for name in MODALITIES}
    config = affectstream.load_config(
        str(file), log=str(tmp_path / "session" / "log"), models=constant
    )
    assert affectstream.replay(config).records > 300
    frame = affectstream.query(config.tables, "SELECT count(*) AS n FROM observations")
    assert isinstance(frame, pd.DataFrame)
    assert frame["n"].tolist() == [300]
    tables = affectstream.tables(tmp_path / "tables")
    assert set(tables) == set(affectstream.schemas)
    observations = tables["observations"]
    assert isinstance(observations, DeltaTable)
    names = [field.name for field in observations.schema().fields]
    assert names == affectstream.schemas["observations"].names


def test_a_root_without_tables_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(affectstream.AffectstreamError, match="no table under"):
        affectstream.tables(tmp_path)


def test_an_analyst_asks_for_views_the_past_and_meanings(tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    version = land(tmp_path, "emotion_features", feature("a", 0))
    land(tmp_path, "emotion_features", feature("a", 1))
    counted = "SELECT count(*) AS n FROM expressions"
    assert affectstream.query(tmp_path, counted)["n"].tolist() == [2]
    assert affectstream.query(tmp_path, counted, as_of=version)["n"].tolist() == [1]
    changes = affectstream.query(
        tmp_path, "SELECT _change_type AS c FROM emotion_features", changes_since=version
    )
    assert changes["c"].tolist() == ["insert"]
    latest = affectstream.query(tmp_path, "SELECT * FROM latest")
    assert latest.columns.tolist() == affectstream.views["latest"].names
    meaning = affectstream.describe("latest", tmp_path).set_index("column")
    assert meaning.loc["p_joy", "range"] == "0 to 1"
    assert meaning.loc["p_joy", "example"] == "0.700"
    names = affectstream.describe()["name"].tolist()
    assert names == [*affectstream.schemas, *affectstream.views]
    with pytest.raises(affectstream.AffectstreamError, match="no table or view latets"):
        affectstream.describe("latets")
