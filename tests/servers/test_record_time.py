"""Kafka times that are none, or no times, in a live job: it goes on, and each record is counted."""

import datetime as dt
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from pipelines.config import Config, Kafka, load_config
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record as record_log
from pipelines.kafka.topics import create_topics
from pipelines.run.replay import replay
from schemas.events import RAW
from schemas.table import NO_DAY
from schemas.tables import DEAD_LETTERS
from tests.support.live_runs import (
    CONSTANT,
    QUIET,
    Running,
    live_config,
    rows_of,
    same,
    table,
    take_any_time,
    wait_for,
)
from tests.support.records import raw, record
from transforms.landing.prepare import prepare_tables

pytestmark = [pytest.mark.kafka, pytest.mark.flink]

NO_TIMES = [-4611686018427387904, -90_000_000_000_000, 2**63 - 1, 9 * 10**15]
NONE = [None, -1, 0]
STRANGE = [*NO_TIMES, *NONE]
TEXT = {"text": "hello", "lang": "en"}
GRANTED = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
WITHDRAWN = GRANTED | {"granted": False}
EXTREMES = ("-292275055-05-16T16:47:04.192Z", "+292278994-08-17T07:12:55.807Z")
"""Event times at the ends of 64 bits of milliseconds: a delay more or less would overflow."""


class Sent:
    """Events of one session, written as logs; seconds count from five minutes ago."""

    def __init__(self, folder: Path) -> None:
        self.begin = int(dt.datetime.now(dt.UTC).timestamp() - 300) // 5 * 5
        self.count = 0
        self._folder = folder

    def now(self) -> int:
        return int(dt.datetime.now(dt.UTC).timestamp()) - self.begin

    def ms(self, at: float) -> int:
        return round((self.begin + at) * 1000)

    def event(self, kind: str, at: float, payload: object, **changes: object) -> dict:
        self.count += 1
        moment = dt.datetime.fromtimestamp(self.begin + at, dt.UTC).isoformat()
        made = record(kind, self.count, payload, **{"time": moment} | changes)
        return made | {"timestamp": self.ms(at)}

    def publish(self, rows: list[dict], kafka: Kafka) -> None:
        folder = self._folder / f"log-{self.count}"
        folder.mkdir()
        times = pa.array([row["timestamp"] for row in rows], pa.int64())
        plain = raw(*(row | {"timestamp": None} for row in rows))
        whole = plain.set_column(3, RAW.field(3), times.cast(RAW.field(3).type))
        pq.write_table(pa.Table.from_batches([whole]), folder / "part-0.parquet")
        publish(folder, kafka, console=QUIET)


def poison(config: Config) -> None:
    """Leave a dead letter of the year -882, as jobs did that took any Kafka time for one."""
    prepare_tables(config.tables)
    day = pa.array([-1_041_667], pa.int32()).cast(pa.date32())
    given = {"dead_letter_id": ["old"], "code": ["null_value"], "offset": [7], "event_date": day}
    columns = [pa.array(given.get(f.name, [None]), f.type) for f in DEAD_LETTERS]
    plain = [field.remove_metadata() for field in DEAD_LETTERS]
    write_deltalake(
        f"{config.tables}/dead_letters", pa.table(columns, schema=pa.schema(plain)), mode="append"
    )


def steady(sent: Sent, first: int, last: int) -> list[dict]:
    return [sent.event("text", at, TEXT) for at in range(first, last)]


def strange(sent: Sent) -> list[dict]:
    """Return events of every kind of topic under every strange Kafka time."""
    rows = []
    for number, time in enumerate(STRANGE):
        who = {"subject": f"guest-{number}"}
        rows += [
            sent.event("consent", -10, GRANTED, **who),
            sent.event("consent", 150, WITHDRAWN, **who),
            sent.event("erasure", 200, {"reason": "asked"}, **who),
            sent.event("text", 60 + number, TEXT),
            sent.event("text", 60 + number, TEXT, structured=True),
            sent.event("context", 60 + number, {"scene": "a"}),
            sent.event("text", 60, TEXT) | {"value": None, "headers": []},
        ]
        rows[-7:] = [row | {"timestamp": time} for row in rows[-7:]]
    return rows


