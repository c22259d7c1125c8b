"""A session for each event, through the whole graph: what is too much is a dead letter."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import load_config
from pipelines.run.replay import replay
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import at, raw, record

EVENTS, PER_SECOND = 60, 4
TIME = "2026-09-01T10:00:01Z"
MOST = 5 * PER_SECOND


def test_each_event_is_a_row_of_features_or_a_dead_letter(tmp_path: Path, keys: Path) -> None:
    said = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
    rows = [record("consent", 0, said, subject=who, time=at(-60)) for who in "ab"]
    rows += [
        record(
            "text", n, {"text": "hi"}, subject="a", sessionid=f"s{n}", time="2026-09-01T10:00:01Z"
        )
        for n in range(1, EVENTS + 1)
    ]
    rows += [record("text", 99, {"text": "hi"}, subject="b", time=TIME)]
    (tmp_path / "log").mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), tmp_path / "log" / "part-0.parquet")
    config = load_config(
        None, log=tmp_path / "log", tables=tmp_path / "tables", keys=keys, models=CONSTANT,
        limits={"events_per_s": PER_SECOND},
    )  # fmt: skip
    replay(config, QUIET)
    observed = table(tmp_path / "tables", "observations")["subject_ref"].to_pylist()
    letters = table(tmp_path / "tables", "dead_letters").to_pylist()
    assert sorted(Counter(observed).values()) == [1, MOST], "the other subject is not touched"
    assert sorted(row["offset"] for row in letters) == [*range(MOST + 1, EVENTS + 1)]
    assert {(row["stage"], row["code"]) for row in letters} == {("LimitEvents", "too_many_events")}
    assert len(table(tmp_path / "tables", "emotion_features")) == MOST + 1
