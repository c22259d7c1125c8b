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
from pipelines.backfill.objections import left_out, read_objections
from pipelines.backfill.results import print_results
from pipelines.config import Config, load_config
from pipelines.run.replay import replay
from pipelines.serve.follow import Follower, Position
from pipelines.tables.changes import BACKFILL, ERASURE, reasons
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.live_runs import QUIET, same, table
from tests.support.midnights import FIRST, write_midnights
from tests.support.served import land
from transforms.landing.prepare import prepare_tables

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


def set_aside(config: Config, name: str, where: str) -> int:
    """Delete rows that a backfill may rebuild; return how many."""
    done = opened(config, name).delete(f"({where}) AND {rebuildable(config)}")
    return int(done["num_deleted_rows"])


def rebuildable(config: Config) -> str:
    """Select the rows of subjects who have not objected."""
    objected = ", ".join(f"'{ref}'" for ref in read_objections(config.tables))
    return f"subject_ref NOT IN ({objected})"


def set_column(config: Config, name: str, column: str, sql: str, where: str) -> None:
    """Damage rows that a backfill may rebuild."""
    opened(config, name).update({column: sql}, predicate=f"({where}) AND {rebuildable(config)}")


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
    rows = table(config.tables, FEATURES)
    objected = pc.is_in(rows["subject_ref"], pa.array(list(read_objections(config.tables))))
    that_day = pc.equal(rows["event_date"], pa.scalar(day))
    chosen = rows.filter(pc.and_(that_day, pc.invert(objected)))["window_id"].to_pylist()
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
    missing = set_aside(config, DECISIONS, "action = 'observe'")
    assert missing > 50
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
    set_aside(config, FEATURES, f"event_date = '{FIRST + DAY}'")
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
    said = f"features of {FIRST} 23:58:25 were made of [1-9] observations of a subject, and 0 stand"
    with pytest.raises(AffectstreamError, match=said):
        run(config, Days(FIRST, FIRST), write=True)
    assert opened(config, FEATURES).version() == version
    found = run(config, Days(FIRST, FIRST), write=False)
    assert found[FEATURES, FIRST] == 180, "the other 19 are of a subject who objected"


def test_features_that_are_lost_hide_no_observations_that_are(config: Config) -> None:
    midnight = f"{FIRST + DAY} 00:00:00+00:00"
    lost = opened(config, FEATURES).delete(f"event_date = '{FIRST}'")["num_deleted_rows"]
    where = f"event_time >= '{midnight}' AND event_time < '{FIRST + DAY} 00:00:10+00:00'"
    gone = opened(config, "observations").delete(where)["num_deleted_rows"]
    earlier = opened(config, FEATURES).delete(f"window_start >= '{FIRST + DAY} 00:01:00+00:00'")
    assert min(lost, gone, earlier["num_deleted_rows"]) > 10
    version = opened(config, FEATURES).version()
    with pytest.raises(AffectstreamError, match=f"the features of {FIRST + DAY} 00:00:00 were"):
        run(config, MIDDLE, write=True)
    assert opened(config, FEATURES).version() == version


@pytest.mark.parametrize("write", [True, False])
def test_windows_of_another_length_are_refused(config: Config, write: bool) -> None:
    windows = config.windows.model_copy(update={"length_s": 10.0})
    other = config.model_copy(update={"windows": windows})
    version = opened(config, FEATURES).version()
    with pytest.raises(AffectstreamError, match=r"are 5 s long, and windows\.length_s is 10"):
        run(other, MIDDLE, write=write)
    assert opened(config, FEATURES).version() == version


def test_who_objected_is_not_rebuilt_and_rows_that_stand_are_left(config: Config) -> None:
    objections = read_objections(config.tables)
    landed = table(config.tables, FEATURES)
    (who,) = set(objections) & set(landed["subject_ref"].to_pylist())
    assert objections[who] >= FIRST + 2 * DAY
    for name in (FEATURES, DECISIONS):
        opened(config, name).delete(f"subject_ref = '{who}' AND event_date = '{FIRST}'")
    opened(config, FEATURES).update({"valence": "0.77"}, predicate=f"subject_ref = '{who}'")
    set_column(config, FEATURES, "confidence", "0.5", "true")
    before = rows_of(config, who)
    found = run(config, ALL, write=True)
    assert min(found[FEATURES, day] for day in ALL) > 50, found
    for name, rows in rows_of(config, who).items():
        assert str(FIRST) not in {str(day) for day in rows["event_date"].to_pylist()}
        assert rows.num_rows > 10
        same(rows, before[name])


