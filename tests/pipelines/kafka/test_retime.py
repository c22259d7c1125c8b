import json

import pytest

from pipelines.kafka.retime import shift_times

HOUR = 3_600_000
BEFORE, AFTER = "2026-09-01T10:00:00Z", "2026-09-01T11:00:00.000000+00:00"


def headers(**named: bytes) -> dict:
    return {"headers": list(named.items()), "value": b"{}"}


@pytest.mark.parametrize(
    "name", ["ce_time", "ce-time", "Ce-Time", "cloudEvents:time", "cloudEvents_time"]
)
@pytest.mark.parametrize("around", ["{}", '"{}"', '{{"schema":{{}},"payload":"{}"}}'])
def test_a_time_is_shifted_in_any_header(name: str, around: str) -> None:
    row = headers(**{name: around.format(BEFORE).encode(), "ce_id": BEFORE.encode()})
    moved = shift_times(row, HOUR, structured=False)
    assert moved["headers"] == [(name, around.format(AFTER).encode()), ("ce_id", BEFORE.encode())]


def test_a_percent_encoded_time_is_shifted_where_it_is_read() -> None:
    encoded = BEFORE.replace(":", "%3A").encode()
    row = headers(**{"Ce-Time": encoded, "ce_time": encoded})
    moved = shift_times(row, HOUR, structured=False)
    assert moved["headers"] == [("Ce-Time", AFTER.encode()), ("ce_time", encoded)]


@pytest.mark.parametrize(
    "time",
    [b"2026-09-01", b"2026-09-01T10:00:00", b"20260901T100000Z", b"yesterday", b"", b"\xff",
     b"2026-09-01T10:00:00+0000", b"2026-09-31T10:00:00Z", b"0000-01-01T00:00:00Z",
     b"2026-09-01T10:00:00.1234567890Z"],
)  # fmt: skip
def test_a_time_that_is_none_stays_none(time: bytes) -> None:
    row = headers(ce_time=time)
    assert shift_times(row, HOUR, structured=False) == row
    event = {"headers": [], "value": json.dumps({"time": time.decode("latin-1")}).encode()}
    assert shift_times(event, HOUR, structured=True) == event


def shifted(value: bytes) -> bytes:
    return shift_times({"headers": [], "value": value}, HOUR, structured=True)["value"]


@pytest.mark.parametrize(
    "event",
    [
        '{"specversion": "1.0", "time": "%s", "data": {"time": "2026-09-01T10:00:00Z"}}',
        '{ "data":{"weights":{"jawOpen":1.10}},\n"time" : "%s"}\n',
        '{"id": "1", "id": "2", "time": "%s", "n": 1e400, "x": NaN}',
        '{"time": "%s", "Time": "%s", "note": "é \\u00e9 \\" }"}',
    ],
)
def test_nothing_but_the_time_of_a_structured_event_is_written_anew(event: str) -> None:
    assert shifted(event.replace("%s", BEFORE).encode()) == event.replace("%s", AFTER).encode()


@pytest.mark.parametrize("prefix", [b"\0\0\0\0\7", b"\3\0" + bytes(16), b"\xef\xbb\xbf"])
def test_what_stands_before_an_event_stays(prefix: bytes) -> None:
    event = '{"id": "1", "time": "%s"}'
    found = shifted(prefix + event.replace("%s", BEFORE).encode())
    assert found == prefix + event.replace("%s", AFTER).encode()


@pytest.mark.parametrize(
    "value",
    [
        b'{"time": "2026-09-01T10:00:00Z"',
        b'{"time": "2026-09-01T10:00:00Z", "id": }',
        b'[{"time": "2026-09-01T10:00:00Z"}]',
        b'{"time": "2026-09-01T10:00:00Z", "x": "\xff"}',
        b"{}",
        b"",
        b'{"time": 7}',
        b'{"a": ' + b"[" * 100_000,
    ],
    ids=range(8),
)
def test_what_cannot_be_read_is_not_repaired(value: bytes) -> None:
    assert shifted(value) == value
