"""One record's way through the stages, on demand: what each made of it, and what has landed."""

import functools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from kafka import KafkaConsumer, TopicPartition

from model_serving.fusion import load_fusion
from model_serving.handler import RecogniserHandler
from pipelines.config import Config
from pipelines.govern.consent_feed import ConsentFeed
from pipelines.govern.ledger import read_recorded_consents
from pipelines.kafka.clients import raw_batch, reader_settings
from pipelines.kafka.reasons import explain_kafka_error
from pipelines.tables.query import query
from schemas.errors import AffectstreamError
from schemas.events import RAW, TOPICS
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from schemas.stages import (
    DEAD,
    LEDGER,
    MAIN,
    REFUSED,
    Stage,
    Tagged,
    kind_of,
    recognition_stage,
)
from transforms.decode import decode_batch
from transforms.decoding.event_ids import EventIds
from transforms.fetch import fetch_batch
from transforms.fuse import fuse_batch
from transforms.gate import Gate
from transforms.gating.policy import read_policy
from transforms.isolation.deaths import Place
from transforms.pseudonymise import Pseudonyms
from transforms.pseudonymising.fields import FreeFields
from transforms.scrub import scrub_events
from transforms.sources.recorded import log_files
from transforms.validate import validate_batch
from transforms.window import split_by_shard, to_window_input, window_rows

_POLL_MS = 5_000


class Step(NamedTuple):
    """What a stage made of the record; ``milliseconds`` is None where it was not run."""

    stage: str
    milliseconds: float | None
    verdict: str


def parse_place(text: str) -> Place:
    """Return the topic, partition and offset of TOPIC/PARTITION/OFFSET.

    Raises:
        AffectstreamError: it is none.
    """
    topic, *numbers = text.split("/")
    if topic not in TOPICS or len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
        message = (
            f"{text!r} is not the place of a record: write TOPIC/PARTITION/OFFSET, such as "
            "session.text/0/17"
        )
        raise AffectstreamError(message)
    return topic, int(numbers[0]), int(numbers[1])


def read_record(config: Config, place: Place) -> pa.RecordBatch:
    """Return a record as a RAW batch, from the recorded log or, without one, from Kafka.

    Raises:
        AffectstreamError: it is not there, or the broker cannot be read.
    """
    found = _from_log(config, place) if config.log else _from_kafka(config, place)
    if found is None:
        topic, partition, offset = place
        where = str(config.log or config.kafka.bootstrap)
        message = f"{where} has no record {topic}/{partition}/{offset}"
        raise AffectstreamError(message)
    return found


def _from_log(config: Config, place: Place) -> pa.RecordBatch | None:
    names = ("topic", "partition", "offset")
    wanted = functools.reduce(
        lambda one, other: one & other,
        (pc.field(name) == value for name, value in zip(names, place, strict=True)),
    )
    data = ds.dataset([str(path) for path in log_files(config.recorded)], schema=RAW)
    rows = data.to_table(filter=wanted)
    return rows.combine_chunks().to_batches()[0].slice(0, 1) if len(rows) else None


def _from_kafka(config: Config, place: Place) -> pa.RecordBatch | None:
    topic, partition, offset = place
    with explain_kafka_error(config.kafka):
        consumer = KafkaConsumer(**reader_settings(config.kafka))
        try:
            here = TopicPartition(topic, partition)
            consumer.assign([here])
            if offset >= consumer.end_offsets([here])[here]:
                return None
            consumer.seek(here, offset)
            records = consumer.poll(_POLL_MS, max_records=1).get(here, [])
        finally:
            consumer.close()
    at = [record for record in records if record.offset == offset]
    return raw_batch(at) if at else None


