"""A recorded log to a real broker and back."""

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from rich.console import Console

from pipelines.config import Kafka
from pipelines.kafka.publish import publish
from pipelines.kafka.record import record as record_log
from pipelines.kafka.topics import create_topics
from schemas.errors import AffectstreamError
from schemas.events import RAW, TOPICS
from schemas.stages import MAIN
from tests.support.live_runs import take_any_time
from tests.support.records import CODECS, HOSTILE, IDS, START, raw, record, send_badly
from transforms.decode import decode_batch

pytestmark = pytest.mark.kafka
QUIET = Console(quiet=True)


def odd_log(folder: Path, day: int) -> pa.Table:
    """Records that a well-behaved producer would never send, all of one day."""
    rows = [record("text", number, {"text": "hello", "lang": "en"}) for number in range(50)]
    rows += [record("voice", 50, b"\x00" * 900_000)]
    rows += [record("motion", 51, {"jawOpen": 1}) | {"headers": HOSTILE}]
    rows += [record("motion", 52, {"jawOpen": 1}) | {"headers": []}]
    rows += [record("face", 53, b"\xff\xd8\xff") | {"value": None}]
    rows += [record("face", 54, b"\xff\xd8\xff") | {"value": b""}]
    rows += [record("text", 55, {"text": "x", "lang": "en"}) | {"key": None}]
    rows += [record("text", 56, {"text": "x", "lang": "en"}) | {"key": b""}]
    rows += [record("context", 57, {}) | {"key": None, "value": None, "headers": []}]
    rows += [record("consent", 58, {}) | {"key": bytes(range(256))}]
    for row in rows:
        row["timestamp"] += dt.timedelta(days=day)
    folder.mkdir()
    pq.write_table(table := pa.Table.from_batches([raw(*rows)]), folder / "part-0.parquet")
    return table


def content(log: pa.Table) -> list[dict[str, object]]:
    rows = log.drop_columns(["partition", "offset"]).to_pylist()
    return sorted(rows, key=lambda row: (row["timestamp"], row["topic"]))


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_log_comes_back_as_it_was(kafka: Kafka, tmp_path: Path, codec: str | None) -> None:
    day = CODECS.index(codec)
    log = odd_log(tmp_path / "log", day)
    done = publish(tmp_path / "log", kafka, compression=codec, console=QUIET)
    assert done.records == len(log)
    since = int((START + dt.timedelta(days=day)).timestamp() * 1000)
    count = record_log(
        tmp_path / "back", kafka, since_ms=since, until_ms=since + 86_400_000, console=QUIET
    )
    assert count == len(log)
    back = pq.read_table(tmp_path / "back").cast(RAW)
    assert content(back) == content(log)
    by_key = back.group_by("key").aggregate([("partition", "count_distinct")]).to_pylist()
    assert all(g["partition_count_distinct"] == 1 for g in by_key if g["key"] not in (None, b""))


def test_a_header_name_that_is_no_text_is_recorded(kafka: Kafka, tmp_path: Path) -> None:
    at = START + dt.timedelta(days=30)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for number in range(3):
        row = record("consent", number, {"granted": number == 1}) | {"timestamp": at}
        send_badly(producer, row)
    producer.close()
    since = int(at.timestamp() * 1000)
    topics = ["governance.consent"]
    count = record_log(tmp_path / "back", kafka, topics=topics, since_ms=since, console=QUIET)
    assert count == 3
    back = pq.read_table(tmp_path / "back").cast(RAW).to_pylist()
    values = [json.loads(row["value"])["granted"] for row in back]
    assert values == [False, True, False]
    for number, row in enumerate(back):
        wanted = record("consent", number, {})["headers"]
        assert row["headers"] == [{"key": "x??bad", "value": b"\xff"}, *wanted]


