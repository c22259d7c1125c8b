"""Session logs for benchmarks, made a row group at a time without a loop over events."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track

from model_serving.corpora.motion import motion_frames
from pipelines.sessionlogs import faces
from pipelines.sessionlogs.cloudevents import (
    JSON_TYPE,
    NOTICE,
    Event,
    Subject,
    attributes_of,
    consent,
    dataschema,
    json_bytes,
)
from pipelines.sessionlogs.sample_data import HEADS, SYNTHESISED, clips, utterances
from pipelines.sessionlogs.script import motion_payload
from pipelines.sessionlogs.writer import (
    GROUP_ROWS,
    TRUTH,
    UNPLACED,
    LogWriter,
    SessionLog,
    describe_log,
    new_log,
    partition_of,
)
from schemas.errors import AffectstreamError
from schemas.events import EVENT_TYPES, TIME, TOPIC_OF
from schemas.vocabularies import EXPRESSIONS

START_MS: Final = int(datetime(2026, 9, 16, 8, tzinfo=UTC).timestamp()) * 1000
SHARES: Final = {"text": 0.5, "motion": 0.5}
MEDIA_SHARES: Final = {"text": 0.25, "motion": 0.4, "face": 0.3, "voice": 0.05}

_POOL = 2_100
_TEXT_BYTES = 300
_PERSONAL_EACH = 50  # one text in 50 may hold numbers, addresses, links or handles
_CLEAR = 0.12  # smaller weights are left out to come to about 300 bytes
_DELAY_MS = 80
_PER_SUBJECT = (
    "source", "subject", "sessionid", "sceneid", "scenario", "purpose", "region", "ageband",
)  # fmt: skip
_PER_KIND = ("type", "dataschema")
_FIXED = {"specversion": "1.0", "noticeid": NOTICE}
_NAMES = (*_PER_SUBJECT, *_FIXED, *_PER_KIND, "content-type", "id", "time")


@dataclass(frozen=True, slots=True)
class _Pool:
    """Ready payloads of one kind; row i shows ``shown[i]`` and is in language ``langs[i]``."""

    kind: str
    payloads: list[bytes]
    content_types: list[str]
    shown: np.ndarray
    langs: np.ndarray


@dataclass(frozen=True, slots=True)
class _Tables:
    """Everything that a batch picks rows from, as Arrow columns."""

    people: list[Subject]
    pools: list[_Pool]
    attributes: pa.Array
    payloads: pa.Array
    first: np.ndarray
    """Row of each pool's first payload; one entry more than pools."""


def write_bench_log(
    out: Path,
    events: int,
    subjects: int = 1000,
    rate: float = 2000.0,
    media: bool = False,
    seed: int = 7,
) -> SessionLog:
    """Write a log of so many session events at ``rate`` a second, every subject's consent first.

    Half of the events are texts, half motion, of about 300 bytes; with ``media`` also faces and
    voice clips of the built-in sample. All are sound, and nobody is refused. Logs of different
    seeds have no event in common.

    Raises:
        AffectstreamError: the size is senseless, or ``out`` can not be used.
    """
    if events < 1 or subjects < 1 or rate <= 0:
        message = f"{events} events of {subjects} subjects at {rate}/s: give numbers above zero"
        raise AffectstreamError(message)
    rng = np.random.default_rng(seed)
    tables = _tables(_people(subjects), _pools(media, rng))
    shares = np.array(list((MEDIA_SHARES if media else SHARES).values()))
    with new_log(out) as writer:
        writer.write_events(_consents(tables.people))
        starts = range(0, events, GROUP_ROWS)
        console = Console(stderr=True)
        hidden = not console.is_terminal
        for start in track(starts, "writing", console=console, transient=True, disable=hidden):
            rows = np.arange(start, min(start + GROUP_ROWS, events))
            _write_batch(writer, tables, rows, rate, shares, rng, f"bench-{seed}-")
    return describe_log(out, writer)


