"""The live job gives the tables that a replay of the same log gives: killed, late, taken over.

Both tests live on the built-in sample, cut in two: ``first`` and, half an hour of event time later,
``rest``, which begins with a subject that withdraws its consent and another that gives it. Neither
the time of day nor the speed of the machine decides what is late: the first test moves each part to
the time at which it is published, the second has a clock that cannot reach ``rest`` while it still
reads ``first``.
"""

import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile
from apache_beam.portability.api import beam_runner_api_pb2

from infra.bench.loads import commits_of
from pipelines.config import Config, Kafka, load_config
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record as record_topics
from pipelines.kafka.topics import create_topics
from pipelines.run.replay import replay
from pipelines.sessionlogs.sample import START_MS, write_sample
from pipelines.sessionlogs.sample_data import clips
from schemas.errors import AffectstreamError
from schemas.events import CONTEXTS, GOVERNANCE, RAW, SESSIONS
from schemas.modalities import MODALITIES
from schemas.stages import MAIN
from tests.support.live_runs import (
    COMPARED,
    QUIET,
    Running,
    differing,
    live_config,
    rows_of,
    same,
    same_letters,
    table,
    wait_for,
)
from tests.support.records import IDS, raw, record, shift_records
from transforms.decode import decode_batch

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
_DELAY = timedelta(seconds=2)
_EPOCH = datetime.fromtimestamp(0, UTC)
_CLIP_BYTES = 900_000
_HELD_EACH = 60
_AT_ONCE = 1e9
"""A speed: nothing is waited for, and the first record is now; without one the last would be."""


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(START_MS / 1000 + seconds, UTC)


GAP = timedelta(minutes=30)
FIRST_END, CUT = moment(80), moment(130)
SAID, REST, LATEST_HELD, END = (moment(seconds) + GAP for seconds in (121, 130, 160, 185))


