"""Access lists on a real broker: who may write which topic, who may read it, and that a job works.

The broker of the job is closed: what no list allows is forbidden there.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from rich.console import Console

from examples import sign_consent
from infra.kafka.kafka_server import Broker
from pipelines.config import Config, Kafka, load_kafka, load_users
from pipelines.kafka.acl import create_acls
from pipelines.kafka.clients import partitions_of, python_settings, reader_settings
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record as record_log
from pipelines.kafka.topics import FEED, FEED_POSITION, create_feed_topics, create_topics
from pipelines.kafka.users import Users
from pipelines.serve.feed import feeding
from schemas.errors import AffectstreamError
from schemas.events import GOVERNANCE, TOPICS
from schemas.stages import MAIN
from tests.support.live_runs import CONSTANT, QUIET, live_config, run_to_end, table
from tests.support.records import IDS, attributes, raw, record
from transforms.decode import decode_batch
from transforms.decoding.signatures import read_signers
from transforms.sources.recorded import read_records

pytestmark = pytest.mark.kafka
NAMES = ("broker", "job", "consents", "world", "shop", "mallory")
USERS = Users(
    job="job", governance=("consents",), sessions=("world",), recommenders=("shop",)
)  # fmt: skip
GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
As = Callable[[str], Kafka]


def users_of(broker: Broker, folder: Path) -> As:
    """Return the settings of each user; the broker's own may do all."""

    def connect(name: str) -> Kafka:
        (folder / name).write_text(f"password of {name}")
        return Kafka(bootstrap=broker.bootstrap, username=name, password_file=folder / name)

    return connect


@pytest.fixture(scope="module")
def opened(new_broker: Callable[..., Broker], tmp_path_factory: pytest.TempPathFactory) -> As:
    """A broker that lets anybody do what no list forbids, with all topics and no lists yet."""
    users = {name: f"password of {name}" for name in NAMES}
    connect = users_of(new_broker(users=users), tmp_path_factory.mktemp("users"))
    create_topics(connect("broker"), 1)
    create_feed_topics(connect("broker"), 1)
    return connect


@pytest.fixture(scope="module")
def closed(new_broker: Callable[..., Broker], tmp_path_factory: pytest.TempPathFactory) -> As:
    users = {name: f"password of {name}" for name in NAMES}
    connect = users_of(new_broker(users=users, closed=True), tmp_path_factory.mktemp("users"))
    create_topics(connect("broker"), 1)
    create_feed_topics(connect("broker"), 1)
    assert create_acls(connect("broker"), USERS) == []
    return connect


def may(kafka: Kafka, right: str) -> set[str]:
    """Return the topics that the broker itself says this user may read or write."""
    admin = KafkaAdminClient(**python_settings(kafka))
    try:
        found = admin.describe_topics([*TOPICS, FEED, FEED_POSITION])
    finally:
        admin.close()
    return {topic["name"] for topic in found if right in (topic["authorized_operations"] or ())}


def size(kafka: Kafka, topic: str) -> int:
    consumer = KafkaConsumer(**reader_settings(kafka))
    try:
        return sum(consumer.end_offsets(partitions_of(consumer, [topic])).values())
    finally:
        consumer.close()


def wrote(kafka: Kafka, topic: str, admin: Kafka) -> bool:
    """Send a consent for somebody else, and tell whether the topic has grown."""
    before, row = size(admin, topic), record("consent", 1, GRANT)
    headers = [(each["key"], each["value"]) for each in row["headers"]]
    producer = KafkaProducer(**python_settings(kafka), max_block_ms=5_000, retries=0)
    try:
        producer.send(topic, key=row["key"], value=row["value"], headers=headers).get(timeout=10)
    except KafkaError:
        pass
    finally:
        producer.close(timeout=2)
    return size(admin, topic) > before