def trace(config: Config, place: Place) -> Iterator[Step]:
    """Run one record through the functions of the stages; yield what each made of it.

    They are those of a run, with the consents of now. Whether an event is late, and what follows
    from a window with all its other events, one record cannot tell: what landed does. No verdict
    holds a payload or a raw id.
    """
    batch = read_record(config, place)
    for stage, load, describe in _stages(config, TOPICS[place[0]]):
        run = load()
        started = time.perf_counter()
        try:
            given = [(tag, rows) for tag, rows in run(batch) if rows.num_rows]
        except AffectstreamError:
            raise
        except Exception as error:
            yield Step(stage, _since(started), f"raises {type(error).__name__}: poison")
            break
        took = _since(started)
        if taken := [(tag, rows) for tag, rows in given if tag != MAIN]:
            yield Step(stage, took, "; ".join(_describe_row(tag, r) for tag, r in taken))
        on = [rows for tag, rows in given if tag == MAIN]
        if not on:
            break
        if not taken:
            yield Step(stage, took, describe(batch, on[0]))
        batch = on[0]
        if stage == Stage.VALIDATE:
            yield Step(Stage.SIEVE, None, "not judged: it depends on what was read before")
        elif stage == Stage.GATE:
            yield Step(Stage.LIMIT, None, "not judged: it depends on what was read before")
    else:
        yield from _window(config, batch)
    yield from _landed(config, place, batch)


_Stage = tuple[
    str,
    Callable[[], Callable[[pa.RecordBatch], Tagged]],
    Callable[[pa.RecordBatch, pa.RecordBatch], str],
]


def _stages(config: Config, kind: str) -> Iterator[_Stage]:
    """Yield name, loader and describer of each stage that does something with this kind of event.

    The windows and what follows are left to ``_window``.
    """
    keys, fields = read_keys(config.keys), FreeFields(config.landing.public_scenes)
    known = read_recorded_consents if config.log else ConsentFeed
    policy = functools.partial(read_policy, config.policy, config.scenarios, config.evidence)
    yield Stage.DECODE, lambda: functools.partial(decode_batch, ids=EventIds(keys)), _describe_event
    yield Stage.VALIDATE, lambda: _validate, lambda _, rows: "as expected"
    yield (
        Stage.PSEUDONYMISE,
        lambda: lambda b: [(MAIN, Pseudonyms(keys, fields).batch(b))],
        _describe_references,
    )
    yield Stage.GATE, lambda: Gate(policy(), known(config)).batch, lambda _, rows: "allowed"
    yield Stage.FETCH, lambda: functools.partial(fetch_batch, rules=config.media), _describe_media
    if kind == "text":
        yield Stage.SCRUB, lambda: scrub_events, _describe_text
    if kind in MODALITIES:
        yield (
            recognition_stage(kind),
            functools.partial(_recogniser, config, kind),
            _describe_estimate,
        )


def _validate(batch: pa.RecordBatch) -> Tagged:
    valid, dead = validate_batch(batch, kind_of(batch))
    return [(MAIN, valid), (DEAD, dead)]


def _recogniser(config: Config, modality: str) -> Callable[[pa.RecordBatch], Tagged]:
    chosen = config.models.recogniser(modality)
    handler = RecogniserHandler(
        modality=modality,
        model=chosen.model,
        card=chosen.card,
        device=chosen.device,
        licence=config.licence,
        embeddings_for=config.landing.embeddings_for,
    )
    loaded = handler.load_model().model

    def recognise(batch: pa.RecordBatch) -> Tagged:
        found = handler.recognise(batch, loaded)
        return [(MAIN, found.observations), (DEAD, found.dead_letters)]

    return recognise


def _describe_event(_: pa.RecordBatch, rows: pa.RecordBatch) -> str:
    row = _first(rows, "event_id", "event_time", "purpose", "scenario", "region", "age_band")
    return f"{kind_of(rows)} event: {_list(row)}"


def _describe_references(_: pa.RecordBatch, rows: pa.RecordBatch) -> str:
    return _list(_first(rows, "subject_ref", "session_ref"))


