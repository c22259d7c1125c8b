"""Session logs: what stands in them, and that the stages before the models agree with it."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.sessionlogs.bench_log import write_bench_log
from pipelines.sessionlogs.cloudevents import Event, Subject, encode, rfc3339
from pipelines.sessionlogs.corpora import clean
from pipelines.sessionlogs.corpora_log import (
    HOLD_MS,
    START_MS,
    Turn,
    cast_scenes,
    timeline,
    write_corpora_log,
)
from pipelines.sessionlogs.sample import PLANTED, write_sample
from pipelines.sessionlogs.script import NEUTRAL
from pipelines.sessionlogs.writer import SessionLog, in_arrival_order, new_log
from schemas.errors import AffectstreamError
from schemas.events import RAW, TOPICS
from schemas.stages import DEAD, MAIN
from schemas.vocabularies import EXPRESSIONS
from tests.support.properties import examples
from tests.support.records import IDS, PSEUDONYMS
from transforms.decode import decode_batch
from transforms.gate import Gate
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.policy import Policy, read_policy
from transforms.validate import validate_batch

DATA = Path(__file__).parents[4] / "shared" / "data"
POLICY = Path(__file__).parents[3] / "schemas" / "policies" / "gate.yaml"
GATED = ("text", "voice", "face", "motion", "context")
UNOPENED = ("audio_undecodable", "image_undecodable", "duplicate")  # found after the gate

needs_corpora = pytest.mark.skipif(
    not DATA.is_dir(), reason="the labelled corpora are not beside the repository"
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SessionLog:
    return write_sample(tmp_path_factory.mktemp("sample") / "log")


@pytest.fixture(scope="module")
def raw(sample: SessionLog) -> pa.Table:
    return read(sample)


def read(log: SessionLog) -> pa.Table:
    return pa.concat_tables(pq.read_table(part) for part in sorted(log.folder.iterdir()))


def truth_of(log: SessionLog) -> pa.Table:
    return pq.read_table(log.truth)


def decoded(raw: pa.Table) -> tuple[dict[str, list[pa.RecordBatch]], Counter]:
    """Valid events by kind, and dead letters by code."""
    events: dict[str, list[pa.RecordBatch]] = {}
    codes: Counter = Counter()
    for batch in raw.to_batches():
        for tag, out in decode_batch(batch, IDS):
            if tag == DEAD:
                codes.update(out["code"].to_pylist())
                continue
            kind = next(k for t, k in TOPICS.items() if t == out["topic"][0].as_py())
            valid, dead = validate_batch(out, kind)
            codes.update(dead["code"].to_pylist())
            events.setdefault(kind, []).append(valid)
    return events, codes


def refused(events: dict[str, list[pa.RecordBatch]], policy: Policy) -> Counter:
    known = {kind: [PSEUDONYMS.batch(b) for b in bs if len(b)] for kind, bs in events.items()}
    governance = known.get("consent", []) + known.get("erasure", [])
    gate = Gate(policy, Consents(ledger_rows(batch, policy.purposes)[0] for batch in governance))
    codes: Counter = Counter()
    for kind in GATED:
        for batch in known[kind]:
            for tag, out in gate.batch(batch):
                if tag != MAIN:
                    codes.update(out["code"].to_pylist())
    return codes


def check_offsets(raw: pa.Table) -> None:
    places: dict[tuple[str, int], int] = Counter()
    for topic, partition, offset in zip(
        *(raw[name].to_pylist() for name in ("topic", "partition", "offset")), strict=True
    ):
        assert offset == places[topic, partition]
        places[topic, partition] += 1


def check_truth(log: SessionLog, raw: pa.Table) -> None:
    events, _ = decoded(raw)
    truth = truth_of(log)
    names = ("subject", "source", "id", "event_time", "region")
    kinds = truth["kind"].unique().to_pylist()
    by_kind = [truth.filter(pc.equal(truth["kind"], kind)) for kind in kinds]
    truth = pa.concat_tables(by_kind)
    ids = pa.concat_arrays(
        [
            IDS.of(kind, *(rows[name].combine_chunks() for name in names))[0]
            for kind, rows in zip(kinds, by_kind, strict=True)
        ]
    )
    assert pc.count_distinct(ids).as_py() == truth.num_rows
    found = {}
    for kind, batches in events.items():
        for batch in batches:
            columns = ("event_id", "subject", "session_id", "event_time")
            rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
            found.update({row[0]: (kind, *row[1:]) for row in rows})
    columns = ("kind", "subject", "session_id", "event_time", "expression")
    for event_id, *row, expression in zip(
        ids.to_pylist(), *(truth[name].to_pylist() for name in columns), strict=True
    ):
        assert found[event_id] == tuple(row)
        assert expression in EXPRESSIONS


def test_sample_holds_exactly_the_raw_columns_in_arrival_order(sample, raw):
    assert all(pq.read_schema(part).equals(RAW) for part in sample.folder.iterdir())
    assert raw.num_rows == sample.records
    times = raw["timestamp"].cast(pa.int64()).to_numpy()
    assert (np.diff(times) >= 0).all()


def test_sample_offsets_are_consecutive_in_each_partition(raw):
    check_offsets(raw)
    assert set(raw["partition"].to_pylist()) == {0, 1, 2}


def test_sample_has_the_promised_breadth(sample, raw):
    truth = truth_of(sample)
    assert pc.count_distinct(truth["subject"]).as_py() >= 8
    assert pc.count_distinct(truth["session_id"]).as_py() == 4
    span = pc.subtract(pc.max(truth["event_time"]), pc.min(truth["event_time"])).as_py()
    assert span.total_seconds() >= 180
    assert set(raw["topic"].to_pylist()) == set(TOPICS)
    shown = truth.group_by(["kind", "expression"]).aggregate([([], "count_all")])
    assert shown.num_rows == 4 * len(EXPRESSIONS)


def test_sample_comes_in_both_modes_and_every_media_type(raw):
    types = Counter(
        header["value"].decode()
        for headers in raw["headers"].to_pylist()
        for header in headers
        if header["key"] == "content-type"
    )
    media = {f"image/{c}" for c in ("jpeg", "png", "webp")} | {
        f"audio/{c}" for c in ("ogg", "flac", "wav")
    }
    assert media <= set(types)
    assert types["application/json"] > types["application/cloudevents+json"] > 100


def test_sample_events_come_late_and_shuffled(raw):
    delays = []
    for batches in decoded(raw)[0].values():
        for batch in batches:
            at = zip(batch["topic"], batch["partition"], batch["offset"], strict=True)
            places = [tuple(value.as_py() for value in place) for place in at]
            delays += list(zip(places, batch["event_time"].to_pylist(), strict=True))
    arrived = {
        place: time
        for *place, time in zip(
            *(raw[n].to_pylist() for n in ("topic", "partition", "offset", "timestamp")),
            strict=True,
        )
        for place in [tuple(place)]
    }
    late = [(arrived[place] - time).total_seconds() for place, time in delays]
    assert min(late) >= 0
    assert sum(1 < x < 10 for x in late) > 50
    assert 5 <= sum(x >= 20 for x in late) <= 10


def test_every_planted_fault_of_the_sample_is_owed_and_found(sample, raw):
    events, dead = decoded(raw)
    assert {code: sample.planted[code] for code in PLANTED} == dict(PLANTED)
    refusals = refused(events, read_policy(POLICY))
    owed = {code: n for code, n in sample.planted.items() if code not in UNOPENED}
    assert dict(dead | refusals) == owed
    assert refusals["consent_unknown"] > 0
    assert refusals["minor_biometric"] > 0


def test_planted_media_are_broken_and_the_others_open(sample, raw):
    events, _ = decoded(raw)
    opens = {
        "face": lambda media: Image.open(io.BytesIO(media)).load(),
        "voice": lambda media: soundfile.read(io.BytesIO(media)),
    }
    for kind, code in (("face", "image_undecodable"), ("voice", "audio_undecodable")):
        broken = 0
        for batch in events[kind]:
            for media in batch["media"].to_pylist():
                try:
                    opens[kind](media)
                except (OSError, soundfile.LibsndfileError):
                    broken += 1
        assert broken == sample.planted[code]


def test_a_duplicate_has_the_source_and_id_of_another_event(sample, raw):
    events, _ = decoded(raw)
    ids = Counter(i for bs in events.values() for b in bs for i in b["event_id"].to_pylist())
    assert sorted(n for n in ids.values() if n > 1) == [2] * sample.planted["duplicate"]


def test_sample_truth_joins_to_its_events(sample, raw):
    check_truth(sample, raw)


def test_sample_is_the_same_every_time(sample, raw, tmp_path):
    again = write_sample(tmp_path / "again")
    assert read(again).equals(raw)
    assert truth_of(again).equals(truth_of(sample))


def test_a_folder_that_is_no_session_log_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AffectstreamError, match="not a session log"):
        write_bench_log(tmp_path, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_write_leaves_nothing_and_keeps_the_old_log(tmp_path):
    out = tmp_path / "log"
    write_bench_log(out, 10, subjects=2)
    with pytest.raises(RuntimeError):
        _write_and_fail(out)
    assert read(SessionLog(out / "log", out / "truth.parquet", 0, {})).num_rows == 12
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_bench_log_is_sound_and_of_the_size_asked(tmp_path):
    log = write_bench_log(tmp_path / "a", 40_000, subjects=40)
    raw = read(log)
    assert raw.schema.equals(RAW)
    assert raw.num_rows == log.records == 40_040
    check_offsets(raw)
    events, dead = decoded(raw)
    assert not dead
    assert not refused(events | {k: [] for k in GATED if k not in events}, read_policy(POLICY))
    counts = {kind: sum(b.num_rows for b in batches) for kind, batches in events.items()}
    assert abs(counts["text"] - counts["motion"]) < 2_000
    size = pc.mean(pc.binary_length(raw["value"])).as_py()
    assert 250 < size < 350
    again = write_bench_log(tmp_path / "b", 40_000, subjects=40)
    assert read(again).equals(raw)


def test_bench_log_truth_joins_and_media_are_there_when_asked(tmp_path):
    log = write_bench_log(tmp_path / "a", 400, subjects=8, media=True)
    raw = read(log)
    assert {"session.face", "session.voice"} < set(raw["topic"].to_pylist())
    assert truth_of(log).num_rows == 400
    check_truth(log, raw)


@pytest.mark.corpora
@needs_corpora
def test_corpora_log_plays_held_out_material(tmp_path):
    log = write_corpora_log(tmp_path / "a", DATA, subjects=6, minutes=2, seed=3)
    raw, truth = read(log), truth_of(log)
    check_offsets(raw)
    check_truth(log, raw)
    events, dead = decoded(raw)
    owed = {code: n for code, n in log.planted.items() if code not in UNOPENED}
    assert dict(dead | refused(events, read_policy(POLICY))) == owed
    assert set(truth["corpus"].to_pylist()) == {
        "meld", "cped", "ravdess", "emodb", "ferplus", "synthetic",
    }  # fmt: skip
    assert pc.count_distinct(truth["subject"]).as_py() == 6
    again = write_corpora_log(tmp_path / "b", DATA, subjects=6, minutes=2, seed=3)
    assert read(again).equals(raw)
    other = write_corpora_log(tmp_path / "c", DATA, subjects=6, minutes=0.5, seed=4)
    same = read(other).slice(6, 20)["value"], raw.slice(6, 20)["value"]
    assert not same[0].equals(same[1])


def test_missing_corpora_are_named(tmp_path):
    with pytest.raises(AffectstreamError, match="has no text/meld"):
        write_corpora_log(tmp_path / "out", tmp_path / "nowhere", 4, 1, 0)
    assert not (tmp_path / "out").exists()


@examples(60)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 200)), max_size=60))
def test_arrival_order_holds_back_no_more_than_needed(times):
    events = [_event(at, at + delay) for at, delay in sorted(times)]
    ordered = list(in_arrival_order(events))
    assert [e.arrival_ms for e in ordered] == sorted(e.arrival_ms for e in events)
    assert sorted(map(id, ordered)) == sorted(map(id, events))


@examples(60)
@given(st.integers(2, 80))
def test_scenes_take_two_to_five_subjects(subjects):
    scenes = cast_scenes(subjects, 60_000, np.random.default_rng(subjects))
    assert {len(cast) for cast in scenes} <= {2, 3, 4, 5}
    assert len({s.id for cast in scenes for s in cast}) == subjects


def test_an_expression_holds_for_eight_seconds_after_its_utterance():
    turns = [Turn(START_MS + 1_000, 2_000, SUBJECT, "hey", "joy")]
    times = START_MS + np.array([0, 1_000, 1_000 + HOLD_MS - 1, 1_000 + HOLD_MS])
    joy = EXPRESSIONS.index("joy")
    assert timeline(turns).at(times).tolist() == [NEUTRAL, joy, joy, NEUTRAL]


def test_mojibake_of_old_transcripts_is_repaired():
    assert clean("You\x92re  late \x97 again\x85") == "You’re late — again…"


def test_times_are_rfc3339_with_z():
    assert rfc3339(1_789_380_000_007) == "2026-09-14T10:00:00.007Z"


def test_partition_hangs_on_the_key_alone():
    records = [encode(_event(at, at)) for at in range(5)]
    assert {record.key for record in records} == {b"someone"}


def _write_and_fail(out: Path) -> None:
    with new_log(out) as writer:
        writer.write_events([_event(0, 0)])
        raise RuntimeError


SUBJECT = Subject("someone", "scene-1", "social", "en", "EU")


def _event(time_ms: int, arrival_ms: int) -> Event:
    return Event("text", f"e-{time_ms}", SUBJECT, time_ms, arrival_ms, b'{"text":"hi"}')
