"""The picture of the graph names what the graph has: stages, tables, and which lose records."""

import re
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from docs.flow import PARTS, draw
from pipelines.affect import build_pipeline
from pipelines.config import Config
from schemas.events import RAW
from schemas.tables import TABLES
from transforms.stage import DEAD

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "flow.svg"
PLUMBING = {"ReadLog", "Observations", "DeadLetters"}


class _Stages(PipelineVisitor):
    """Top-level transforms in the order of the graph, and the tables that outputs are tagged by."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.filled: set[tuple[str, str]] = set()

    def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
        name = transform_node.full_label
        if name and "/" not in name and not name.startswith("Land:"):
            self.names.append(name)
            tags = transform_node.outputs.keys() & TABLES.keys()
            self.filled.update((name, tag) for tag in tags)


def test_the_picture_has_the_stages_of_the_graph_in_their_order(keys: Path, tmp_path: Path) -> None:
    pq.write_table(RAW.empty_table(), tmp_path / "part-0.parquet")
    p = beam.Pipeline(runner=FnApiRunner())
    build_pipeline(p, Config(log=tmp_path, tables="tables", keys=keys))
    stages = _Stages()
    p.visit(stages)
    drawn = [stage for _, part in PARTS for stage in part]
    assert [name for name, *_ in drawn] == [n for n in stages.names if n not in PLUMBING]
    filled = {(name, table) for name, _, _, tables in drawn for table in tables}
    filled |= {(name, DEAD) for name, _, lost, _ in drawn if lost}
    assert stages.filled <= filled
    assert {name for name, table in filled if table == DEAD} == {
        name for name, table in stages.filled if table == DEAD
    }


def test_the_picture_has_every_table() -> None:
    named = re.findall(r'class="name"[^>]*>(\w+)</text>', PICTURE.read_text(encoding="utf-8"))
    assert set(TABLES) <= set(named)


def test_the_committed_picture_is_what_its_script_draws() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw()