def _people(number: int) -> list[Subject]:
    regions = cycle(("EU", "US", "CN", "OTHER"))
    scenarios = ("game", "social", "support")
    return [
        Subject(
            id=f"bench-person-{i:06d}",
            scene=f"bench-{i // 4:05d}",
            scenario=scenarios[i // 4 % 3],
            lang=("en", "zh")[i % 2],
            region=next(regions),
        )
        for i in range(number)
    ]


def _consents(people: list[Subject]) -> list[Event]:
    return [
        consent(subject, f"consent-{i:06d}", START_MS - 60_000, granted=True)
        for i, subject in enumerate(people)
    ]


def _pools(media: bool, rng: np.random.Generator) -> list[_Pool]:
    pools = [_texts(rng), _motion(rng)]
    return [*pools, _faces(rng), _voice()] if media else pools


def _texts(rng: np.random.Generator) -> _Pool:
    payloads, shown, langs = [], [], []
    for number in range(_POOL):
        lang, expression = ("en", "zh")[number % 2], number // 2 % len(EXPRESSIONS)
        fit = [
            u.text
            for u in utterances()
            if (u.lang, u.expression) == (lang, EXPRESSIONS[expression])
            and (number % _PERSONAL_EACH == 0 or not u.personal)
        ]
        text = ""
        while len(text.encode()) < _TEXT_BYTES - 40:
            text = f"{text} {rng.choice(fit)}".strip()
        payloads.append(json_bytes({"text": text, "lang": lang}))
        shown.append(expression)
        langs.append(number % 2)
    return _Pool("text", payloads, [JSON_TYPE] * _POOL, np.array(shown), np.array(langs))


def _motion(rng: np.random.Generator) -> _Pool:
    shown = np.arange(_POOL) // 2 % len(EXPRESSIONS)
    payloads = [motion_payload(frame, _CLEAR) for frame in motion_frames(shown, rng)]
    return _Pool("motion", payloads, [JSON_TYPE] * _POOL, shown, np.arange(_POOL) % 2)


def _faces(rng: np.random.Generator) -> _Pool:
    """Two pictures of each expression by each of 20 cameras, of which a few share a head."""
    shown = np.arange(280) // 2 % len(EXPRESSIONS)
    cameras = [faces.camera(rng) for _ in range(20)]
    payloads = [
        faces.photograph(
            i // 14 % HEADS, expression, i // 14 // HEADS * 2 + i % 2, cameras[i // 14]
        )
        for i, expression in enumerate(shown.tolist())
    ]
    types = [cameras[i // 14].content_type for i in range(280)]
    return _Pool("face", payloads, types, shown, np.arange(280) % 2)


def _voice() -> _Pool:
    ordered = sorted(clips(), key=lambda clip: (clip.name[3:], clip.lang))  # en, zh by turns
    return _Pool(
        "voice",
        [clip.media for clip in ordered],
        [clip.content_type for clip in ordered],
        np.array([EXPRESSIONS.index(clip.expression) for clip in ordered]),
        np.array([("en", "zh").index(clip.lang) for clip in ordered]),
    )


def _tables(people: list[Subject], pools: list[_Pool]) -> _Tables:
    """Lay out attribute values: by subject, fixed, by kind, then each payload's content type."""
    values: list[str] = []
    for subject in people:
        known = attributes_of(Event("text", "", subject, 0, 0, None))
        values += [known[name] for name in _PER_SUBJECT]
    values += _FIXED.values()
    for pool in pools:
        values += [EVENT_TYPES[pool.kind], dataschema(pool.kind)]
    values += [content_type for pool in pools for content_type in pool.content_types]
    payloads = [payload for pool in pools for payload in pool.payloads]
    first = np.cumsum([0, *(len(pool.payloads) for pool in pools)])
    attributes = pa.array([value.encode() for value in values], pa.binary())
    return _Tables(people, pools, attributes, pa.array(payloads, pa.binary()), first)


def _write_batch(
    writer: LogWriter,
    tables: _Tables,
    rows: np.ndarray,
    rate: float,
    shares: np.ndarray,
    rng: np.random.Generator,
    prefix: str,
) -> None:
    n = len(rows)
    who = rng.integers(0, len(tables.people), n)
    kind = rng.choice(len(shares), n, p=shares)
    sizes = np.diff(tables.first)[kind]
    # pools alternate English and Chinese, subjects too: an even number for one, an odd for other
    place = tables.first[kind] + rng.integers(0, sizes // 2) * 2 + who % 2
    arrival = START_MS + (rows * (1000 / rate)).astype(np.int64)
    at = arrival - rng.exponential(_DELAY_MS, n).astype(np.int64)
    times = pa.array(at, pa.timestamp("ms", tz="UTC"))
    ids = pc.binary_join_element_wise(prefix, pa.array(rows).cast(pa.string()), "")
    people = tables.people
    keys = pa.array([subject.id.encode() for subject in people], pa.binary())
    partitions = np.array([partition_of(key) for key in keys.to_pylist()], np.int32)
    topics = pa.array([TOPIC_OF[pool.kind] for pool in tables.pools])
    columns = [
        topics.take(pa.array(kind)),
        pa.array(partitions[who]),
        pa.array(arrival, pa.timestamp("ms", tz="UTC")),
        keys.take(pa.array(who)),
        _headers(tables, who, kind, place, ids, times),
        tables.payloads.take(pa.array(place)),
    ]
    writer.write_rows(pa.record_batch(columns, schema=UNPLACED))
    writer.write_truth(_truth(tables, who, kind, place, ids, times))


def _headers(
    tables: _Tables,
    who: np.ndarray,
    kind: np.ndarray,
    place: np.ndarray,
    ids: pa.Array,
    times: pa.Array,
) -> pa.Array:
    """Build the header lists: an index matrix (rows, names) into one column of values."""
    n, width = len(who), len(_NAMES)
    fixed = len(tables.people) * len(_PER_SUBJECT)
    kinds = fixed + len(_FIXED)
    types = kinds + len(tables.pools) * len(_PER_KIND)
    own = len(tables.attributes)
    moments = pc.replace_substring(times.cast(pa.string()), " ", "T")
    matrix = np.empty((n, width), np.int64)
    matrix[:, :8] = who[:, None] * len(_PER_SUBJECT) + np.arange(len(_PER_SUBJECT))
    matrix[:, 8:10] = fixed + np.arange(len(_FIXED))
    matrix[:, 10:12] = kinds + kind[:, None] * len(_PER_KIND) + np.arange(len(_PER_KIND))
    matrix[:, 12] = types + place
    matrix[:, 13] = own + np.arange(n)
    matrix[:, 14] = own + n + np.arange(n)
    values = pa.concat_arrays(
        [tables.attributes, ids.cast(pa.binary()), moments.cast(pa.binary())]
    ).take(pa.array(matrix.reshape(-1)))
    names = [name if name == "content-type" else f"ce_{name}" for name in _NAMES]
    keys = pa.array(names).take(pa.array(np.tile(np.arange(width), n)))
    pairs = pa.StructArray.from_arrays([keys, values], names=["key", "value"])
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), pairs)


def _truth(
    tables: _Tables,
    who: np.ndarray,
    kind: np.ndarray,
    place: np.ndarray,
    ids: pa.Array,
    times: pa.Array,
) -> pa.RecordBatch:
    people, pools = tables.people, tables.pools
    shown = np.concatenate([pool.shown for pool in pools])
    langs = np.concatenate([pool.langs for pool in pools])
    spoken = np.isin(kind, [i for i, p in enumerate(pools) if p.kind in ("text", "voice")])
    standing_in = [SYNTHESISED if pool.kind == "voice" else None for pool in pools]
    sources = [Event("text", "", subject, 0, 0, None).source for subject in people]

    def by_subject(values: list[str]) -> pa.Array:
        return pa.array(values).take(pa.array(who))

    columns = [
        by_subject(sources),
        ids,
        by_subject([subject.id for subject in people]),
        by_subject([subject.session for subject in people]),
        by_subject([subject.region for subject in people]),
        times.cast(TIME),
        pa.array([pool.kind for pool in pools]).take(pa.array(kind)),
        pa.array(EXPRESSIONS).take(pa.array(shown[place])),
        pa.array(["en", "zh"]).take(pa.array(langs[place], mask=~spoken)),
        pa.repeat("bench", len(who)),
        pa.array(standing_in, pa.string()).take(pa.array(kind)),
    ]
    return pa.record_batch(columns, schema=TRUTH)
