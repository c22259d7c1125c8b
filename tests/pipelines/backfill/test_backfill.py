"""Backfill: what landed is rebuilt from observations, compared, and replaced where it differs."""

import datetime as dt
import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from deltalake import DeltaTable
from rich.console import Console

from pipelines.backfill import embedded
from pipelines.backfill.backfill import backfill
from pipelines.backfill.compare import LACKING, NEW, differences
from pipelines.backfill.days import Days, parse_days
from pipelines.backfill.results import print_results
from pipelines.config import Config, load_config
from pipelines.run.replay import replay
from pipelines.tables.changes import BACKFILL, reasons
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.live_runs import QUIET, same, table
from tests.support.midnights import FIRST, write_midnights

FEATURES, DECISIONS = "emotion_features", "expression_decisions"
DAY = dt.timedelta(days=1)
ALL = Days(FIRST, FIRST + 2 * DAY)
MIDDLE = Days(FIRST + DAY, FIRST + DAY)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Config:
    """Tables of a log over two midnights."""
    folder = tmp_path_factory.mktemp("midnights")
    log = write_midnights(folder, 2)
    config = load_config(None, log=log, tables=folder / "tables", keys=keys)
    replay(config, QUIET)
    return config


@pytest.fixture
def config(landed: Config, tmp_path: Path) -> Config:
    """The same with tables of its own."""
    shutil.copytree(landed.tables, tmp_path / "tables")
    return landed.model_copy(update={"tables": str(tmp_path / "tables")})


def run(config: Config, days: Days, *, write: bool) -> dict[tuple[str, dt.date], int]:
    rebuild = partial(embedded.rebuild, write=write)
    results = backfill(config, days, rebuild, QUIET, write=write)
    return {key: result.differ for key, result in results.items()}


def opened(config: Config, name: str) -> DeltaTable:
    return DeltaTable(f"{config.tables}/{name}")


def set_column(config: Config, name: str, column: str, sql: str, where: str) -> None:
    opened(config, name).update({column: sql}, predicate=where)


def test_what_landed_follows_from_the_observations(landed: Config) -> None:
    found = run(landed, ALL, write=False)
    assert found == {(name, day): 0 for name in (FEATURES, DECISIONS) for day in ALL}
    decided = table(landed.tables, DECISIONS)
    assert set(decided["reason"].to_pylist()) >= {"settling", "scenario_rule", "default"}
    features = table(landed.tables, FEATURES)
    assert features["game_result"].null_count < len(features), "context is among it"
    events = sum(features[f"n_{m}"].to_numpy() for m in ("text", "voice", "face", "motion"))
    assert (features["revision"].to_numpy() > events).any()


def test_histories_go_on_from_the_day_before(config: Config) -> None:
    assert sum(run(config, MIDDLE, write=False).values()) == 0
    opened(config, FEATURES).delete(f"event_date = '{FIRST}'")
    found = run(config, MIDDLE, write=False)
    assert found[FEATURES, FIRST + DAY] == 0
    assert found[DECISIONS, FIRST + DAY] > 10, "without them decisions differ"