def rows_of(config: Config, who: str) -> dict[str, pa.Table]:
    tables = {name: table(config.tables, name) for name in (FEATURES, DECISIONS)}
    return {name: rows.filter(pc.equal(rows["subject_ref"], who)) for name, rows in tables.items()}


def test_an_objection_counts_in_any_spelling_for_the_days_up_to_it(tmp_path: Path) -> None:
    def word(ref: str, fold: str, action: str, day: dt.date) -> dict[str, object]:
        at = dt.datetime.combine(day, dt.time(12), dt.UTC)
        return {"ledger_id": f"{ref}{day}", "subject_ref": ref, "person_ref": ref,
                "person_fold": fold, "action": action, "event_time": at, "event_date": day,
                "recorded_at": at, "purpose": "*", "modality": "*"}  # fmt: skip

    prepare_tables(tmp_path)
    assert read_objections(tmp_path) == {}
    land(
        tmp_path,
        "consent_ledger",
        word("Ann", "ann", "granted", FIRST),
        word("ANN", "ann", "erasure_requested", FIRST + DAY),
        word("ann", "ann", "granted", FIRST + 2 * DAY),
        word("ben", "ben", "withdrawn", FIRST),
        word("cy", "cy", "granted", FIRST),
    )
    objections = read_objections(tmp_path)
    assert objections == dict.fromkeys(("Ann", "ANN", "ann"), FIRST + DAY) | {"ben": FIRST}
    assert left_out(objections, FIRST + DAY) == {"Ann", "ANN", "ann"}
    assert left_out(objections, FIRST + 2 * DAY) == set()


def lose_a_subject(config: Config) -> str:
    """Delete the features and decisions of a subject who has not objected; return who it is."""
    rows = table(config.tables, FEATURES)
    who = sorted(set(rows["subject_ref"].to_pylist()) - set(read_objections(config.tables)))[0]
    for name in (FEATURES, DECISIONS):
        opened(config, name).delete(f"subject_ref = '{who}'")
    return who


@pytest.mark.parametrize("step", ["_features", "write_deltalake"])
@pytest.mark.parametrize("at", [0, 1])
def test_who_is_erased_meanwhile_does_not_come_back(
    config: Config, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    """In the first and second call of what reads observations, and of what commits."""
    who = lose_a_subject(config)
    since = {name: opened(config, name).version() for name in (FEATURES, DECISIONS)}
    do, calls = getattr(embedded, step), []

    def erase_first(*given: object, **more: object) -> object:
        done = do(*given, **more) if step == "_features" else None
        if len(calls) == at:
            for name in ("observations", FEATURES, DECISIONS):
                opened(config, name).delete(f"subject_ref = '{who}'")
        calls.append(step)
        return do(*given, **more) if done is None else done

    monkeypatch.setattr(embedded, step, erase_first)
    run(config, ALL, write=True)
    assert len(calls) > at
    for name in ("observations", FEATURES, DECISIONS):
        assert who not in table(config.tables, name)["subject_ref"].to_pylist()
    if step == "write_deltalake":  # it was written once, so followers are to hear of the erasure
        name = (FEATURES, DECISIONS)[at]
        stand = opened(config, name)
        said = reasons(stand, range(since[name] + 1, stand.version() + 1))
        assert [*said.values()][:2] == [BACKFILL, ERASURE]
        here = Position(str(stand.metadata().id), since[name])
        changes = Follower(config.tables, name).read(here)
        assert changes is not None
        assert changes.erased == (who,)


def test_decisions_that_no_table_can_give_back_are_only_compared(
    config: Config, tmp_path: Path
) -> None:
    policy = yaml.safe_load(config.scenarios.read_text())
    policy["scenarios"]["game"]["fear"]["at_once"] = {"door_2": "open"}
    path = tmp_path / "scenarios.yaml"
    path.write_text(yaml.safe_dump(policy))
    asking = config.model_copy(update={"scenarios": path})
    with pytest.raises(AffectstreamError, match="asks for door_2, which no table holds"):
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