def test_anybody_speaks_for_anybody_until_there_are_lists(opened: As, tmp_path: Path) -> None:
    admin, mallory = opened("broker"), opened("mallory")
    assert wrote(mallory, "governance.consent", admin)
    assert may(mallory, "WRITE") == {*TOPICS, FEED, FEED_POSITION}
    assert create_acls(admin, USERS) == []
    assert not wrote(mallory, "governance.consent", admin)
    assert not wrote(opened("world"), "governance.erasure", admin)
    assert not wrote(opened("consents"), "session.text", admin)
    assert wrote(opened("consents"), "governance.consent", admin)
    assert wrote(opened("world"), "session.text", admin)
    assert create_acls(admin, USERS) == [], "twice is once"


@pytest.mark.parametrize(
    ("user", "writes", "reads"),
    [
        ("consents", {*GOVERNANCE}, set()),
        ("world", {*TOPICS} - {*GOVERNANCE}, set()),
        ("shop", set(), {FEED}),
        ("mallory", set(), set()),
        ("job", {FEED, FEED_POSITION}, {*TOPICS, FEED, FEED_POSITION}),
    ],
)
def test_each_user_may_what_its_role_needs_and_nothing_else(
    closed: As, user: str, writes: set[str], reads: set[str]
) -> None:
    assert may(closed(user), "WRITE") == writes
    assert may(closed(user), "READ") == reads


def first_of_group(kafka: Kafka, topic: str, group: str) -> bool:
    """Tell whether a consumer of this group is given the topic and may read it."""
    settings = reader_settings(kafka) | {"group_id": group}
    consumer = KafkaConsumer(topic, **settings)
    try:
        consumer.poll(timeout_ms=8_000)
        return TopicPartition(topic, 0) in consumer.assignment()
    except KafkaError:
        return False
    finally:
        consumer.close(autocommit=False)


def test_a_recommender_reads_the_feed_in_groups_of_its_own_name(closed: As) -> None:
    shop = closed("shop")
    assert first_of_group(shop, FEED, "shop-1")
    assert not first_of_group(shop, FEED, "affectstream")
    assert not first_of_group(closed("mallory"), FEED, "shop-1")


def test_a_right_that_somebody_else_has_is_said(opened: As, tmp_path: Path) -> None:
    """A user that a list named before is not shut out silently, nor left in silently."""
    admin = opened("broker")
    create_acls(admin, USERS)
    create_acls(admin, USERS.model_copy(update={"governance": ("consents", "mallory")}))
    others = create_acls(admin, USERS)
    assert [each.partition(":")[0] for each in others] == ["User"] * 2
    assert "User:mallory may WRITE topic governance.consent" in others[0]
    assert wrote(opened("mallory"), "governance.consent", admin)


def test_who_may_not_give_rights_is_told_so(closed: As) -> None:
    with pytest.raises(AffectstreamError, match=r"ALTER the cluster|uthorization"):
        create_acls(closed("job"), USERS)


def test_a_broker_without_lists_is_told_so(kafka: Kafka) -> None:
    with pytest.raises(AffectstreamError, match=r"authorizer\.class\.name"):
        create_acls(kafka, USERS)


def test_the_names_come_from_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("users: {job: job, sessions: [world]}\nkafka: {group: mine}\n")
    assert load_users(path) == Users(job="job", sessions=("world",))
    assert load_kafka(path).group == "mine"
    assert load_users(None) == Users()
    for wrong in (
        "users: {sessions: ['*']}",
        "users: {job: 'User:job'}",
        "users: {sessions: ['']}",
    ):
        path.write_text(wrong)
        with pytest.raises(AffectstreamError, match="configuration: `users"):
            load_users(path)
    with pytest.raises(AffectstreamError, match=r"`users\.job` is missing"):
        create_acls(Kafka(), Users())


