"""The graph: one function builds it for every runner; only the source and the options differ."""

import functools
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import PValue

from pipelines.config import Config
from pipelines.govern.consent_feed import ConsentFeed
from pipelines.govern.ledger import recorded_consents
from pipelines.kafka.clients import java_settings
from pipelines.tables.history import landed_features
from schemas.errors import AffectstreamError
from schemas.events import AHEAD_S
from schemas.vocabularies import MODALITIES
from transforms.decide import REVIEWS, DecideExpressions
from transforms.deciding.history import Smoothing
from transforms.decode import DecodeEvents
from transforms.fetch import FetchMedia, MediaRules
from transforms.fuse import ON_TIME, FuseModalities
from transforms.gate import LEDGER, GateByPolicy
from transforms.kafka import EventClock, ReadKafka
from transforms.land import LandTable
from transforms.late import SieveLate
from transforms.log import ReadLog
from transforms.pseudonymise import Pseudonymise
from transforms.recognise import Recognise
from transforms.scrub import ScrubText
from transforms.stage import DEAD, MAIN, REFUSED
from transforms.validate import ValidateEvents
from transforms.window import WindowSessions, is_observed

_CLOCK = {"delay_s", "idle_s", "clock_offset_s"}

_AWAITED = ("emotion_features", "expression_decisions", "review_queue")
"""Tables whose rows are committed as they come: somebody waits for them."""

_OF_EVENTS = ("observations", "refusals")
"""Tables of single events: they tell of reused ids, so they stand before the dead letters."""

Observed = tuple[beam.PCollection, list[beam.PCollection], dict[str, beam.PCollection]]


def observe(p: beam.Pipeline, config: Config) -> Observed:
    """Build the stateless part: records → observations (and context), and what lands besides."""
    raw = p | _source(config)  # RAW batches
    decoded = raw | DecodeEvents(keys=config.keys)  # EVENT batches of one kind each
    valid = decoded[MAIN] | ValidateEvents()
    in_time = valid[MAIN] | SieveLate()
    pseudonymous = in_time[MAIN] | Pseudonymise(keys=config.keys)
    known = recorded_consents if config.log else ConsentFeed
    gated = pseudonymous[MAIN] | GateByPolicy(
        policy=config.policy, consents=functools.partial(known, config)
    )
    fetched = gated[MAIN] | FetchMedia(rules=MediaRules(**config.media.model_dump()))
    scrubbed = fetched[MAIN] | ScrubText()
    stream = scrubbed[MAIN]
    stages = (decoded, valid, in_time, pseudonymous, gated, fetched, scrubbed)
    dead = [outputs[DEAD] for outputs in stages]
    for modality in MODALITIES:
        settings = getattr(config.models, modality).model_dump() | {"licence": config.licence}
        recognised = stream | Recognise(modality=modality, **settings)
        stream = recognised[MAIN]  # this modality's batches are observations now
        dead.append(recognised[DEAD])
    return stream, dead, {"refusals": gated[REFUSED], "consent_ledger": gated[LEDGER]}


def _source(config: Config) -> beam.PTransform:
    if config.log:
        return "ReadLog" >> ReadLog(log=config.log)
    expansion = config.live.jars.absolute() / "expansion.jar"
    return "ReadKafka" >> ReadKafka(
        consumer=java_settings(config.kafka),
        clock=_clock(config),
        expansion=expansion,
        environment=config.live.java_environment,
    )


def _clock(config: Config) -> EventClock:
    return EventClock(
        **config.kafka.model_dump(include=_CLOCK),
        ahead_s=AHEAD_S,
        window_s=config.windows.length_s,
        lateness_s=config.windows.lateness_s,
    )


def build_pipeline(p: beam.Pipeline, config: Config) -> None:
    """Build the whole graph, from the recorded log, or Kafka, to the tables."""
    observed, dead, besides = observe(p, config)
    windows = observed | WindowSessions(**config.windows.model_dump())
    # WINDOW batches: one row a WINDOW_KEY and window
    features = windows | FuseModalities(model=config.models.fusion)
    decided = features[ON_TIME] | _decide(config)
    landed = besides | {
        "observations": observed | "Observations" >> beam.Filter(is_observed),
        "emotion_features": features[MAIN],
        "expression_decisions": decided[MAIN],
        "review_queue": decided[REVIEWS],
    }
    dead += [_land(landed.pop(table), table, config) for table in _OF_EVENTS]
    landed["dead_letters"] = dead | "DeadLetters" >> beam.Flatten()
    for table, rows in landed.items():
        _land(rows, table, config)
    verify_consumed(p)


def _land(rows: beam.PCollection, table: str, config: Config) -> beam.PCollection:
    collect_s = 0 if table in _AWAITED else config.live.commit_s
    return rows | f"Land:{table}" >> LandTable(root=config.tables, table=table, collect_s=collect_s)


def _decide(config: Config) -> DecideExpressions:
    settings = config.decisions.model_dump()
    return DecideExpressions(
        policy=config.scenarios,
        valid_s=settings.pop("valid_s"),
        smoothing=Smoothing(**settings),
        shards=config.windows.shards,
        landed=functools.partial(landed_features, config) if config.live.bootstrap else None,
    )


class _Uses(PipelineVisitor):
    def __init__(self) -> None:
        self.made: dict[PValue, str] = {}
        self.used: set[PValue] = set()

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        self.used.update(transform_node.inputs)
        for tag, output in transform_node.outputs.items():
            if tag is not None:  # as that of a main output is
                self.made[output] = f"{transform_node.full_label}[{tag}]"


def verify_consumed(p: Any) -> None:
    """Raise where an output of a stage, its main one aside, goes nowhere."""
    uses = _Uses()
    p.visit(uses)
    dangling = sorted(label for output, label in uses.made.items() if output not in uses.used)
    if dangling:
        message = f"nothing consumes {', '.join(dangling)}: land these rows in their table"
        raise AffectstreamError(message)
