"""One session for two purposes, through the whole graph: nothing of one reaches the other."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import load_config
from pipelines.run.replay import replay
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import raw, record

FRAME = {"weights": {"jawOpen": 0.5}, "head": {}}
PURPOSES = ("research", "avatar_mirroring")
GAME = {"scenario": "game"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """Of three motions for research, and of a text and a lost game for mirroring."""
    root = tmp_path_factory.mktemp("purposes")
    said = {"granted": True, "purposes": list(PURPOSES), "modalities": ["text", "motion"]}
    rows = [
        record("consent", 0, said, time="2026-09-01T09:00:00Z"),
        *(record("motion", n, FRAME, purpose="research", **GAME) for n in (0, 1, 2)),
        record("text", 3, {"text": "oh no", "lang": "en"}, **GAME),
        record("context", 4, {"activity": "duel", "game_result": "lost"}, **GAME),
    ]
    (root / "log").mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), root / "log" / "part-0.parquet")
    config = load_config(None, log=root / "log", tables=root / "tables", keys=keys, models=CONSTANT)
    replay(config, QUIET)
    return root / "tables"


def test_each_purpose_has_its_window_and_the_context_that_was_sent_for_it(tables: Path) -> None:
    rows = table(tables, "emotion_features").to_pylist()
    found = {
        row["purpose"]: (row["n_motion"], row["n_text"], row["revision"], row["game_result"])
        for row in rows
    }
    assert len(rows) == 2
    assert found == {"research": (3, 0, 3, None), "avatar_mirroring": (0, 1, 2, "lost")}


def test_each_purpose_has_its_decision(tables: Path) -> None:
    features, decided = (
        {row["window_id"]: row["purpose"] for row in table(tables, name).to_pylist()}
        for name in ("emotion_features", "expression_decisions")
    )
    assert decided == features
    assert set(decided.values()) == set(PURPOSES)