def _describe_media(before: pa.RecordBatch, rows: pa.RecordBatch) -> str:
    named = "media" in before.schema.names and before["media"].null_count
    return f"fetched {len(rows['media'][0].as_py()):,} bytes" if named else "nothing to fetch"


def _describe_text(before: pa.RecordBatch, rows: pa.RecordBatch) -> str:
    length, changed = len(rows["text"][0].as_py()), not rows["text"].equals(before["text"])
    return f"{length} characters, {'replaced in part' if changed else 'as they came'}"


def _describe_estimate(_: pa.RecordBatch, rows: pa.RecordBatch) -> str:
    return _list(_first(rows, "expression", "confidence", "abstained", "quality", "model_id"))


def _window(config: Config, batch: pa.RecordBatch) -> Iterator[Step]:
    """Make the window that would hold this event alone, and fuse it."""
    started = time.perf_counter()
    micros = batch["event_time"].cast(pa.int64())[0].as_py()
    length_us = int(config.windows.length_s * 1e6)
    start = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros - micros % length_us)
    end = start + timedelta(microseconds=length_us)
    held = split_by_shard(to_window_input(batch), config.windows.shards, length_us)
    rows = window_rows([piece for _, _, piece in held], start, end, late=False)
    where = f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"
    if not rows.num_rows:
        yield Step(Stage.WINDOW, _since(started), f"{where}: context, no row of its own")
        return
    window_id = rows["window_id"][0].as_py()
    yield Step(Stage.WINDOW, _since(started), f"{where}, window_id {window_id}")
    started = time.perf_counter()
    fused = fuse_batch(load_fusion(config.models.fusion, config.models.gaps), rows)
    shown = _list(_first(fused, "expression", "confidence", "valence", "arousal"))
    yield Step(Stage.FUSE, _since(started), f"of this event alone: {shown}")
    for table, columns in _LANDED_WINDOW.items():
        yield from _rows(config, table, f"window_id = '{window_id}'", columns)


_LANDED = {
    "observations": ("expression", "confidence"),
    "refusals": ("code", "article"),
    "consent_ledger": ("purpose", "modality", "action"),
}
"""What is shown of an event's own rows."""

_LANDED_WINDOW = {
    "emotion_features": ("revision", "expression", "confidence", "abstained"),
    "expression_decisions": ("action", "reason", "expires_at"),
}


def _landed(config: Config, place: Place, batch: pa.RecordBatch) -> Iterator[Step]:
    """Say in which tables the record itself has landed."""
    topic, partition, offset = place
    here = f"topic = '{topic}' AND partition = {partition} AND \"offset\" = {offset}"
    yield from _rows(config, "dead_letters", here, ("stage", "code"))
    if "event_id" in batch.schema.names:
        event = f"event_id = '{batch['event_id'][0].as_py()}'"
        for table, columns in _LANDED.items():
            yield from _rows(config, table, event, columns)


def _rows(config: Config, table: str, where: str, columns: tuple[str, ...]) -> Iterator[Step]:
    """Show a table's rows of which this holds; a table that does not stand has none."""
    if not DeltaTable.is_deltatable(f"{config.tables}/{table}"):
        return
    found = query(config.tables, f"SELECT {', '.join(columns)} FROM {table} WHERE {where}")
    for row in found.to_pylist():
        yield Step(table, None, f"landed: {_list(row)}")


def _describe_row(tag: str, rows: pa.RecordBatch) -> str:
    columns = {
        DEAD: ("code", "detail"),
        REFUSED: ("code", "article", "policy_version"),
        LEDGER: ("action", "purpose", "modality"),
    }
    parts = [_list({n: row[n] for n in columns[tag]}) for row in rows.to_pylist()]
    return f"{tag}: {'; '.join(parts)}"


def _first(rows: pa.RecordBatch, *names: str) -> dict[str, Any]:
    return {name: rows[name][0].as_py() for name in names}


def _list(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in row.items() if value is not None)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
