"""ReadKafka: topics of a broker → RAW batches, on any runner with Java, one or a few a bundle."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.external import (
    ExternalTransform,
    JavaJarExpansionService,
    NamedTupleBasedPayloadBuilder,
)
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from schemas.events import AHEAD_S, CONTEXTS, RAW, SESSIONS, TOPICS
from schemas.settings import Kafka, Windows
from transforms.late import LATE
from transforms.sources.recorded import MAX_ROWS, split_to_bounds

URN = "affectstream:kafka:read:v1"
EMBEDDED = "EMBEDDED"
"""The environment of Java inside of the runner's own JVM, without docker; only Flink's has it."""


class _Payload(NamedTuple):
    """What ``affectstream.KafkaRead.Config`` takes."""

    consumer: Mapping[str, str]
    topics: list[str]
    sessions: list[str]
    contexts: list[str]
    delay_ms: int
    idle_ms: int
    ahead_ms: int
    clock_offset_ms: int
    window_ms: int
    lateness_ms: int


def unpack(packed: bytes) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Return the RAW batches of a pack: the records in time, and those later than allowed."""
    in_time, place = _columns(packed, 0)
    late, _ = _columns(packed, place)
    return in_time, late


def _columns(packed: bytes, place: int) -> tuple[pa.RecordBatch, int]:
    """Return a batch as ``affectstream.Columns`` lays it out here, and where it ends."""

    def numbers(count: int, kind: str) -> np.ndarray:
        nonlocal place
        column = np.frombuffer(packed, kind, count, place)
        place += column.nbytes
        return column.astype(kind.replace(">", "<"))

    def texts(count: int, kind: pa.DataType) -> pa.Array:
        nonlocal place
        lengths = numbers(count, ">i4")
        ends = np.cumsum(np.maximum(lengths, 0), dtype=np.int32)
        offsets = pa.py_buffer(np.r_[np.int32(0), ends].tobytes())
        size = int(ends[-1]) if count else 0
        valid = pa.py_buffer(np.packbits(lengths >= 0, bitorder="little").tobytes())
        data = pa.py_buffer(packed[place : place + size])
        place += size
        return pa.Array.from_buffers(kind, count, [valid, offsets, data])

    rows, pairs = numbers(2, ">i4").tolist()
    partition, offset = numbers(rows, ">i4"), numbers(rows, ">i8")
    timestamp = pa.array(numbers(rows, ">i8")).cast(RAW.field("timestamp").type)
    starts = np.r_[np.int32(0), np.cumsum(numbers(rows, ">i4"), dtype=np.int32)]
    topic, key, value = (texts(rows, kind) for kind in (pa.string(), pa.binary(), pa.binary()))
    named = [texts(pairs, pa.string()), texts(pairs, pa.binary())]
    headers = pa.ListArray.from_arrays(
        pa.array(starts),
        pa.StructArray.from_arrays(named, fields=list(RAW.field("headers").type.value_type)),
    )
    columns = [topic, pa.array(partition), pa.array(offset), timestamp, key, headers, value]
    return pa.record_batch(columns, schema=RAW), place


class _Unpack(beam.DoFn):
    """Makes RAW batches of the packs of a bundle: each costs every stage about a millisecond.

    Late records are kept apart and stand at the end of time; a batch of others is as old as the
    oldest of them (``affectstream.PackedSource``).
    """

    def start_bundle(self) -> None:
        self._late: list[pa.RecordBatch] = []
        self._start()

    def _start(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self._earliest = LATE

    def process(self, packed: bytes, at: Any = beam.DoFn.TimestampParam) -> Iterator[WindowedValue]:
        batch, late = unpack(packed)
        if late.num_rows:
            self._late.append(late)
        if not batch.num_rows:
            return
        if self._rows + batch.num_rows > MAX_ROWS:
            yield from _batches(self._batches, self._earliest)
            self._start()
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._earliest = min(at, self._earliest)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from _batches(self._batches, self._earliest)
        yield from _batches(self._late, LATE)


def _batches(parts: list[pa.RecordBatch], at: Timestamp) -> Iterator[WindowedValue]:
    if parts:
        for batch in split_to_bounds(pa.concat_batches(parts)):
            yield WindowedValue(batch, at, (GlobalWindow(),))


class ExpansionOptions(PipelineOptions):
    """Where the Java source is put into the graph."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--expansion_address",
            help="host:port of an expansion service that runs; without it one is started",
        )


def expansion_arguments(jar: Path, environment: str) -> list[str]:
    """Return the arguments of an expansion service, after its port."""
    arguments = [f"--defaultEnvironmentType={environment}", f"--filesToStage={jar}"]
    if environment == EMBEDDED:  # Flink reads natively, offsets in its checkpoints
        arguments.append("--experiments=use_deprecated_read")
    return arguments


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


class ReadKafka(beam.PTransform):
    """The session and governance topics → RAW batches of up to 8,192 rows or 4 MB.

    ``consumer`` are the settings of a Java consumer; of ``kafka`` the rules of event time count.
    """

    def __init__(
        self,
        *,
        consumer: dict[str, str],
        kafka: Kafka,
        windows: Windows,
        expansion: Path,
        environment: str = EMBEDDED,
    ) -> None:
        super().__init__()
        self._payload = _Payload(
            consumer=consumer,
            topics=list(TOPICS),
            sessions=list(SESSIONS),
            contexts=list(CONTEXTS),
            delay_ms=_ms(kafka.delay_s),
            idle_ms=_ms(kafka.idle_s),
            ahead_ms=_ms(AHEAD_S),
            clock_offset_ms=_ms(kafka.clock_offset_s),
            window_ms=_ms(windows.length_s),
            lateness_ms=_ms(windows.lateness_s),
        )
        self._expansion = expansion
        self._environment = environment

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        service = pbegin.pipeline.options.view_as(ExpansionOptions).expansion_address
        if service is None:
            arguments = ["{{PORT}}", *expansion_arguments(self._expansion, self._environment)]
            service = JavaJarExpansionService(str(self._expansion), extra_args=arguments)
        payload = NamedTupleBasedPayloadBuilder(self._payload)
        return (
            pbegin
            | "Java" >> ExternalTransform(URN, payload, service)  # packs of columns
            | "Unpack" >> beam.ParDo(_Unpack()).with_output_types(pa.RecordBatch)
        )
