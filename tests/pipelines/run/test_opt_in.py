"""Avatars through the whole graph: they move for who opted in, until that is withdrawn, or not."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.backfill.backfill import backfill
from pipelines.backfill.days import parse_days
from pipelines.backfill.embedded import rebuild
from pipelines.config import load_config
from pipelines.run.replay import replay
from schemas.avatar.vrm import AT_REST, PRESETS
from tests.support.live_runs import QUIET, table
from tests.support.records import START, raw, record

SMILE = {name: 0.95 for name in ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft",
                                 "cheekSquintRight")}  # fmt: skip
FRAME = {"weights": SMILE, "head": {}}
REST = tuple(AT_REST[name] for name in PRESETS)
SECONDS = 20
"""Four windows of 5 s; ann withdraws in the third."""


def said(granted: bool, *purposes: str) -> dict[str, Any]:
    return {"granted": granted, "purposes": list(purposes), "modalities": ["motion"]}


def records() -> list[dict[str, Any]]:
    early = {"time": "2026-09-01T09:00:00Z"}
    mirroring, both = ("avatar_mirroring",), ("avatar_mirroring", "show_to_others")
    rows = [
        record("consent", 0, said(True, *both), subject="ann", **early),
        record("consent", 1, said(True, *mirroring), subject="bob", **early),
        record("consent", 2, said(True, "*"), subject="eve", **early),
        record("consent", 11, said(False, "show_to_others"), subject="ann", id="w"),
    ]
    rows += [
        record("motion", n, FRAME, subject=who, id=f"{who}-{n}")
        for n in range(SECONDS)
        for who in ("ann", "bob", "eve")
    ]
    return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    pq.write_table(pa.Table.from_batches([raw(*records())]), folder / "part-0.parquet")
    return folder


def run(log: Path, root: Path, keys: Path, **decisions: Any) -> dict[str, list[dict[str, Any]]]:
    """Replay, and return each subject's decisions in order; ann's are the first."""
    constant = {name: {"model": "constant"} for name in ("text", "voice", "face")}
    config = load_config(
        None, log=log, tables=root, keys=keys, models=constant, decisions=decisions
    )
    replay(config, QUIET)
    assert not len(table(root, "dead_letters"))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table(root, "expression_decisions").sort_by("window_end").to_pylist():
        found.setdefault(row["subject_ref"], []).append(row)
    return found


def moved(rows: list[dict[str, Any]]) -> list[bool]:
    return [max(row["avatar_weights"]) > 0 for row in rows]


@pytest.fixture(scope="module")
def shown(log: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables") / "shown"
    run(log, root, keys)
    return root


def test_an_avatar_moves_for_who_opted_in_and_stops_within_a_window(shown: Path) -> None:
    rows = table(shown, "expression_decisions").sort_by("window_end").to_pylist()
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_subject.setdefault(row["subject_ref"], []).append(row)
    assert {row["expression"] for row in rows} == {"joy"}, "of all of them something is estimated"
    assert sorted(map(moved, by_subject.values())) == [[False] * 4, [False] * 4,
                                                       [True, True, False, False]]  # fmt: skip
    (ann,) = (rows for rows in by_subject.values() if any(moved(rows)))
    assert [row["action"] for row in ann] == ["mirror", "mirror", "observe", "observe"]
    assert [row["reason"] for row in ann] == ["default", "default", "not_opted_in", "not_opted_in"]
    withdrawn_at = START + dt.timedelta(seconds=11)
    assert max(row["window_end"] for row in ann if moved([row])[0]) <= withdrawn_at
    hidden = [row for rows in by_subject.values() for row in rows if not moved([row])[0]]
    assert {row["intensity"] for row in hidden} == {0.0}
    assert {row["action"] for row in hidden} == {"observe"}
    assert {tuple(row["preset_weights"]) for row in hidden} == {REST}
    assert [row["avatar_preset"] for row in ann] == ["happy", "happy", "neutral", "neutral"]


def test_one_switch_turns_all_avatars_off(log: Path, keys: Path, tmp_path: Path) -> None:
    found = run(log, tmp_path, keys, avatar=False)
    rows = [row for rows in found.values() for row in rows]
    assert len(rows) == 12
    assert not any(moved(rows))
    assert {row["reason"] for row in rows} == {"avatar_off"}
    assert {row["action"] for row in rows} == {"observe"}
    assert {tuple(row["preset_weights"]) for row in rows} == {REST}


def test_a_backfill_decides_alike(shown: Path, keys: Path) -> None:
    config = load_config(None, tables=shown, keys=keys)

    def check(*args: Any) -> None:
        rebuild(*args, write=False)

    days = parse_days(str(START.date()))
    results = backfill(config, days, check, QUIET, write=False)
    assert {name: result.differ for (name, _), result in results.items()} == {
        "emotion_features": 0, "expression_decisions": 0,
    }  # fmt: skip
