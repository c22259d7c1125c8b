"""The graph: one function builds it for every runner; only the source and the options differ."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import PValue

from pipelines.config import Config
from pipelines.ledger import read_ledger
from schemas.errors import AffectstreamError
from schemas.events import kind_of
from schemas.vocabularies import MODALITIES
from transforms.decide import REVIEWS, DecideExpressions
from transforms.decode import DecodeEvents
from transforms.fuse import ON_TIME, FuseModalities
from transforms.gate import LEDGER, GateByPolicy
from transforms.history import Smoothing
from transforms.land import LandTable
from transforms.log import ReadLog
from transforms.pseudonymise import Pseudonymise
from transforms.recognise import Recognise
from transforms.scrub import ScrubText
from transforms.stage import DEAD, MAIN, REFUSED
from transforms.validate import ValidateEvents
from transforms.window import WindowSessions


@dataclass(frozen=True, slots=True)
class Observed:
    """The collections that stand before the windows."""

    observations: beam.PCollection
    context: beam.PCollection
    dead: tuple[beam.PCollection, ...]
    refusals: beam.PCollection
    ledger: beam.PCollection


def observe(p: beam.Pipeline, config: Config) -> Observed:
    """Build the stateless part, from records to observations."""
    raw = p | "ReadLog" >> ReadLog(log=config.log)  # RAW batches
    decoded = raw | DecodeEvents()  # EVENT batches of one kind each
    valid = decoded[MAIN] | ValidateEvents()
    pseudonymous = valid[MAIN] | Pseudonymise(keys=config.keys)
    gated = pseudonymous | GateByPolicy(
        policy=config.policy, ledger=functools.partial(read_ledger, config)
    )
    scrubbed = gated[MAIN] | ScrubText()
    by_kind = dict.fromkeys((*MODALITIES, "context"), pa.RecordBatch)
    split = beam.ParDo(_SplitByKind()).with_output_types(pa.RecordBatch, **by_kind)
    kinds = scrubbed | "SplitByKind" >> split.with_outputs(*by_kind)
    recognised = [
        kinds[modality]
        | Recognise(modality=modality, **getattr(config.models, modality).model_dump())
        for modality in MODALITIES
    ]
    observations = [r[MAIN] for r in recognised] | "Observations" >> beam.Flatten()
    dead = (decoded[DEAD], valid[DEAD], *(r[DEAD] for r in recognised))
    return Observed(observations, kinds["context"], dead, gated[REFUSED], gated[LEDGER])


def build_pipeline(p: beam.Pipeline, config: Config) -> None:
    """Build the whole graph, from the recorded log to the tables."""
    observed = observe(p, config)
    sessions = {"observations": observed.observations, "context": observed.context}
    windows = sessions | WindowSessions(**config.windows.model_dump())
    # WINDOW batches: one row a subject, session and window
    features = windows | FuseModalities(model=config.models.fusion)
    decided = features[ON_TIME] | _decide(config)
    landed = {
        "observations": observed.observations,
        "emotion_features": features[MAIN],
        "expression_decisions": decided[MAIN],
        "review_queue": decided[REVIEWS],
        "dead_letters": observed.dead | "DeadLetters" >> beam.Flatten(),
        "refusals": observed.refusals,
        "consent_ledger": observed.ledger,
    }
    for table, rows in landed.items():
        rows | f"Land:{table}" >> LandTable(root=config.tables, table=table)
    verify_consumed(p)


def _decide(config: Config) -> DecideExpressions:
    settings = config.decisions.model_dump()
    return DecideExpressions(
        policy=config.scenarios,
        valid_s=settings.pop("valid_s"),
        smoothing=Smoothing(**settings),
        shards=config.windows.shards,
    )


class _SplitByKind(beam.DoFn):
    def process(self, events: pa.RecordBatch) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput(kind_of(events), events)


class _Uses(PipelineVisitor):
    def __init__(self) -> None:
        self.made: dict[PValue, str] = {}
        self.used: set[PValue] = set()

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        self.used.update(transform_node.inputs)
        for tag, output in transform_node.outputs.items():
            if tag in (DEAD, REFUSED, REVIEWS):
                self.made[output] = f"{transform_node.full_label}[{tag}]"


def verify_consumed(p: Any) -> None:
    """Raise where dead letters, refusals or reviews of a stage go nowhere."""
    uses = _Uses()
    p.visit(uses)
    dangling = sorted(label for output, label in uses.made.items() if output not in uses.used)
    if dangling:
        message = f"nothing consumes {', '.join(dangling)}: land these rows in their table"
        raise AffectstreamError(message)
