"""The whole graph on the built-in sample, with the shipped models and real tables."""

import json
from collections import Counter
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from rich.console import Console

from pipelines import sinks
from pipelines.affect import build_pipeline
from pipelines.config import Config, load_config
from pipelines.run.consumed import verify_consumed
from pipelines.run.replay import ReplayResult, first_day, replay
from pipelines.sessionlogs.sample import write_sample
from pipelines.sessionlogs.writer import SessionLog
from pipelines.show.accuracy import GroundTruth, measure
from pipelines.tables.check import check_tables
from schemas.errors import AffectstreamError, DeadLetterCode
from schemas.events import RAW
from schemas.stages import DEAD
from schemas.table import NO_DAY, Table
from schemas.tables import TABLES
from tests.support.live_runs import same
from tests.support.records import START, raw, record
from transforms.decode import DecodeEvents
from transforms.sources import recorded
from transforms.sources.log import ReadLog

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SessionLog:
    return write_sample(tmp_path_factory.mktemp("sample") / "session")


@pytest.fixture(scope="module")
def config(
    sample: SessionLog, keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, ReplayResult]:
    root = tmp_path_factory.mktemp("tables")
    settings = load_config(None, log=sample.folder, tables=root, keys=keys)
    return settings, replay(settings, QUIET)


def table(settings: Config, name: str) -> pa.Table:
    rows = DeltaTable(f"{settings.tables}/{name}").to_pyarrow_table()
    return rows.sort_by([(TABLES[name].row_id, "ascending")])


def test_every_record_is_accounted_for(sample: SessionLog, config) -> None:
    settings, done = config
    rows = {name: len(table(settings, name)) for name in TABLES}
    assert done.records == sample.records
    assert rows["runs"] == 1
    assert rows.pop("erasures") == 0
    assert all(rows.values()), f"an empty table: {rows}"
    stages = done.stages
    decoded = stages["DecodeEvents"]["rows_out"]
    assert (
        decoded + Counter(table(settings, "dead_letters")["stage"].to_pylist())["DecodeEvents"]
        == sample.records
    )
    gate = stages["GateByPolicy"]
    governed = len(set(table(settings, "consent_ledger")["event_id"].to_pylist()))
    assert gate["rows_in"] == gate["rows_out"] + rows["refusals"] + governed
    for name in TABLES:
        ids = table(settings, name)[TABLES[name].row_id].to_pylist()
        assert len(set(ids)) == len(ids), f"{name} has a row twice"


def test_planted_faults_are_found_and_nothing_else_is(sample: SessionLog, config) -> None:
    found = Counter(table(config[0], "dead_letters")["code"].to_pylist())
    codes = {str(code) for code in DeadLetterCode}
    expected = {code: n for code, n in sample.planted.items() if code in codes}
    assert found == expected
    refused = Counter(table(config[0], "refusals")["code"].to_pylist())
    assert refused == {c: n for c, n in sample.planted.items() if c not in codes | {"duplicate"}}
    seen = config[1].stages["Land:observations"]
    assert seen["rows_in"] - seen["rows_out"] == sample.planted["duplicate"] > 0


def test_window_counts_are_those_of_the_events(config) -> None:
    seen = table(config[0], "observations").to_pandas()
    features = table(config[0], "emotion_features").to_pandas()
    start = seen["event_time"].dt.floor("5s")
    counted = seen.groupby(["subject_ref", "session_ref", start, "modality"]).size()
    columns = [f"n_{m}" for m in ("text", "voice", "face", "motion")]
    assert features[columns].to_numpy().sum() == len(seen)
    for row in features.sample(40, random_state=1).itertuples():
        for modality in ("text", "voice", "face", "motion"):
            key = (row.subject_ref, row.session_ref, row.window_start, modality)
            assert getattr(row, f"n_{modality}") == counted.get(key, 0)
    np.testing.assert_allclose([sum(s) for s in features["scores"]], 1, atol=1e-4)
    decided = table(config[0], "expression_decisions")
    assert set(decided["window_id"].to_pylist()) == set(features["window_id"])


def test_a_second_run_adds_no_row(config) -> None:
    settings, _ = config
    before = {name: DeltaTable(f"{settings.tables}/{name}").version() for name in TABLES}
    replay(settings, QUIET)
    assert before == {name: DeltaTable(f"{settings.tables}/{name}").version() for name in TABLES}


def test_a_run_lands_in_the_partition_of_its_log(config) -> None:
    (day,) = table(config[0], "runs")["event_date"].to_pylist()
    assert day in table(config[0], "observations")["event_date"].to_pylist()