def test_rows_that_differ_are_named_by_their_columns(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    day = FIRST + DAY
    chosen = table(config.tables, FEATURES).filter(
        pc.equal(table(config.tables, FEATURES)["event_date"], pa.scalar(day))
    )["window_id"].to_pylist()  # fmt: skip
    set_column(config, FEATURES, "valence", "0.77", f"window_id = '{chosen[0]}'")
    opened(config, FEATURES).delete(f"window_id = '{chosen[1]}'")
    rebuild = partial(embedded.rebuild, write=False)
    results = backfill(config, MIDDLE, rebuild, QUIET, write=False)
    rows = results[FEATURES, day].examples.to_pylist()
    what = {row["row_id"]: row["what"] for row in rows}
    assert what == {chosen[0]: "valence", chosen[1]: NEW}
    print_results(results, Console(width=120), wrote=False)
    assert f"{FEATURES} {chosen[0]}: valence" in capsys.readouterr().out


def test_days_that_differ_are_replaced_and_the_others_left(config: Config, landed: Config) -> None:
    set_column(config, FEATURES, "confidence", "0.5", f"event_date = '{FIRST + DAY}'")
    opened(config, DECISIONS).delete("action = 'observe'")
    before = {name: opened(config, name).version() for name in TABLES}
    assert sum(run(config, ALL, write=True).values()) > 100
    for name in (FEATURES, DECISIONS):
        same(table(config.tables, name), table(landed.tables, name))
    features, decisions = opened(config, FEATURES), opened(config, DECISIONS)
    assert features.version() == before[FEATURES] + 1, "two days of features were right"
    written = range(before[DECISIONS] + 1, decisions.version() + 1)
    assert reasons(decisions, written) == dict.fromkeys(written, BACKFILL)
    assert sum(run(config, ALL, write=True).values()) == 0
    assert opened(config, FEATURES).version() == features.version()


def test_context_is_carried_from_the_rows_that_stand(config: Config, landed: Config) -> None:
    set_column(config, FEATURES, "arousal", "0.1", "true")
    run(config, ALL, write=True)
    same(table(config.tables, FEATURES), table(landed.tables, FEATURES))
    opened(config, FEATURES).delete(f"event_date = '{FIRST + DAY}'")
    run(config, MIDDLE, write=True)
    rebuilt, known = (table(c.tables, FEATURES) for c in (config, landed))
    found = differences(TABLES[FEATURES], rebuilt, known)
    parts = {part for what in found["what"].to_pylist() for part in what.split()}
    assert parts == {"revision", "game_result", "activity", "lesson_state"}, (
        "no table has it any more"
    )


def test_an_erasure_meanwhile_is_not_undone(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_column(config, FEATURES, "confidence", "0.5", "true")
    erased = table(config.tables, FEATURES)["subject_ref"][0].as_py()
    compare, calls = embedded.differences, []

    def erase_meanwhile(*given: object) -> pa.Table:
        if not calls:
            for name in ("observations", FEATURES, DECISIONS):
                opened(config, name).delete(f"subject_ref = '{erased}'")
        calls.append(given)
        return compare(*given)

    monkeypatch.setattr(embedded, "differences", erase_meanwhile)
    run(config, ALL, write=True)
    for name in (FEATURES, DECISIONS):
        rows = table(config.tables, name)
        assert erased not in rows["subject_ref"].to_pylist()
        assert len(rows) > 300
    assert set(table(config.tables, FEATURES)["confidence"].to_pylist()) != {0.5}


def test_a_day_whose_observations_are_gone_is_left_as_it_is(config: Config) -> None:
    opened(config, "observations").delete(f"event_date = '{FIRST}'")
    version = opened(config, FEATURES).version()
    said = f"the features of {FIRST} were made of .* observations, and 0 stand"
    with pytest.raises(AffectstreamError, match=said):
        run(config, Days(FIRST, FIRST), write=True)
    assert opened(config, FEATURES).version() == version
    found = run(config, Days(FIRST, FIRST), write=False)
    assert found[FEATURES, FIRST] == 199


def test_decisions_that_no_table_can_give_back_are_only_compared(
    config: Config, tmp_path: Path
) -> None:
    policy = yaml.safe_load(config.scenarios.read_text())
    policy["scenarios"]["game"]["fear"]["at_once"] = {"door_2": "open"}
    path = tmp_path / "scenarios.yaml"
    path.write_text(yaml.safe_dump(policy))
    asking = config.model_copy(update={"scenarios": path})
    with pytest.raises(AffectstreamError, match="asks at once for door_2, which no table holds"):
        run(asking, ALL, write=True)
    assert sum(run(asking, ALL, write=False).values()) == 0


def test_a_place_without_tables_gets_none(config: Config, tmp_path: Path) -> None:
    elsewhere = config.model_copy(update={"tables": str(tmp_path / "elsewhere")})
    with pytest.raises(AffectstreamError, match="no table under"):
        run(elsewhere, ALL, write=True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_day_that_is_not_over_is_no_past_day(config: Config) -> None:
    today = dt.datetime.now(dt.UTC).date()
    for last in (today, dt.date.max):
        with pytest.raises(AffectstreamError, match="is not over: its rows still change"):
            run(config, Days(FIRST, last), write=False)


def test_a_day_that_an_old_log_is_replayed_into_is_not_over(config: Config) -> None:
    noon = dt.datetime.combine(FIRST + DAY, dt.time(12), dt.UTC)
    offset = (noon - dt.datetime.now(dt.UTC)).total_seconds()
    kafka = config.kafka.model_copy(update={"clock_offset_s": offset})
    behind = config.model_copy(update={"kafka": kafka})
    with pytest.raises(AffectstreamError, match=f"{FIRST + DAY} is not over"):
        run(behind, MIDDLE, write=False)
    assert sum(run(behind, Days(FIRST, FIRST), write=False).values()) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("2026-09-20..", None),
        ("2026-09-20", None),
        ("2026-09-22..2026-09-20", "ends before it begins: write 2026-09-20..2026-09-22"),
        ("yesterday", "write it as 2026-11-01..2026-11-07"),
        ("2026-02-30", "write it as"),
        ("20260920", "write it as"),
        ("0001-01-01", "begins on 0001-01-01: there are no events before 1970-01-02"),
        ("0001-01-01..9999-12-31", "there are no events before 1970-01-02"),
    ],
)
def test_days_are_written_as_a_range(given: str, said: str | None) -> None:
    if said is None:
        assert [*parse_days(given)] == [dt.date(2026, 9, 20)]
        return
    with pytest.raises(AffectstreamError, match=said):
        parse_days(given)


def test_rows_that_only_one_side_has_are_named() -> None:
    schema = TABLES[DECISIONS].schema
    day = FIRST
    one, other = (
        pa.Table.from_pylist(
            [dict.fromkeys(schema.names) | {"decision_id": name, "event_date": day}], schema
        )
        for name in ("a", "b")
    )
    found = differences(TABLES[DECISIONS], one, other).to_pylist()
    assert [(row["row_id"], row["what"]) for row in found] == [("a", NEW), ("b", LACKING)]
    assert len(differences(TABLES[DECISIONS], one, one)) == 0
    near = one.set_column(
        schema.get_field_index("confidence"), schema.field("confidence"), pa.array([0.5], "float")
    )
    assert differences(TABLES[DECISIONS], one, near)["what"].to_pylist() == ["confidence"]
