"""What the runner keeps of a stage: the types of its collections, and the names of its steps.

The coder of record batches is chosen by type, and a batch without one is pickled with the whole
batch that it is a slice of. State of a live job and its counters hang on the names.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms import trigger
from apache_beam.typehints import typehints

from model_serving.fusion import SHIPPED
from pipelines.config import POLICIES
from schemas.settings import Decisions, Windows
from schemas.stages import DEAD, LEDGER, MAIN, ON_TIME, REFUSED, REVIEWS
from transforms.decide import DecideExpressions
from transforms.fuse import FuseModalities
from transforms.gate import GateByPolicy
from transforms.gating.consent import Consents
from transforms.land import LandTable
from transforms.late import SieveLate
from transforms.window import WindowSessions

BATCH = pa.RecordBatch
SHARDED = typehints.Tuple[int, BATCH]


class _Steps(PipelineVisitor):
    def __init__(self) -> None:
        self.names: list[str] = []
        self.types: dict[str, Any] = {}
        self.triggers: dict[str, Any] = {}

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        name = transform_node.full_label.split("/", 1)[-1]
        self.names.append(name)
        for tag, output in transform_node.outputs.items():
            self.triggers[name] = output.windowing.triggerfn
            self.types[name if tag is None else f"{name}[{tag}]"] = output.element_type


def steps(make: Callable[[], beam.PTransform], *, streaming: bool = False) -> _Steps:
    """Build the graph of one stage alone and return its steps."""
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = streaming
    p = beam.Pipeline(runner=FnApiRunner(), options=options)
    source = p | "Source" >> beam.Create([]).with_output_types(BATCH)
    _ = source | "Stage" >> make()
    found = _Steps()
    p.visit(found)
    found.names = [name for name in found.names if not name.startswith(SOURCE)]
    found.types = {n: t for n, t in found.types.items() if not n.startswith(SOURCE)}
    return found


SOURCE = ("Source", "Impulse", "FlatMap", "Map(decode)", "MaybeReshuffle")


def gate() -> GateByPolicy:
    return GateByPolicy(policy=POLICIES / "gate.yaml", consents=Consents)


def decide() -> DecideExpressions:
    return DecideExpressions(policy=POLICIES / "scenarios.yaml", rules=Decisions())


@pytest.mark.parametrize(
    ("make", "step", "tags"),
    [
        (SieveLate, "Sieve/ParDo(_Sieve)", {DEAD}),
        (gate, "GateByPolicy/ParDo(RunStage)", {DEAD, REFUSED, LEDGER}),
        (lambda: FuseModalities(model=SHIPPED), "FuseModalities/ParDo(RunStage)", {ON_TIME}),
        (decide, "Decide/ParDo(_Decide)", {REVIEWS}),
        (
            lambda: LandTable(root=Path("t"), table="observations", reach_s=1.0),
            "Commit/ParDo(_Commit)",
            {DEAD},
        ),
    ],
)
def test_every_output_of_a_stage_is_coded_as_a_batch(
    make: Callable[[], beam.PTransform], step: str, tags: set[str]
) -> None:
    found = steps(make)
    assert {n: t for n, t in found.types.items() if n.startswith(step)} == {
        step: BATCH, **{f"{step}[{tag}]": BATCH for tag in tags}
    }  # fmt: skip


def test_windows_are_collected_by_shard_under_names_that_stay() -> None:
    found = steps(lambda: WindowSessions(windows=Windows()))
    assert found.names == [
        "ByShard", "Window", "Group", "Rows",
    ]  # fmt: skip
    assert found.types["ByShard"] == SHARDED
    assert found.types["Rows"] == BATCH


def test_decisions_are_made_by_shard_under_names_that_stay() -> None:
    found = steps(decide)
    assert [name.split("(")[0] for name in found.names] == ["ByShard", "Global", "Decide/ParDo"]
    assert found.types[found.names[0]] == SHARDED


def test_a_live_job_lands_by_one_writer_under_names_that_stay() -> None:
    found = steps(lambda: LandTable(root=Path("t"), table="runs", reach_s=1.0), streaming=True)
    assert [name.split("/")[0] for name in found.names] == [
        "Key", "Collect", "OneWriter", "Rows", "Commit",
    ]  # fmt: skip
    assert found.types[found.names[-1]] == BATCH
    assert found.types[found.names[-2]] == BATCH
    assert found.types[found.names[0]] == typehints.Tuple[str, BATCH]


@pytest.mark.parametrize(
    ("collect_s", "each"), [(0, trigger.AfterCount(1)), (7, trigger.AfterProcessingTime(7))]
)
def test_a_live_job_commits_as_often_as_it_is_told(collect_s: int, each: Any) -> None:
    """Without a time at once: somebody waits for these rows."""
    make = functools.partial(
        LandTable, root=Path("t"), table="runs", reach_s=1.0, collect_s=collect_s
    )
    found = steps(make, streaming=True).triggers["Collect"]
    assert repr(found) == repr(
        trigger.Repeatedly(each)
    )  # by value: not all triggers can be compared


def test_main_is_no_tag_of_a_stage() -> None:
    assert not any(f"[{MAIN}]" in name for name in steps(decide).types)
