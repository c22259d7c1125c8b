"""The command ``live --feed``: what lands is handed on while the job runs, each decision once."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pipelines.config import Kafka
from pipelines.kafka.publish import publish
from pipelines.serve.feed import clock
from pipelines.serve.online import latest
from pipelines.serve.stores import open_online
from pipelines.sessionlogs.bench_log import START_MS, write_bench_log
from tests.support.feed_reader import read_feed
from tests.support.live_runs import CONSTANT, QUIET, live_config, table

pytestmark = [pytest.mark.kafka, pytest.mark.flink]


def test_what_lands_is_handed_on_while_the_job_runs(
    kafka: Kafka, jars: Path, keys: Path, tmp_path: Path
) -> None:
    log = write_bench_log(tmp_path / "log", 3_000, rate=100).folder
    offset = START_MS / 1000 + 35 - time.time()
    config = live_config(
        kafka.model_copy(update={"clock_offset_s": offset}),
        jars,
        tmp_path,
        keys,
        models=CONSTANT,
        decisions={"valid_s": 3_600},
        feed={"purposes": ["avatar_mirroring"]},
        online={"store": str(tmp_path / "online.sqlite")},
    )
    publish(log, config.kafka, console=QUIET)
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "pipelines.cli.main", "live", "--feed", "--until-end"]
    command += ["--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    decided = table(config.tables, "expression_decisions")
    sent = Counter(json.loads(record.value)["id"] for record in read_feed(config.kafka))
    assert sent == Counter(decided["decision_id"].to_pylist())
    assert len(sent) > 100
    store = open_online(config.online)
    for name in ("emotion_features", "expression_decisions"):
        rows = table(config.tables, name).group_by("subject_ref").aggregate([("window_end", "max")])
        for who, end in zip(*(rows[c].to_pylist() for c in rows.column_names), strict=True):
            row = latest(store, name, who, now=clock(config))
            assert row is not None
            assert row["window_end"].startswith(end.isoformat()[:19])
    store.close()
