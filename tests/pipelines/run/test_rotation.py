"""Whole runs under keys that were rotated: the same consents, histories and people."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import schemas.keys
from pipelines.backfill.days import Days
from pipelines.backfill.embedded import rebuild
from pipelines.config import Config, load_config
from pipelines.run.config_check import find_problems
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import START_MS, write_bench_log
from pipelines.tables.query import open_tables, query
from schemas.errors import AffectstreamError
from schemas.events import RAW
from schemas.keys import read_keys
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import at, period, raw, record, write_key_file
from transforms.decoding.headers import read_headers
from transforms.pseudonymise import Pseudonyms

OLD = period("2020-01-01T00:00:00Z", "old")
BEGAN = dt.datetime.fromtimestamp(START_MS / 1000 + 20, dt.UTC)
NEW = period(BEGAN.isoformat(), "new")
THIRD = period((BEGAN + dt.timedelta(seconds=10)).isoformat(), "third")
MODELS = {"text": {"model": "constant"}}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rotation") / "log"
    return write_bench_log(folder, 2_000, subjects=12, rate=50).folder


def run(log: Path, folder: Path, *periods: Any, **settings: Any) -> Config:
    folder.mkdir(exist_ok=True)
    keys = write_key_file(folder / "keys.yaml", *periods)
    given = {"models": MODELS} | settings
    config = load_config(None, log=log, tables=folder / "tables", keys=keys, **given)
    replay(config, QUIET)
    return config


@pytest.fixture(scope="module")
def plain(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run under one key."""
    return run(log, tmp_path_factory.mktemp("plain"), OLD)


