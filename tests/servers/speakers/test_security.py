"""TLS and SCRAM to a real broker; what is wrong is one sentence."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from infra.kafka.kafka_server import Broker
from pipelines.config import Config, Kafka
from pipelines.kafka.clients import python_settings
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record as record_log
from pipelines.kafka.topics import check_topics, create_topics, need_topics
from pipelines.live.guards.job_token import TOKEN_FILE
from pipelines.live.job_process import newest_checkpoint
from schemas.errors import AffectstreamError
from schemas.events import TOPICS
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    listeners,
    live_config,
    rows_of,
    run_to_end,
    table,
    wait_for,
)
from tests.support.records import raw, record
from tests.support.secret_scan import holders, kept_in, shown_by

pytestmark = pytest.mark.kafka
PASSWORD = 'pass"word\\1'
NEW_PASSWORD = "another ${file:/etc/hostname:x} \\ 'one\""


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key with its own certificate; return both in one file, and the certificate."""
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + cert.read_text())
    return both, cert


@pytest.fixture(scope="module")
def broker_and_user(
    new_broker: Callable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Broker, Kafka]:
    folder = tmp_path_factory.mktemp("secrets")
    both, cert = certificate(folder)
    (folder / "password").write_text(f"{PASSWORD}\n")
    users = {"broker": "its-own", "streamer": PASSWORD}
    broker = new_broker(pem=both, users=users)
    kafka = Kafka(
        bootstrap=broker.bootstrap, ca_file=cert, username="streamer",
        password_file=folder / "password",
    )  # fmt: skip
    create_topics(kafka, 1)
    return broker, kafka


@pytest.fixture
def secured(broker_and_user: tuple[Broker, Kafka]) -> Kafka:
    return broker_and_user[1]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    consents = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
    return written(tmp_path / "log", [record("consent", 0, consents), *texts(1, 40)])


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Take no right away from files by default, as a machine may be set up."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(*paths: Path) -> list[str]:
    """Return those that others than their owner may read, write or enter; some may vanish."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            if path.stat().st_mode & 0o077:
                found.append(str(path))
    return found


def texts(first: int, end: int, **changes: str) -> list[dict]:
    hello = {"text": "hello", "lang": "en"}
    return [record("text", number, hello, **changes) for number in range(first, end)]


def written(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")
    return folder


def test_a_log_goes_through_tls_with_a_password(secured: Kafka, log: Path, tmp_path: Path) -> None:
    assert publish(log, secured, console=QUIET).records == 40
    assert record_log(tmp_path / "back", secured, console=QUIET) >= 40


@pytest.mark.flink
def test_a_live_job_goes_through_tls_and_whatever_it_writes_is_its_owners_alone(
    secured: Kafka, log: Path, jars: Path, tmp_path: Path, keys: Path, no_umask: None
) -> None:
    publish(log, secured, console=QUIET)
    config = live_config(secured, jars, tmp_path, keys, models=CONSTANT)
    state = config.live.state
    state.mkdir(mode=0o755)
    for name in ("pipeline.pb", "config.json"):
        (state / name).touch(mode=0o644)
    listening: set[tuple[str, str]] = set()
    with Running(config, until_end=True) as running:
        while not newest_checkpoint(state) and not running.error:
            listening |= listeners()
            time.sleep(0.2)
        checkpoints = open_to_others(*(state / "checkpoints").rglob("*"))
        running.join(300)
    assert len(table(config.tables, "observations")) == 39
    assert checkpoints == []
    assert open_to_others(state, *state.glob("*"), *(state / "tls").glob("*")) == []
    assert open_to_others(Path(config.tables), state / "conf" / "flink-conf.yaml") == []
    assert {path.name for path in state.glob("*")} >= {"token", "job.log", "worker.log", "tls"}
    assert "jobserver.jar" in {name for name, _ in listening}
    assert {address for _, address in listening} <= {"127.0.0.1", "::1"}, listening


def as_broker(secured: Kafka, folder: Path) -> KafkaAdminClient:
    """Connect as the broker's own user, who may do all."""
    (folder / "own").write_text("its-own")
    own = secured.model_copy(update={"username": "broker", "password_file": folder / "own"})
    return KafkaAdminClient(**python_settings(own))


def change_password(secured: Kafka, password: str, folder: Path) -> None:
    admin = as_broker(secured, folder)
    change = UserScramCredentialUpsertion("streamer", "SCRAM-SHA-512", password)
    try:
        admin.alter_user_scram_credentials([change])
    finally:
        admin.close()
    secured.password_file.write_text(f"{password}\n")