@dataclass(frozen=True, slots=True)
class Session:
    """The sample as logs, and the tables of a replay of each whole one.

    ``whole`` is ``first`` and ``rest``, ``on_time`` is ``first`` and ``punctual``; ``held`` is
    what ``rest`` has and ``punctual`` has not.
    """

    folder: Path
    media: Path

    def log(self, name: str) -> Path:
        return self.folder / name

    def tables(self, name: str) -> Path:
        return self.folder / "tables" / name

    def config(self, log: str, tables: Path, keys: Path) -> Config:
        return load_config(None, log=self.log(log), tables=tables, keys=keys, **self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """A place for media, and a memory that is longer than the gap."""
        places = [f"{self.media.as_uri()}/"]
        return {"media": {"places": places}, "decisions": {"forget_s": 3600}}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Session:
    folder = tmp_path_factory.mktemp("session")
    made = Session(folder, folder / "media")
    sample = write_sample(folder / "sample").folder
    log = _raw(sample)
    log = log.filter(_at(log, set(out_of_order(sample)), invert=True))
    arrival, topic = log["timestamp"], log["topic"]
    said = pc.is_in(topic, pa.array(GOVERNANCE))
    first = log.filter(pc.less(arrival, FIRST_END))
    later = pc.and_(pc.greater_equal(arrival, FIRST_END), said)
    rest = log.filter(pc.or_(later, pc.greater_equal(arrival, CUT)))
    rest = raw(*_said_and_shown(made), *shift_records(rest, GAP))
    late = _at(rest, _held(rest))
    parts = {
        "first": [first],
        "rest": [rest],
        "punctual": [rest.filter(pc.invert(late))],
        "held": [rest.filter(late)],
    }
    parts["whole"] = parts["first"] + parts["rest"]
    parts["on_time"] = parts["first"] + parts["punctual"]
    for name, batches in parts.items():
        made.log(name).mkdir()
        pq.write_table(pa.Table.from_batches(batches), made.log(name) / "part-0.parquet")
    for name in ("whole", "on_time"):
        replay(made.config(name, made.tables(name), keys), QUIET)
    return made


def _said_and_shown(session: Session) -> list[dict[str, Any]]:
    """Return a late consent, a voice chunk of 900 kB and one that is named by its place."""
    granted = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": [*MODALITIES]}
    silent = {"subject": "caller-silent-6403", "region": "EU", "time": SAID.isoformat()}
    wave, _ = soundfile.read(io.BytesIO(clips()[0].media))
    chunk = io.BytesIO()
    soundfile.write(chunk, np.resize(wave, _CLIP_BYTES // 2), 44_100, format="WAV")
    session.media.mkdir()
    (session.media / "clip").write_bytes(clips()[1].media)
    marlow = {"subject": "guest-marlow-4201", "region": "EU", "time": REST.isoformat()}
    marlow |= {"sessionid": "rooftop-2-run-1", "sceneid": "rooftop-2"}
    place = (session.media / "clip").as_uri()
    return [
        record("consent", 1, granted, **silent) | {"timestamp": SAID},
        record("voice", 1, chunk.getvalue(), **marlow) | {"timestamp": REST},
        record("voice", 2, b"", dataref=place, **marlow) | {"timestamp": REST, "value": None},
    ]


def _raw(log: Path) -> pa.RecordBatch:
    return pq.read_table(log).cast(RAW).combine_chunks().to_batches()[0]


def _place(log: pa.RecordBatch) -> list[tuple[str, int, int]]:
    return list(zip(*(log[n].to_pylist() for n in ("topic", "partition", "offset")), strict=True))


def _session_events(log: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return id, time and place of a log's session events, in its order."""
    rank = {place: number for number, place in enumerate(_place(log))}
    names = ["event_id", "event_time", "topic", "partition", "offset"]
    events = [
        row
        for tag, batch in decode_batch(log, IDS)
        if tag == MAIN and batch["topic"][0].as_py() in (*SESSIONS, *CONTEXTS)
        for row in batch.select(names).to_pylist()
    ]
    return sorted(events, key=lambda r: rank[r["topic"], r["partition"], r["offset"]])


def out_of_order(log: Path) -> set[str]:
    """Return the ids of session events that came too late for a window, wherever windows begin."""
    late = set()
    latest = _EPOCH + _DELAY
    for row in _session_events(_raw(log)):
        at = row["event_time"]
        if at <= latest - _DELAY:
            late.add(row["event_id"])
        latest = max(latest, at)
    return late


def _held(log: pa.RecordBatch) -> set[str]:
    """Return the ids of some events, early enough for their windows to close before the end."""
    early = [row["event_id"] for row in _session_events(log) if row["event_time"] < LATEST_HELD]
    return set(early[::_HELD_EACH])


def _at(log: pa.RecordBatch, ids: set[str], *, invert: bool = False) -> pa.Array:
    """Return which records of a log hold the session events of these ids."""
    names = ("topic", "partition", "offset")
    found = {
        tuple(row[name] for name in names) for row in _session_events(log) if row["event_id"] in ids
    }
    return pa.array([(place in found) != invert for place in _place(log)], pa.bool_())


def played(kafka: Kafka, last: datetime) -> Kafka:
    """Return the settings of a job that starts now; its clock soon reaches an old log's end."""
    return kafka.model_copy(update={"clock_offset_s": last.timestamp() - 20 - time.time()})


def landed(config: Config, name: str) -> pa.Table:
    return table(config.tables, name)


def test_a_killed_job_goes_on_with_its_history_and_what_was_said_meanwhile(
    session: Session, keys: Path, jars: Path, new_broker: Callable, tmp_path: Path
) -> None:
    """One real clock, since a checkpoint keeps that of the first start; one job, killed between.

    ``first`` ends when it is published. ``rest`` begins then, more than a minute long: it is read
    ahead of the clock, after the watermark of the kill, so nothing of it is late.
    """
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(kafka, 3)
    sent = publish(session.log("first"), kafka, retime=True, console=QUIET)
    last = FIRST_END + timedelta(seconds=sent.shift_s - 1)
    config = live_config(kafka, jars, tmp_path, keys, **session.settings)
    with Running(config) as running:
        wait_for(lambda: bool(running.error) or _decided(config) > last, 600)
        assert rows_of(config, "expression_decisions") > 50
        done = running.supervisor.health().checkpoints
        wait_for(lambda: running.supervisor.health().checkpoints >= done + 2)
        running.supervisor.stop()  # before the kill, or it might be starting the job again
        os.kill(running.supervisor.job.server_pid(), signal.SIGKILL)
        with pytest.raises(AffectstreamError, match="not drained"):
            running.join(60)
    killed = datetime.now(UTC)
    sent = publish(session.log("rest"), kafka, speed=_AT_ONCE, retime=True, console=QUIET)
    with Running(config) as running:
        expected = _replay_of_topics(session, kafka, keys, tmp_path)  # while the job starts
        windows = len(table(expected.tables, "emotion_features"))
        wait_for(lambda: bool(running.error) or rows_of(config, "emotion_features") >= windows, 300)
        running.supervisor.until_end = True
        running.join(120)
    assert running.supervisor.job.restored is not None
    for name in COMPARED:
        same(table(expected.tables, name), landed(config, name))
    same_letters(expected.tables, config.tables)
    shift = timedelta(seconds=sent.shift_s)
    _check_history(config, killed)
    _check_consents(config, killed, SAID + shift)
    _check_voice(config, REST + shift)
    graph = beam_runner_api_pb2.Pipeline.FromString(
        (config.live.state / "pipeline.pb").read_bytes()
    )
    closing = {w.closing_behavior for w in graph.components.windowing_strategies.values()}
    assert closing == {beam_runner_api_pb2.ClosingBehavior.EMIT_IF_NONEMPTY}, "windows come twice"


def _decided(config: Config) -> datetime:
    """Return the end of the last window that a decision has landed for."""
    if not rows_of(config, "expression_decisions"):
        return _EPOCH
    return pc.max(landed(config, "expression_decisions")["window_end"]).as_py()


def _replay_of_topics(session: Session, kafka: Kafka, keys: Path, folder: Path) -> Config:
    """Replay what the topics hold; return the settings, which name the tables."""
    record_topics(folder / "recorded", kafka, console=QUIET)
    config = load_config(
        None,
        log=folder / "recorded",
        tables=folder / "expected",
        keys=keys,
        **session.settings,
    )
    replay(config, QUIET)
    return config


def _check_history(config: Config, killed: datetime) -> None:
    """Sessions go on over the kill: the first decision after it knows what came before.

    The first window of a session without a history is its own baseline: the shifts are exactly 0.
    """
    before: dict[tuple[str, str], tuple[float, float]] = {}
    after: dict[tuple[str, str], tuple[float, float]] = {}
    decisions = landed(config, "expression_decisions").sort_by("window_end")
    for row in decisions.to_pylist():
        first = before if row["window_end"] < killed else after
        shifts = row["valence_shift"], row["arousal_shift"]
        first.setdefault((row["subject_ref"], row["session_ref"]), shifts)
    assert set(before.values()) == {(0, 0)}
    went_on = before.keys() & after.keys()
    assert len(went_on) >= 5
    assert all(after[session] != (0, 0) for session in went_on)


def _check_consents(config: Config, killed: datetime, said: datetime) -> None:
    """What was said while the job was down holds from the first event after its start."""
    ledger, seen, refused = (
        landed(config, name).to_pylist() for name in ("consent_ledger", "observations", "refusals")
    )
    (withdrew,) = {row["subject_ref"] for row in ledger if row["action"] == "withdrawn"}
    (granted,) = {row["subject_ref"] for row in ledger if row["event_time"] == said}
    codes = {
        (who, code, row["event_time"] > killed)
        for row in refused
        if (who := row["subject_ref"]) in (withdrew, granted)
        if (code := row["code"]).startswith("consent_")
    }
    assert codes == {
        (withdrew, "consent_withdrawn", True),
        (granted, "consent_unknown", False),
    }
    observed = {
        (row["subject_ref"], row["event_time"] > killed)
        for row in seen
        if row["subject_ref"] in (withdrew, granted)
    }
    assert observed == {(withdrew, False), (granted, True)}


def _check_voice(config: Config, at: datetime) -> None:
    """The 900 kB chunk and the one that was named only are observed."""
    seen = landed(config, "observations")
    spoken = pc.and_(pc.equal(seen["modality"], "voice"), pc.equal(seen["event_time"], at))
    assert pc.sum(spoken).as_py() == 2


def test_late_events_become_revisions_and_change_no_decision(
    session: Session, keys: Path, jars: Path, new_broker: Callable, tmp_path: Path
) -> None:
    """A replay of the first half is taken over by a live job; then come late events.

    Two partitions, parallelism 2, two workers; ``lateness_s`` is larger than any start of the job.
    """
    replay(session.config("first", tmp_path / "tables", keys), QUIET)
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(kafka, 2)
    publish(session.log("punctual"), kafka, console=QUIET)
    given = session.settings | {"windows": {"lateness_s": 1800}}
    live = {"parallelism": 2, "workers": 2, "bootstrap": True}
    config = live_config(played(kafka, END), jars, tmp_path, keys, live=live, **given)
    whole, on_time = (
        {name: table(session.tables(log), name) for name in COMPARED}
        for log in ("whole", "on_time")
    )
    revised = differing(whole["emotion_features"], on_time["emotion_features"], "window_id")
    assert len(revised) > 8
    root = Path(config.tables)
    with Running(config) as running:
        wait_for(lambda: bool(running.error) or revised <= _windows(config), 600)
        assert not [*commits_of(root, "emotion_features", "MERGE")], "a revision before its event"
        publish(session.log("held"), kafka, speed=10, console=QUIET)
        running.supervisor.until_end = True
        running.join(300)
    assert running.supervisor.starts == 1
    assert [*commits_of(root, "emotion_features", "MERGE")]
    for name in set(COMPARED) - {"expression_decisions", "review_queue"}:
        same(whole[name], landed(config, name))
    same_letters(str(session.tables("whole")), config.tables)
    for name in ("expression_decisions", "review_queue"):  # none left out, also near a threshold
        same(on_time[name], landed(config, name))
    _check_excluded(whole, landed(config, "expression_decisions"), revised)


def _windows(config: Config) -> set[str]:
    return set(landed(config, "emotion_features")["window_id"].to_pylist())


def _check_excluded(whole: dict[str, pa.Table], made: pa.Table, revised: set[str]) -> None:
    """A decision differs from that of all events only from a subject's first late window on."""
    wanted = whole["expression_decisions"]
    first: dict[str, datetime] = {}
    for row in wanted.select(["window_id", "subject_ref", "window_end"]).to_pylist():
        if row["window_id"] in revised:
            end = row["window_end"]
            first[row["subject_ref"]] = min(end, first.get(row["subject_ref"], end))
    excluded = {
        row["decision_id"]
        for row in wanted.select(["decision_id", "subject_ref", "window_end"]).to_pylist()
        if row["subject_ref"] in first and row["window_end"] >= first[row["subject_ref"]]
    }
    differ = differing(wanted, made, "decision_id")
    assert differ <= excluded
    assert differ
    assert len(excluded) < len(wanted) / 2