@pytest.fixture(scope="module")
def rotated(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same under keys that are rotated between two windows, in the middle of all sessions."""
    return run(log, tmp_path_factory.mktemp("rotated"), OLD, NEW)


EXACT = ("window_end", "purpose", "scenario", "expression", "action", "reason", "reply_id")
NEAR = ("confidence", "valence_shift", "arousal_shift", "intensity")


def decided(config: Config, known_as: dict[str, str]) -> list[dict[str, Any]]:
    """Return what was decided on whom and when, under the first reference of each subject."""
    rows = table(config.tables, "expression_decisions").to_pylist()
    found = [
        {"who": known_as.get(row["subject_ref"], row["subject_ref"])}
        | {name: row[name] for name in (*EXACT, *NEAR)}
        for row in rows
    ]
    return sorted(found, key=lambda row: (row["window_end"], row["who"], row["purpose"]))


def expected(config: Config) -> list[dict[str, Any]]:
    return [
        row | {name: pytest.approx(row[name], abs=1e-3) for name in NEAR}
        for row in decided(config, {})
    ]


def links(config: Config) -> dict[str, str]:
    """Return subject → its reference before, chained to the first."""
    pairs = {
        row["subject_ref"]: row["prior_subject_ref"]
        for row in table(config.tables, "emotion_features").to_pylist()
        if row["prior_subject_ref"]
    }
    return {new: pairs.get(old, old) for new, old in pairs.items()}


def test_decisions_go_on_over_a_rotation(
    log: Path, plain: Config, rotated: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = expected(plain)
    assert len(wanted) > 60
    assert decided(rotated, links(rotated)) == wanted
    twice = run(log, tmp_path / "twice", OLD, NEW, THIRD)
    assert decided(twice, links(twice)) == wanted
    monkeypatch.setattr(schemas.keys, "LINKED", dt.timedelta(0))
    broken = run(log, tmp_path / "broken", OLD, NEW)
    assert links(broken) == {}
    assert decided(broken, links(rotated)) != wanted, "without the link histories begin anew"


def test_rows_say_how_their_subject_was_known_before(plain: Config, rotated: Config) -> None:
    people = {row["subject_ref"] for row in table(plain.tables, "emotion_features").to_pylist()}
    sessions = {row["session_ref"] for row in table(plain.tables, "emotion_features").to_pylist()}
    for name, time in (
        ("emotion_features", "window_start"),
        ("expression_decisions", "window_end"),
    ):
        for row in table(rotated.tables, name).to_pylist():
            late = row[time] >= BEGAN + dt.timedelta(seconds=5 * (time == "window_end"))
            assert (row["prior_subject_ref"] is not None) == late
            assert (row["subject_ref"] not in people) == late
            assert row["prior_subject_ref"] is None or row["prior_subject_ref"] in people
            if name == "emotion_features":
                assert (row["prior_session_ref"] in sessions) == late


JOIN = """
WITH links AS (
  SELECT DISTINCT subject_ref, prior_subject_ref FROM emotion_features
  WHERE prior_subject_ref IS NOT NULL
)
SELECT coalesce(links.prior_subject_ref, f.subject_ref) AS person, count(*) AS windows
FROM emotion_features f LEFT JOIN links ON f.subject_ref = links.subject_ref
GROUP BY 1 ORDER BY 1
"""


def test_an_analyst_joins_over_a_rotation(plain: Config, rotated: Config) -> None:
    joined = query(rotated.tables, JOIN).to_pylist()
    assert joined == query(plain.tables, JOIN).to_pylist()
    by_ref = "SELECT subject_ref, count(*) FROM emotion_features GROUP BY 1"
    assert len(query(rotated.tables, by_ref)) == 2 * len(joined), "of two references each"
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "query.md").read_text()
    assert " ".join(JOIN.split()) in " ".join(page.split())


def test_a_backfill_over_a_rotation_makes_the_same_rows(rotated: Config) -> None:
    day = BEGAN.date()
    results: dict[Any, Any] = {}
    stand = open_tables(rotated.tables)
    rebuild(rotated, Days(day, day), stand, results, write=False)
    assert {key: result.differ for key, result in results.items()} == {
        ("emotion_features", day): 0,
        ("expression_decisions", day): 0,
    }


def test_history_from_the_tables_goes_on_over_a_rotation(
    log: Path, plain: Config, tmp_path: Path
) -> None:
    """The first 25 s land under both keys; a second run goes on from the tables after that."""
    whole = pq.read_table(log).cast(RAW).combine_chunks().to_batches()[0]
    cut = (START_MS + 25_000) * 1_000
    said = read_headers(whole["headers"], ["ce_time"])[0]["ce_time"]
    times = said.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    for name, mask in (("first", times < cut), ("second", times >= cut)):
        (tmp_path / name).mkdir()
        rows = whole.filter(pa.array(mask))
        pq.write_table(pa.Table.from_batches([rows]), tmp_path / name / "part-0.parquet")
    run(tmp_path / "first", tmp_path / "run", OLD, NEW)
    live = {"bootstrap": True}
    done = run(tmp_path / "second", tmp_path / "run", OLD, NEW, live=live)
    assert decided(done, links(done)) == expected(plain)


def test_a_replay_after_a_rotation_adds_no_row_of_before(log: Path, tmp_path: Path) -> None:
    config = run(log, tmp_path / "run", OLD)
    counted = {name: len(table(config.tables, name)) for name in ("observations", "runs")}
    later = period("2026-10-01T00:00:00Z", "later")
    run(log, tmp_path / "run", OLD, later)
    assert len(table(config.tables, "observations")) == counted["observations"]


def test_a_run_under_another_key_does_not_start(log: Path, tmp_path: Path) -> None:
    config = run(log, tmp_path / "run", OLD, NEW)
    before = {p.name: len([*p.rglob("*")]) for p in Path(config.tables).iterdir()}
    for periods in ((OLD,), (NEW,), (OLD, THIRD), (period("2020-01-01T00:00:00Z", "other"), NEW)):
        with pytest.raises(AffectstreamError, match="were made under other keys"):
            run(log, tmp_path / "run", *periods)
    assert {p.name: len([*p.rglob("*")]) for p in Path(config.tables).iterdir()} == before
    path = tmp_path / "config.yaml"
    path.write_text(f"log: {log}\ntables: {config.tables}\nkeys: {config.keys}\n")
    (problem,) = find_problems(path)
    assert "were made under other keys" in problem


CONSENT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}


def consents(folder: Path, *periods: Any) -> dict[str, list[float]]:
    """Return at which seconds events passed, by who they are of; keys change at 20 s."""
    rows = [
        *(
            record("consent", n, CONSENT, subject=who, id=who)
            for n, who in enumerate(("alice", "bob"))
        ),
        *(
            record("text", n, {"text": "hello"}, subject=who, id=f"{who}-{n}")
            for n in range(5, 60, 5)
            for who in ("alice", "bob", "carol")
        ),
        record("consent", 30, CONSENT | {"granted": False}, subject="alice", region="EU"),
        record("consent", 45, CONSENT, subject="alice", id="again"),
        record("erasure", 40, {}, subject=" BOB", region="CN"),
        record("consent", 50, CONSENT, subject="carol", id="carol"),
    ]
    placed = [row | {"offset": n} for n, row in enumerate(rows)]
    (folder / "log").mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([raw(*placed)]), folder / "log" / "part-0.parquet")
    config = run(folder / "log", folder, *periods, models=CONSTANT)
    pseudonyms = Pseudonyms(read_keys(config.keys))
    names = {
        ref: who for who in ("alice", "bob", "carol") for ref in pseudonyms.references(who, ["US"])
    }
    found: dict[str, list[float]] = {}
    for row in table(config.tables, "observations").to_pylist():
        second = (row["event_time"] - dt.datetime.fromisoformat(at(0))).total_seconds()
        found.setdefault(names[row["subject_ref"]], []).append(second)
    return {who: sorted(seconds) for who, seconds in found.items()}


def test_consent_and_erasure_hold_over_a_rotation(tmp_path: Path) -> None:
    wanted = {
        "alice": [5, 10, 15, 20, 25, 45, 50, 55],
        "bob": [5, 10, 15, 20, 25, 30, 35],
        "carol": [50, 55],
    }
    assert consents(tmp_path / "plain", OLD) == wanted
    second = [period(at(n), f"second {n}") for n in (20, 35)]
    assert consents(tmp_path / "once", OLD, second[0]) == wanted
    assert consents(tmp_path / "twice", OLD, *second) == wanted
