"""Fixtures of the whole suite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from infra.flink import flink_server
from infra.kafka.kafka_server import Broker
from infra.processes import free_ports
from infra.redis.redis_server import Redis
from infra.s3.s3_server import Store
from pipelines.config import Kafka
from pipelines.kafka.topics import create_topics
from schemas.keys import write_keys
from tests.support.properties import FUZZ

# How long an example takes says more of the machine, which starts servers too, than of the code.
# The suite tries the same examples every time: what it finds is of the change at hand. New ones are
# for `make fuzz`, whose findings become an @example.
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.register_profile(
    FUZZ, deadline=None, max_examples=5_000, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    max_examples=15,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("fixed")

LONGEST = ("faults", "bounds")
"""Folders whose files take minutes each: begun last, one of them would keep a process alone."""
CORPORA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: not set(LONGEST) & set(item.path.parts))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The labelled corpora, which are no part of the project."""
    if not CORPORA.is_dir():
        pytest.skip("the labelled corpora are not on this machine (../shared/data)")
    return CORPORA


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    write_keys(path)
    return path


@pytest.fixture(scope="module")
def new_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Broker]]:
    """Starts real brokers on free ports, each with its own data; all are ended with the module."""
    started = []

    def start(**settings: object) -> Broker:
        broker = Broker(tmp_path_factory.mktemp("broker"), *free_ports(2), **settings)
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        broker.process.stop()


@pytest.fixture(scope="module")
def kafka(new_broker: Callable[..., Broker]) -> Kafka:
    """A broker with all topics, three partitions each."""
    settings = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(settings, 3)
    return settings


@pytest.fixture(scope="session")
def jars() -> Path:
    """Beam's Flink runner and our Kafka source, fetched and built where they are missing."""
    flink_server.fetch()
    return flink_server.OUT


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of tables in a real S3 store, which this process and its children can reach."""
    server = Store(tmp_path_factory.mktemp("s3"), *free_ports(1))
    server.start("tables")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield "s3://tables/session"
    server.processes[0].stop()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A real redis server with a password."""
    server = Redis(tmp_path_factory.mktemp("redis"), *free_ports(1), password="only-on-loopback")
    server.start()
    yield server
    server.stop()