def test_what_a_producer_took_back_is_not_read(kafka: Kafka, tmp_path: Path) -> None:
    """Neither by ``record`` nor by the gate, which has the same settings; as the source in Java."""
    at = START + dt.timedelta(days=40)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id="taken-back")
    producer.init_transactions()
    for number in range(3):
        row = record("consent", number, {"granted": number == 1}) | {"timestamp": at}
        producer.begin_transaction()
        headers = [(h["key"], h["value"]) for h in row["headers"]]
        producer.send(
            row["topic"], row["value"], row["key"], headers, timestamp_ms=int(at.timestamp() * 1000)
        )
        producer.flush()  # what has not left is never written, and proves nothing
        (producer.abort_transaction if number == 1 else producer.commit_transaction)()
    producer.close()
    since = int(at.timestamp() * 1000)
    topics = ["governance.consent"]
    assert record_log(tmp_path / "x", kafka, topics=topics, since_ms=since, console=QUIET) == 2
    back = pq.read_table(tmp_path / "x")["value"].to_pylist()
    assert [json.loads(value)["granted"] for value in back] == [False, False]


def test_a_second_creation_of_the_topics_creates_none(kafka: Kafka) -> None:
    assert create_topics(kafka, 3) == []


def test_retimed_events_are_of_the_present_and_keep_their_distances(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    rows = [record("text", n, {"text": "hi", "lang": "en"}, structured=n % 2 == 1) for n in (0, 7)]
    pq.write_table(pa.Table.from_batches([raw(*rows)]), log / "part-0.parquet")
    before = dt.datetime.now(dt.UTC)
    done = publish(log, kafka, retime=True, console=QUIET)
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition("session.text", n) for n in range(3)])
    found = []
    while len(found) < 2:
        polled = consumer.poll(timeout_ms=500).values()
        found += [r for rs in polled for r in rs if r.timestamp > before.timestamp() * 1000 - 8000]
    consumer.close()
    assert abs(found[1].timestamp - found[0].timestamp) == 7000
    from pipelines.kafka.clients import raw_batch  # noqa: PLC0415

    times = [
        time.as_py()
        for tag, events in decode_batch(raw_batch(found), IDS)
        if tag == MAIN
        for time in events["event_time"]
    ]
    assert len(times) == 2
    assert abs(max(times) - min(times)) == dt.timedelta(seconds=7)
    assert abs(max(times) - before) < dt.timedelta(seconds=60)
    assert done.shift_s > 0


NEVER = [-4611686018427387904, -90_000_000_000_000, 2**63 - 1, 9 * 10**15, -1, 0, None]
"""What a record may have for a time and is none; a null is -1 to Kafka."""


def strange_log(folder: Path, at: dt.datetime) -> list[int | None]:
    """Write events whose Kafka times are none amid others a second apart; return the times."""
    first = int(at.timestamp() * 1000)
    times = [NEVER[0], first, *NEVER, first + 1000, *NEVER[::-1], first + 2000]
    rows = [record("motion", n, {"weights": {}}) | {"key": b"k"} for n in range(len(times))]
    column = pa.array(times, pa.int64()).cast(RAW.field("timestamp").type)
    folder.mkdir()
    batch = raw(*rows).set_column(3, RAW.field("timestamp"), column)
    pq.write_table(pa.Table.from_batches([batch]), folder / "part-0.parquet")
    return times


def written_back(folder: Path) -> list[int]:
    """Return the Kafka times of a log, in its order."""
    return pq.read_table(folder)["timestamp"].cast(pa.int64()).to_pylist()


def test_times_that_are_none_go_to_kafka_and_back(new_broker, tmp_path: Path) -> None:
    own = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(own, 1)
    take_any_time(own)
    topics = ["session.motion"]
    sent = [-1 if time is None else time for time in strange_log(tmp_path / "log", START)]
    assert publish(tmp_path / "log", own, console=QUIET).records == len(sent)
    assert record_log(tmp_path / "back", own, topics=topics, console=QUIET) == len(sent)
    assert written_back(tmp_path / "back") == sent
    middle = int(START.timestamp() * 1000) + 1000
    span = {"since_ms": middle, "until_ms": middle + 1000}
    count = record_log(tmp_path / "part", own, topics=topics, **span, console=QUIET)
    assert count == 1 + len(NEVER)
    assert written_back(tmp_path / "part") == sent[9:17]