def test_a_job_goes_on_over_times_that_are_none(
    new_broker: Callable, jars: Path, tmp_path: Path, keys: Path
) -> None:
    kafka = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(kafka, 1)
    take_any_time(kafka)
    sent = Sent(tmp_path)
    guests = [{"subject": f"guest-{number}"} for number in range(len(STRANGE))]
    sent.publish(
        [
            sent.event("consent", -10, GRANTED),
            *steady(sent, 0, 50),
            *strange(sent),
            *[sent.event("text", 61, TEXT, time=time) for time in EXTREMES],
            *steady(sent, 50, 100),
            *[sent.event("text", 100, TEXT, **guest) for guest in guests],  # as they allowed
            *steady(sent, 100, 160),
            *[sent.event("text", 160, TEXT, **guest) for guest in guests],  # after they withdrew
            *steady(sent, 160, 200),
        ],
        kafka,
    )
    config = live_config(kafka, jars, tmp_path, keys, models=CONSTANT)
    poison(config)
    seen = 200 + 2 * len(NONE) + len(guests)
    with Running(config) as running:
        wait_for(lambda: bool(running.error) or rows_of(config, "observations") == seen, 300)
        sent.publish(steady(sent, sent.now() - 20, sent.now()), kafka)
        wait_for(lambda: bool(running.error) or rows_of(config, "observations") == seen + 20, 60)
        # A Kafka time that is none does not let an event be of the future.
        ahead = [sent.event("text", 4000 + n, TEXT) | {"timestamp": t} for n, t in enumerate(NONE)]
        back = tmp_path / "back"
        records = record_log(back, kafka, console=QUIET)
        assert records == sent.count - len(ahead)
        sent.publish(ahead, kafka)
        sent.publish(steady(sent, sent.now() - 20, sent.now()), kafka)
        running.supervisor.until_end = True
        running.join(300)
    assert running.supervisor.starts == 1

    letters = table(config.tables, "dead_letters").to_pylist()
    codes = Counter(row["code"] for row in letters)
    assert codes == {
        "bad_time": 3 * len(NO_TIMES) + len(EXTREMES),
        "null_value": len(STRANGE) + 1,
        "clock_ahead": len(NONE),
    }
    undated = [row for row in letters if row["event_time"] is None and row["code"] != "bad_time"]
    assert {row["event_date"] for row in undated} == {NO_DAY}
    assert len(table(config.tables, "observations")) == seen + 40
    refusals = table(config.tables, "refusals")
    assert refusals["code"].to_pylist() == ["consent_withdrawn"] * len(guests)
    ledger = Counter(table(config.tables, "consent_ledger")["action"].to_pylist())
    each = len(guests)
    assert ledger == {"granted": each + 1, "withdrawn": each, "erasure_requested": each}
    passed = len(NONE)  # context, which stands in windows alone
    landed = seen + 40 + len(refusals) + sum(ledger.values()) + sum(codes.values()) + passed
    assert landed == sent.count + 1, "and the old dead letter"

    again = load_config(None, log=back, tables=tmp_path / "again", keys=keys, models=CONSTANT)
    prepare_tables(again.tables)
    poison(again)
    assert replay(again, QUIET).records == records
    same(table(config.tables, "refusals"), table(again.tables, "refusals"))
    same(table(config.tables, "consent_ledger"), table(again.tables, "consent_ledger"))
    replayed = table(again.tables, "observations")
    live = table(config.tables, "observations")
    known = pc.is_in(live["event_id"], replayed["event_id"].combine_chunks())
    same(live.filter(known), replayed)
    assert len(replayed) == seen + 20
    found = Counter(table(again.tables, "dead_letters")["code"].to_pylist())
    assert found + Counter(clock_ahead=len(NONE)) == codes
