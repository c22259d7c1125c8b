"""The graph: one function builds it for every runner; only the source and the options differ."""

import functools
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import PValue

from pipelines.config import Config
from pipelines.ledger import read_ledger
from schemas.errors import AffectstreamError
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
from transforms.window import WindowSessions, is_observed

Observed = tuple[beam.PCollection, dict[str, beam.PCollection]]


def observe(p: beam.Pipeline, config: Config) -> Observed:
    """Build the stateless part: records → observations (and context), and what lands besides."""
    raw = p | "ReadLog" >> ReadLog(log=config.log)  # RAW batches
    decoded = raw | DecodeEvents()  # EVENT batches of one kind each
    valid = decoded[MAIN] | ValidateEvents()
    pseudonymous = valid[MAIN] | Pseudonymise(keys=config.keys)
    gated = pseudonymous | GateByPolicy(
        policy=config.policy, ledger=functools.partial(read_ledger, config)
    )
    stream = gated[MAIN] | ScrubText()
    dead = [decoded[DEAD], valid[DEAD]]
    for modality in MODALITIES:
        settings = getattr(config.models, modality).model_dump()
        recognised = stream | Recognise(modality=modality, **settings)
        stream = recognised[MAIN]  # this modality's batches are observations now
        dead.append(recognised[DEAD])
    besides = {
        "dead_letters": dead | "DeadLetters" >> beam.Flatten(),
        "refusals": gated[REFUSED],
        "consent_ledger": gated[LEDGER],
    }
    return stream, besides


def build_pipeline(p: beam.Pipeline, config: Config) -> None:
    """Build the whole graph, from the recorded log to the tables."""
    observed, besides = observe(p, config)
    windows = observed | WindowSessions(**config.windows.model_dump())
    # WINDOW batches: one row a subject, session and window
    features = windows | FuseModalities(model=config.models.fusion)
    decided = features[ON_TIME] | _decide(config)
    landed = besides | {
        "observations": observed | "Observations" >> beam.Filter(is_observed),
        "emotion_features": features[MAIN],
        "expression_decisions": decided[MAIN],
        "review_queue": decided[REVIEWS],
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
