"""A record that makes a worker die, or raise, each time: the live job sets it aside and goes on."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import POLICIES, Config, Kafka, load_config
from pipelines.govern.consent_feed import ConsentFeed
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record as record_topics
from pipelines.kafka.topics import create_topics
from pipelines.live.state_folder import GRAPH_FILE
from pipelines.run.replay import replay
from pipelines.sessionlogs.sample_data import clips
from schemas.errors import AffectstreamError, BrokerAwayError
from schemas.modalities import MODALITIES
from schemas.stages import REFUSED
from schemas.tables import TABLES
from tests.support.hosts import served
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    live_config,
    run_to_end,
    same,
    table,
    wait_for,
)
from tests.support.model_folders import picky_text
from tests.support.records import START, at, pseudonymous, raw, record
from transforms.gate import Gate
from transforms.gating.policy import read_policy

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
_EVENTS = 150
_FATAL = "/fatal"
_WORD = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": [*MODALITIES]}


class Deadly(BaseHTTPRequestHandler):
    """A place of media; who asks it for one of them dies of a segmentation fault."""

    deaths = 0

    def do_GET(self) -> None:
        if self.path == _FATAL:
            type(self).deaths += 1
            os.kill(_asking(self.client_address[1]), signal.SIGSEGV)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(clips()[0].media)

    def log_message(self, *_: object) -> None:
        return


def _asking(port: int) -> int:
    """Return which of this process's descendants has this end of a connection."""
    (pid,) = {
        child.pid
        for child in psutil.Process().children(recursive=True)
        for socket in child.net_connections("tcp")
        if socket.laddr.port == port
    }
    return pid


@pytest.fixture
def place() -> Iterator[str]:
    with served(Deadly) as address:
        yield address


def picky(folder: Path) -> dict[str, Any]:
    """Return models of which that for text is made here, on a card without groups."""
    allowed = {"reason": "its groups do not matter here", "by": "a test", "until": "2099-01-01"}
    text = {"model": str(picky_text(folder))}
    return CONSTANT | {"text": text, "exceptions": {"text": allowed}}


def write_log(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a log that begins with a consent to all."""
    folder.mkdir()
    consent = record("consent", 0, _WORD)
    pq.write_table(pa.Table.from_batches([raw(consent, *rows)]), folder / "part-0.parquet")
    return folder


def voice(number: int, where: str) -> dict[str, Any]:
    return record("voice", number, b"", dataref=where) | {"value": None}


@pytest.fixture
def kafka(new_broker: Callable) -> Kafka:
    made = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(made, 2)
    return made


def test_records_that_kill_or_raise_each_time_are_set_aside_and_all_else_lands_once(
    kafka: Kafka, jars: Path, keys: Path, tmp_path: Path, place: str
) -> None:
    models = picky(tmp_path / "picky")
    given = {"models": models, "media": {"places": [f"{place}/"]}}
    moment = START + timedelta(seconds=60)
    sound = [record("text", n, {"text": "well played"}) for n in range(1, _EVENTS)]
    sound += [voice(n, f"{place}/clip") for n in range(1, _EVENTS, 5)]
    sound.sort(key=lambda row: row["timestamp"])
    poison = [
        voice(60, f"{place}{_FATAL}"),
        record("text", 500, {"text": "Straße"}, time=at(60)) | {"timestamp": moment},
    ]
    mixed = sorted([*sound, *poison], key=lambda row: row["timestamp"])
    publish(write_log(tmp_path / "log", mixed), kafka, console=QUIET)
    log = write_log(tmp_path / "sound", sound)
    expected = load_config(None, log=log, tables=tmp_path / "expected", keys=keys, **given)
    replay(expected, QUIET)
    config = live_config(kafka, jars, tmp_path, keys, **given)
    supervisor = run_to_end(config, 400)
    assert supervisor.starts == 1, "Flink's own restarts were enough"
    assert Deadly.deaths == 4
    for name in sorted(set(TABLES) - {"runs", "dead_letters"}):
        same(table(expected.tables, name), table(config.tables, name))
    letters = table(config.tables, "dead_letters").to_pylist()
    assert {(row["stage"], row["code"]) for row in letters} == {
        ("FetchMedia", "poison"),
        ("RecogniseText", "poison"),
    }
    assert len(letters) == len(poison)
    _check_places(letters, kafka, tmp_path / "recorded")


def _check_places(letters: list[dict[str, Any]], kafka: Kafka, folder: Path) -> None:
    """What the dead letters name is what cannot be borne."""
    record_topics(folder, kafka, console=QUIET)
    held = {
        (row["topic"], row["partition"], row["offset"]): dict(
            (header["key"], header["value"]) for header in row["headers"]
        )["ce_id"]
        for row in pq.read_table(folder).to_pylist()
    }
    named = {held[row["topic"], row["partition"], row["offset"]] for row in letters}
    assert named == {b"voice-60", b"text-500"}


def test_a_stage_that_fails_on_every_record_ends_the_job_with_one_sentence(
    kafka: Kafka, jars: Path, keys: Path, tmp_path: Path
) -> None:
    models = picky(tmp_path / "picky")
    config = live_config(kafka, jars, tmp_path, keys, models=models)
    rows = [record("text", n, {"text": "ß"}) for n in range(1, _EVENTS)]
    publish(write_log(tmp_path / "log", rows), kafka, console=QUIET)
    told = "RecogniseText raised Exception on more than 8 records, and hardly any other passed"
    with Running(config) as running:
        with pytest.raises(AffectstreamError, match=told):
            running.join(200)
        assert running.supervisor.starts == 1
    assert _dead(config) <= 8


def _dead(config: Config) -> int:
    return len(table(config.tables, "dead_letters"))


def test_keys_that_are_gone_end_the_job_and_condemn_no_record(
    kafka: Kafka, jars: Path, keys: Path, tmp_path: Path
) -> None:
    own = tmp_path / "keys.yaml"
    shutil.copy(keys, own)
    config = live_config(kafka, jars, tmp_path, own, models=CONSTANT)
    rows = [record("text", n, {"text": "hi"}) for n in range(1, _EVENTS)]
    publish(write_log(tmp_path / "log", rows), kafka, console=QUIET)
    with Running(config) as running:
        graph = config.live.state / GRAPH_FILE
        wait_for(lambda: bool(running.error) or graph.exists())
        own.unlink()  # a worker will be forked soon: it reads them with its first bundle
        with pytest.raises(AffectstreamError, match=f"no key file at {own}"):
            running.join(300)
        assert running.supervisor.starts == 1
    assert _dead(config) == 0


def test_a_broker_that_is_away_is_no_events_fault(
    new_broker: Callable, keys: Path, tmp_path: Path
) -> None:
    """The gate asks it for consents: what kafka-python raises then is told as the broker's."""
    broker = new_broker()
    kafka = Kafka(bootstrap=broker.bootstrap)
    create_topics(kafka, 1)
    feed = ConsentFeed(live_config(kafka, tmp_path, tmp_path, keys))
    events = pseudonymous(record("text", 1, {"text": "hi"}))
    gate = Gate(read_policy(POLICIES / "gate.yaml"), feed)
    refused = dict(gate.batch(events))[REFUSED]
    assert refused["code"].to_pylist() == ["consent_unknown"]
    broker.process.stop(signal.SIGKILL)
    with pytest.raises(BrokerAwayError, match="the governance topics cannot be read"):
        gate.batch(events)
