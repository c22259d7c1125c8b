"""The graph: one function builds it for every runner; only the source and the options differ."""

import functools
import time
from collections import defaultdict

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import DoOutputsTuple

from pipelines.config import Config
from pipelines.govern.consent_feed import ConsentFeed
from pipelines.govern.ledger import read_recorded_consents, read_recorded_opt_ins
from pipelines.kafka.clients import java_settings
from pipelines.run.consumed import verify_consumed
from pipelines.sinks import sinks_for
from pipelines.tables.history import landed_features
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.settings import Kafka
from schemas.stages import DEAD, MAIN, OBSERVATION, ON_TIME, kind_of
from schemas.tables import TABLES
from transforms.decide import DecideExpressions
from transforms.decode import DecodeEvents
from transforms.fetch import FetchMedia
from transforms.fuse import FuseModalities
from transforms.gate import GateByPolicy
from transforms.late import SieveLate
from transforms.limit import LimitEvents
from transforms.pseudonymise import Pseudonymise
from transforms.recognise import Recognise
from transforms.scrub import ScrubText
from transforms.sources.kafka import ReadKafka
from transforms.sources.log import ReadLog
from transforms.stage import Outputs
from transforms.validate import ValidateEvents
from transforms.window import WindowSessions

_BESIDE_THE_GRAPH = {"runs", "erasures"}
"""Tables that no stage has rows of."""


class Rows(defaultdict[str, list[beam.PCollection]]):
    """Collections of rows by the table that they are of."""

    def __init__(self) -> None:
        super().__init__(list)

    def take(self, outputs: Outputs) -> beam.PCollection:
        """Note the outputs of a stage that are rows of tables; return its main output."""
        for output in outputs:
            if output.tag in TABLES:
                self[output.tag].append(output)
        return outputs[MAIN]


def build_pipeline(p: beam.Pipeline, config: Config) -> None:
    """Build the whole graph, from the recorded log, or Kafka, to the tables and other sinks."""
    land(rows_by_table(p, config), config)
    verify_consumed(p)


def rows_by_table(p: beam.Pipeline, config: Config) -> Rows:
    """Build everything but the sinks: the rows of each table."""
    rows = Rows()
    observed = observe(p, config, rows)  # OBSERVATIONS and pseudonymous context batches
    windows = observed | WindowSessions(windows=config.windows)
    # WINDOW batches: one row for each WINDOW_KEY and window
    features = windows | FuseModalities(model=config.models.fusion, gaps=config.models.gaps)
    decisions = rows.take(features[ON_TIME] | _decide(config))
    rows["observations"].append(observed | "Observations" >> beam.Filter(_is_observation))
    rows["emotion_features"].append(features[MAIN])
    rows["expression_decisions"].append(decisions)
    return rows


def observe(p: beam.Pipeline, config: Config, rows: Rows) -> beam.PCollection:
    """Build the stateless part: records → observations and context, and what lands besides."""
    stream = rows.take(admit(p, config, rows) | ScrubText())
    for modality in MODALITIES:
        recognise = Recognise(
            modality=modality,
            settings=config.models.recogniser(modality),
            licence=config.licence,
            gaps=config.models.gaps,
            embeddings_for=config.landing.embeddings_for,
        )
        # This modality's batches are observations from here on.
        stream = rows.take(stream | recognise)
    return stream


def admit(p: beam.Pipeline, config: Config, rows: Rows) -> beam.PCollection:
    """Build what comes before any inference: records → events that law and consent let pass.

    They are pseudonymous EVENT batches with their payloads.
    """
    raw = p | _source(config)  # RAW batches
    stream = rows.take(raw | _decode(config))  # EVENT batches of one kind each
    stream = rows.take(stream | ValidateEvents())
    stream = rows.take(stream | SieveLate())
    stream = rows.take(
        stream | Pseudonymise(keys=config.keys, public_scenes=config.landing.public_scenes)
    )
    known = read_recorded_consents if config.log else ConsentFeed
    consents = functools.partial(known, config)
    stream = rows.take(
        stream
        | GateByPolicy(
            policy=config.policy,
            consents=consents,
            scenarios=config.scenarios,
            evidence=config.evidence,
        )
    )
    stream = rows.take(stream | LimitEvents(limits=config.limits, windows=config.windows))
    return rows.take(stream | FetchMedia(rules=config.media))


def land(rows: Rows, config: Config) -> None:
    """Send the rows of each table to its sinks.

    Tables of events tell of ids that were reused, so they come before the dead letters.

    Raises:
        AffectstreamError: a table has no rows in this graph, or no sink takes them.
    """
    if missing := sorted(TABLES.keys() - rows.keys() - _BESIDE_THE_GRAPH):
        message = f"the graph has no rows for {', '.join(missing)}: append them in rows_by_table"
        raise AffectstreamError(message)
    for name in sorted(rows, key=lambda name: not TABLES[name].of_events):
        parts = rows[name]
        given = parts[0] if len(parts) == 1 else parts | f"All:{name}" >> beam.Flatten()
        sinks = sinks_for(TABLES[name], config)
        if not sinks:
            message = f"no sink takes the rows of {name}: add one to SINKS in pipelines/sinks.py"
            raise AffectstreamError(message)
        for sink in sinks:
            landed = given | sink
            if isinstance(landed, DoOutputsTuple):
                rows[DEAD].append(landed[DEAD])


def _is_observation(batch: pa.RecordBatch) -> bool:
    return kind_of(batch) == OBSERVATION


def _source(config: Config) -> beam.PTransform:
    if config.log:
        return "ReadLog" >> ReadLog(log=config.log)
    expansion = config.live.jars.absolute() / "expansion.jar"
    return "ReadKafka" >> ReadKafka(
        consumer=java_settings(config.kafka),
        kafka=config.kafka,
        windows=config.windows,
        expansion=expansion,
        environment=config.live.java_environment,
    )


def _decode(config: Config) -> DecodeEvents:
    return DecodeEvents(
        keys=config.keys,
        signers=config.signatures.keys,
        units=config.motion.units,
        behind_s=config.clocks.behind_s,
    )


def _event_time(kafka: Kafka) -> float:
    return time.time() + kafka.clock_offset_s


def _decide(config: Config) -> DecideExpressions:
    known = read_recorded_opt_ins if config.log else ConsentFeed
    return DecideExpressions(
        policy=config.scenarios,
        rules=config.decisions,
        baselines=config.baselines,
        landed=functools.partial(landed_features, config) if config.live.bootstrap else None,
        opt_ins=functools.partial(known, config),
        length_s=config.windows.length_s,
        clock=None if config.log else functools.partial(_event_time, config.kafka),
    )