def test_times_that_are_none_are_not_shifted_and_hold_nothing_up(
    new_broker, tmp_path: Path
) -> None:
    own = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(own, 1)
    take_any_time(own)
    times = strange_log(tmp_path / "log", START)
    before = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    done = publish(tmp_path / "log", own, retime=True, speed=1, console=QUIET)
    record_log(tmp_path / "back", own, topics=["session.motion"], console=QUIET)
    back = written_back(tmp_path / "back")
    shift = round(done.shift_s * 1000)
    known = [n for n, time in enumerate(times) if time not in NEVER]
    assert [back[n] for n in known] == [times[n] + shift for n in known]
    assert before <= back[known[0]] <= before + 60_000
    unknown = [-1 if time is None else time for time in times if time in NEVER]
    assert [time for n, time in enumerate(back) if n not in known] == unknown


@pytest.mark.parametrize("retime", [False, True])
def test_a_time_that_the_broker_refuses_stops_no_other_record(
    new_broker, tmp_path: Path, retime: bool
) -> None:
    own = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(own, 1)
    rows = [record("motion", n, {"weights": {}}) | {"key": b"k"} for n in range(15)]
    rows[7]["timestamp"] = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
    (tmp_path / "log").mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), tmp_path / "log" / "part-0.parquet")
    said = r"14 of 15 records are sent; .* refused 1 .* such as session\.motion 0:7 of the log"
    with pytest.raises(AffectstreamError, match=said):
        publish(tmp_path / "log", own, retime=retime, console=QUIET)
    assert record_log(tmp_path / "back", own, topics=["session.motion"], console=QUIET) == 14


def test_a_log_without_any_time_can_be_published_but_not_retimed(
    new_broker, tmp_path: Path
) -> None:
    own = Kafka(bootstrap=new_broker().bootstrap)
    create_topics(own, 1)
    strange_log(tmp_path / "log", START)
    whole = pq.read_table(tmp_path / "log").cast(RAW)
    none = pa.chunked_array([pa.nulls(len(whole), RAW.field("timestamp").type)])
    pq.write_table(whole.set_column(3, RAW.field(3), none), tmp_path / "log" / "part-0.parquet")
    with pytest.raises(AffectstreamError, match="leave out `--retime`"):
        publish(tmp_path / "log", own, retime=True, console=QUIET)
    assert publish(tmp_path / "log", own, speed=1, console=QUIET).records == len(whole)


def test_a_paced_log_takes_its_time(kafka: Kafka, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    rows = [record("text", n, {"text": "hi", "lang": "en"}) for n in range(0, 21, 5)]
    pq.write_table(pa.Table.from_batches([raw(*rows)]), log / "part-0.parquet")
    assert 1.9 < publish(log, kafka, speed=10, console=QUIET).seconds < 6


def test_no_broker_is_one_sentence(tmp_path: Path) -> None:
    odd_log(tmp_path / "log", 0)
    with pytest.raises(AffectstreamError, match="check `kafka` in the configuration"):
        publish(tmp_path / "log", Kafka(bootstrap="127.0.0.1:1"), console=QUIET)


def test_a_missing_topic_is_one_sentence(new_broker, tmp_path: Path) -> None:
    empty = Kafka(bootstrap=new_broker().bootstrap)
    odd_log(tmp_path / "log", 0)
    with pytest.raises(AffectstreamError, match="run `affectstream topics create`"):
        publish(tmp_path / "log", empty, console=QUIET)
    with pytest.raises(AffectstreamError, match="run `affectstream topics create`"):
        record_log(tmp_path / "back", empty, topics=["session.text"], console=QUIET)
    assert not (tmp_path / "back").exists()
    create_topics(empty, 1)
    with pytest.raises(AffectstreamError, match="hold no record"):
        record_log(tmp_path / "back", empty, topics=list(TOPICS), console=QUIET)