def test_the_command_gives_the_rights_and_says_whose_remain(closed: As, tmp_path: Path) -> None:
    admin = closed("broker")
    settings = {"kafka": admin.model_dump(mode="json"), "users": USERS.model_dump(mode="json")}
    (tmp_path / "admin.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pipelines.cli.main", "topics", "create", "--acl"]
    command += ["--config", str(tmp_path / "admin.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "gave the users of the configuration their rights" in done.stderr
    settings["users"]["job"] = None
    (tmp_path / "admin.yaml").write_text(json.dumps(settings))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "`users.job` is missing" in done.stderr


def test_the_example_sends_what_the_job_takes(kafka: Kafka, tmp_path: Path) -> None:
    """The commands of the how-to page, against a real broker."""
    script = Path(sign_consent.__file__)

    def run(*arguments: str) -> str:
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    (tmp_path / "signers.json").write_text(run("keys"))
    assert (tmp_path / "consent-key.pem").stat().st_mode & 0o777 == 0o600
    run("send", "alice", kafka.bootstrap)
    record_log(tmp_path / "log", kafka, topics=["governance.consent"], console=QUIET)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    (sent,) = read_records(tmp_path / "log" / "part-00000.parquet")
    signers = read_signers(tmp_path / "signers.json")
    ((tag, events),) = decode_batch(sent, IDS, signers)
    assert (tag, events["subject"].to_pylist()) == (MAIN, ["alice"])


def written(folder: Path, rows: Iterable[dict]) -> Path:
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")
    return folder


def signed(number: int, key: Ed25519PrivateKey, subject: str, **changes: str) -> dict:
    told = {"subject": subject, "source": sign_consent.SOURCE} | changes
    named = attributes("consent", number, **told)
    named.pop("specversion")
    signature = sign_consent.sign(named, json.dumps(GRANT).encode(), key)
    return record("consent", number, GRANT, signature=signature, **told)


@pytest.mark.flink
def test_a_job_works_with_these_rights_alone_and_believes_signed_consents_only(
    closed: As, jars: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signers.json").write_text(json.dumps(sign_consent.make_key()))
    key = load_pem_private_key(sign_consent.KEY.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    names = ("ann", "bea", "cem", "dan")
    said = [signed(number, key, name) for number, name in enumerate(names[:2])]
    said += [record("consent", 2, GRANT, subject="cem")]  # whoever may write, but has no key
    said += [signed(3, Ed25519PrivateKey.generate(), "dan")]
    said += [record("erasure", 4, {}, subject="bea")]
    texts = [
        record("text", 10 + number, {"text": "hello"}, subject=name)
        for number, name in enumerate(names)
    ]
    publish(written(tmp_path / "said", said), closed("consents"), console=QUIET)
    publish(written(tmp_path / "texts", texts), closed("world"), console=QUIET)
    feed = {"sinks": ["kafka"], "purposes": ["avatar_mirroring"]}
    config = live_config(
        closed("job"), jars, tmp_path, keys, models=CONSTANT, feed=feed,
        signatures={"keys": "signers.json"}, decisions={"valid_s": 31e6},
    )  # fmt: skip
    run_to_end(config)
    heard = Console(record=True, quiet=False, width=200)
    with feeding(config, heard):
        pass
    assert "no right" not in heard.export_text()

    assert said_of(config, "dead_letters", "code") == [
        "prohibition_unsigned", "signature_invalid", "signature_missing",
    ]  # fmt: skip
    assert said_of(config, "consent_ledger", "action") == ["granted", "granted", "suspended"]
    assert said_of(config, "refusals", "code") == [
        "consent_unknown", "consent_unknown", "consent_withdrawn",
    ]  # fmt: skip
    assert len(table(config.tables, "observations")) == 1
    decided = len(table(config.tables, "expression_decisions"))
    assert decided == 1
    assert size(closed("shop"), FEED) > 0


def said_of(config: Config, name: str, column: str) -> list[str]:
    return sorted(table(config.tables, name)[column].to_pylist())