@pytest.mark.flink
def test_the_password_stands_nowhere_and_a_new_one_needs_no_new_state(
    secured: Kafka, jars: Path, log: Path, tmp_path: Path, keys: Path
) -> None:
    publish(log, secured, console=QUIET)
    config = live_config(secured, jars, tmp_path, keys, models=CONSTANT)
    with Running(config) as running:
        wait_for(lambda: bool(running.error or newest_checkpoint(config.live.state)), 300)
        shown = shown_by(running, config.live.state)
        others = shown_by(running)
        running.supervisor.until_end = True
        running.join(300)
    assert [name for name in shown if name.startswith("graph of ")]
    assert [name for name in shown if name.startswith("REST /jobs/")]
    of_the_job = ("graph of ", "options of ", "REST ")
    assert [name for name in others if name.startswith(of_the_job)] == [], "nobody else has them"
    kept = kept_in(config.live.state)
    # That the password's file is found in graph and checkpoint says that the scan sees into them.
    seeing = holders(str(secured.password_file), shown | kept)
    assert {name.split()[0] for name in seeing} >= {"graph", "pipeline.pb", "config.json"}
    assert [name for name in seeing if name.endswith("_metadata")]
    (key,) = (str(period["key"]) for period in yaml.safe_load(keys.read_text())["periods"])
    for secret in (PASSWORD, key, bytes.fromhex(key)):
        assert holders(secret, shown | kept) == []
    token, *more = holders((config.live.state / TOKEN_FILE).read_text(), shown | kept)
    assert (token, more) == (TOKEN_FILE, []), "in its own file, and nowhere else"

    assert len(table(config.tables, "observations")) == 39
    change_password(secured, NEW_PASSWORD, tmp_path)
    publish(written(tmp_path / "more", texts(100, 120)), secured, retime=True, console=QUIET)
    again = run_to_end(config)
    assert again.job.restored is not None
    assert len(table(config.tables, "observations")) == 39 + 20
    assert holders(NEW_PASSWORD, kept_in(config.live.state)) == []


@pytest.mark.flink
def test_a_new_password_under_a_running_job_is_taken_when_it_connects_again(
    broker_and_user: tuple[Broker, Kafka], jars: Path, log: Path, tmp_path: Path, keys: Path
) -> None:
    broker, secured = broker_and_user
    publish(log, secured, console=QUIET)
    config = live_config(
        secured, jars, tmp_path, keys, models=CONSTANT, landing={"public_scenes": ["later"]}
    )
    with Running(config) as running:
        wait_for(lambda: bool(running.error) or rows_of(config, "observations") >= 39)
        change_password(secured, "a third one", tmp_path)
        broker.process.stop()
        broker.start()  # no connection outlives it
        more = written(tmp_path / "more", texts(200, 220, sceneid="later"))
        publish(more, secured, retime=True, console=QUIET)
        wait_for(lambda: bool(running.error) or scenes(config).count("later") == 20, 300)
        running.supervisor.until_end = True
        running.join(300)
    assert running.supervisor.starts == 1
    assert "Error received from SDK harness" not in running.supervisor.job.log.read_text()


def scenes(config: Config) -> list[str]:
    return table(config.tables, "observations")["scene_id"].to_pylist()


def allow_only_describing(secured: Kafka, topic: str, user: str, folder: Path) -> None:
    """Give the topic an access list with this one right; the broker's own user may do that."""
    admin = as_broker(secured, folder)
    pattern = ResourcePattern(ResourceType.TOPIC, topic)
    right = ACL(f"User:{user}", "*", ACLOperation.DESCRIBE, ACLPermissionType.ALLOW, pattern)
    try:
        admin.create_acls([right])
    finally:
        admin.close()


def test_a_topic_that_may_not_be_read_is_one_sentence(secured: Kafka, tmp_path: Path) -> None:
    allow_only_describing(secured, "session.voice", "streamer", tmp_path)
    with pytest.raises(AffectstreamError, match=r"no right to READ topic session\.voice:"):
        check_topics(secured)
    with pytest.raises(AffectstreamError, match=r"no right to WRITE topic session\.voice:"):
        need_topics(secured, TOPICS, "WRITE")


def test_a_topic_that_may_not_be_seen_is_one_sentence(
    secured: Kafka, log: Path, tmp_path: Path
) -> None:
    allow_only_describing(secured, "session.face", "somebody-else", tmp_path)
    with pytest.raises(AffectstreamError, match=r"session\.face.*right to describe"):
        need_topics(secured, TOPICS)


def test_a_wrong_password_is_one_sentence(secured: Kafka, log: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("guess")
    wrong = secured.model_copy(update={"password_file": tmp_path / "wrong"})
    with pytest.raises(AffectstreamError, match=r"uthentication|password") as raised:
        publish(log, wrong, console=QUIET)
    assert "guess" not in str(raised.value)


def test_an_untrusted_certificate_is_one_sentence(
    secured: Kafka, log: Path, tmp_path: Path
) -> None:
    _, other = certificate(tmp_path)
    with pytest.raises(AffectstreamError, match="certificate"):
        publish(log, secured.model_copy(update={"ca_file": other}), console=QUIET)
