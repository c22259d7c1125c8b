"""An erasure beside a running job and its feeds: nothing is left, and everybody else goes on."""

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.config import Kafka
from pipelines.govern.erasure.erase import How, erase
from pipelines.govern.erasure.requests import open_requests
from pipelines.serve.feed import feeding
from schemas.keys import read_keys
from tests.servers.test_governance_live import GRANTED, Sender
from tests.support.feed_reader import read_feed
from tests.support.files import that_hold
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    live_config,
    rows_of,
    table,
    wait_for,
)
from transforms.pseudonymise import Pseudonyms

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
GRANT = GRANTED | {"purposes": ["avatar_mirroring", "recommendation"]}


def test_an_erasure_beside_a_running_job(
    kafka: Kafka, jars: Path, tmp_path: Path, keys: Path
) -> None:
    config = live_config(
        kafka,
        jars,
        tmp_path,
        keys,
        models=CONSTANT,
        windows={"length_s": 1, "lateness_s": 2},
        feed={"sinks": ["kafka", "online"], "name": "erase"},
        online={"store": str(tmp_path / "online.sqlite")},
    )
    secret = read_keys(keys)
    hers = set(Pseudonyms(secret).references("ann", ["US", "EU"]))
    sender, stopped = Sender(kafka), threading.Event()

    def talk() -> None:
        while not stopped.wait(0.1):
            for who in ("ann", "bob"):
                said = {"text": "hello", "lang": "en"}
                sender.send("text", said, subject=who, purpose="recommendation")

    for who in ("ann", "bob"):
        sender.send("consent", GRANT, subject=who)
    talking = threading.Thread(target=talk)
    with feeding(config, QUIET), Running(config) as running:
        talking.start()
        try:
            wait_for(lambda: bool(running.error) or len(read_feed(kafka)) > 8, 120)
            sender.send("erasure", {"reason": "asked for"}, subject="ann")
            (proof,) = erase(
                config, secret, open_requests(config, secret), QUIET, How(under_way_s=10)
            )
            assert that_hold(tmp_path, hers) == set()
            seen = rows_of(config, "observations")
            refused = rows_of(config, "refusals")
            wait_for(lambda: bool(running.error) or rows_of(config, "observations") > seen, 60)
            wait_for(lambda: bool(running.error) or rows_of(config, "refusals") > refused, 60)
        finally:
            stopped.set()
            talking.join()
        running.supervisor.until_end = True
        running.join(120)
    sender.close()

    assert proof.tables["observations"] > 0
    assert open_requests(config, secret) == []
    assert that_hold(tmp_path, hers) == set(), "she goes on talking, and nothing of it is written"
    assert set(table(config.tables, "refusals")["code"].to_pylist()) == {"erased"}
    bob = pa.array(sorted(Pseudonyms(secret).references("bob", ["US", "EU"])))
    observed = table(config.tables, "observations")
    assert pc.all(pc.is_in(observed["subject_ref"], bob)).as_py()
    forgotten = [record.key.decode() for record in read_feed(kafka) if record.value is None]
    assert set(forgotten) <= hers
    assert forgotten
