"""Mutated records through the whole graph; and the account of them sees a record that is lost."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from infra.bench.governance.mutated import chunk_config, run_chunks
from infra.bench.mutations.account import DUPLICATE, WINDOWED, account_for
from infra.bench.mutations.stream import BULK, write_mutated
from pipelines.run.replay import replay
from schemas.events import CONTEXT, TOPICS


@pytest.mark.parametrize(("media", "count"), [(False, 1_600), (True, 400)])
def test_mutated_records_stop_nothing_and_none_is_lost(
    tmp_path: Path, media: bool, count: int
) -> None:
    found = run_chunks(tmp_path, range(1), media=media, count=count)
    figures = dict(found.figures("mutated"))
    assert figures["mutated_records"] == count
    assert figures["mutated_crashes"] == figures["mutated_poison"] == figures["mutated_lost"] == 0
    assert found.ends.total() > count
    assert min(figures[f"mutated_{end}"] for end in ("dead", "refused", "recognised")) > count / 20


def test_the_account_names_the_records_that_a_run_has_lost(tmp_path: Path) -> None:
    """The run reads a log without some of the records, as if the graph had dropped them."""
    write_mutated(tmp_path / "log", 900, "account", BULK)
    config = chunk_config(tmp_path, media=False)
    whole = account_for(config, replay(config, Console(quiet=True)).stages)
    rows = pq.read_table(config.recorded)
    assert (whole.lost, whole.lost_contexts) == ([], 0)
    assert sorted(whole.ends) == list(range(len(rows)))

    values = Counter(rows["value"].to_pylist())
    once = {offset for offset in whole.ends if values[rows["value"][offset].as_py()] == 1}
    chosen = {  # one of each topic and end
        (topic, whole.ends[offset]): offset
        for offset, topic in enumerate(rows["topic"].to_pylist())
        if offset in once and whole.ends[offset] != DUPLICATE
    }
    assert {topic for topic, _ in chosen} > TOPICS.keys()
    short = tmp_path / "short"
    (short / "log").mkdir(parents=True)
    left = pc.invert(pc.is_in(rows["offset"], pa.array(list(chosen.values()))))
    pq.write_table(rows.filter(left), short / "log" / "part-0.parquet")
    less = config.model_copy(update={"log": short / "log", "tables": str(short / "tables")})
    stages = replay(less, Console(quiet=True)).stages
    found = account_for(config.model_copy(update={"tables": less.tables}), stages)
    counted = [offset for offset in chosen.values() if offset not in found.lost]
    assert set(found.lost) < set(chosen.values())
    assert {rows["topic"][offset].as_py() for offset in counted} == {CONTEXT}
    assert {whole.ends[offset] for offset in counted} > {WINDOWED}
    assert found.lost_contexts == len(counted)