def test_the_day_of_a_log_is_that_of_its_first_record_with_a_time(tmp_path: Path) -> None:
    kind = RAW.field("timestamp").type
    never = [None, -1, 0, -(2**62), -90_000_000_000_000, 2**63 - 1, 9 * 10**15]
    rows = raw(*(record("text", n, {"text": "x"}) for n in range(len(never))))
    nameless = rows.set_column(3, RAW.field(3), pa.array(never, pa.int64()).cast(kind))
    pq.write_table(pa.Table.from_batches([nameless]), tmp_path / "part-0.parquet")
    assert first_day(tmp_path) == NO_DAY
    pq.write_table(
        pa.Table.from_batches([nameless, rows]), tmp_path / "part-1.parquet", row_group_size=3
    )
    assert first_day(tmp_path) == START.date()


def test_an_empty_log_is_one_sentence(config, tmp_path: Path) -> None:
    pq.write_table(RAW.empty_table(), tmp_path / "part-0.parquet")
    with pytest.raises(AffectstreamError, match="no record"):
        replay(config[0].model_copy(update={"log": tmp_path}), QUIET)


def test_another_order_and_other_batches_give_the_same_tables(
    sample: SessionLog, config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = config
    whole = pa.concat_tables(
        pq.read_table(path) for path in sorted(sample.folder.glob("*.parquet"))
    )
    order = np.random.default_rng(3).permutation(len(whole))
    shuffled = whole.take(pa.array(order)).cast(RAW)
    (tmp_path / "log").mkdir()
    for part in range(3):
        piece = shuffled.take(pa.array(np.arange(part, len(whole), 3)))
        pq.write_table(piece, tmp_path / "log" / f"part-{part}.parquet", row_group_size=500)
    monkeypatch.setattr(recorded, "MAX_ROWS", 311)
    monkeypatch.setattr(recorded, "MAX_BYTES", 200_000)
    other = settings.model_copy(update={"log": tmp_path / "log", "tables": tmp_path / "tables"})
    replay(other, QUIET)
    for name in set(TABLES) - {"runs"}:
        same(table(settings, name), table(other, name))


def test_no_raw_text_subject_or_media_lands(sample: SessionLog, config) -> None:
    settings, _ = config
    records = pa.concat_tables(pq.read_table(path) for path in sample.folder.glob("*.parquet"))
    secrets = {key.decode() for key in records["key"].to_pylist()}
    secrets |= {text for value in records["value"].to_pylist() if (text := _text(value))}
    assert len(secrets) > 60
    media = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"fLaC", b"OggS", b"WAVEfmt ")
    files = [path for path in Path(settings.tables).rglob("*") if path.is_file()]
    assert len(files) > len(TABLES)
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += str(pq.ParquetFile(path).read().to_pylist()).encode()
        assert not any(magic in content for magic in media), path
        leaked = [secret for secret in secrets if secret.encode() in content]
        assert not leaked, (path, leaked)


def _text(value: bytes | None) -> str | None:
    try:
        event = json.loads(value or b"")
        text = event.get("data", event)["text"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return text if isinstance(text, str) else None


def test_the_landed_tables_meet_their_expectations(config, tmp_path: Path) -> None:
    verdicts = check_tables(config[0].tables, tmp_path / "docs")
    assert {verdict.table for verdict in verdicts} == set(TABLES)
    assert [verdict for verdict in verdicts if not verdict.ok] == []


def test_the_estimates_beat_chance_by_far(sample: SessionLog, config) -> None:
    accuracy = measure(config[0].tables, GroundTruth(sample.truth, config[0].keys))
    motion = next(score for score in accuracy.modalities if score.name == "motion")
    assert motion.accuracy > 0.6
    assert accuracy.fused.accuracy > accuracy.fused.chance + 0.1


def test_a_graph_with_a_dangling_output_does_not_build(config) -> None:
    settings, _ = config
    p = beam.Pipeline()
    p | ReadLog(log=settings.log) | DecodeEvents(keys=settings.keys)
    with pytest.raises(AffectstreamError, match="dead_letters"):
        verify_consumed(p)
    build_pipeline(beam.Pipeline(), settings)


def test_a_graph_whose_dead_letters_have_no_sink_does_not_build(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.Table.from_batches([raw(record("text", 0, {"text": "hello"}))])
    pq.write_table(rows, tmp_path / "part-0.parquet")
    settings = load_config(None, log=tmp_path, tables=tmp_path / "tables", keys=keys)
    monkeypatch.setattr(sinks, "SINKS", (_all_but_dead_letters,))
    with pytest.raises(AffectstreamError, match="dead_letters"):
        build_pipeline(beam.Pipeline(), settings)


def _all_but_dead_letters(table: Table, config: Config) -> beam.PTransform | None:
    return None if table.name == DEAD else sinks.delta(table, config)
