"""What is recorded long after its time is judged by the stricter of both."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.events import BEHIND_S
from schemas.stages import MAIN
from tests.support.records import START, pseudonymous, record
from transforms.gate import Gate
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.policy import read_policy

POLICY = read_policy(POLICIES / "gate.yaml")
ALL = {"purposes": ["avatar_mirroring"], "modalities": ["text", "voice", "face", "motion"]}
HOUR = 3600


def moment(seconds: float) -> str:
    return (START + dt.timedelta(seconds=seconds)).isoformat()


def sent(kind: str, payload: Any, at: float, recorded: float | None, **changes: Any) -> dict:
    """A record of something at one time that was recorded at another, or without any."""
    row = record(kind, 0, payload, time=moment(at), **changes)
    stamp = None if recorded is None else START + dt.timedelta(seconds=recorded)
    return row | {"timestamp": stamp}


def consents(*rows: dict) -> Consents:
    return Consents(ledger_rows(pseudonymous(row), POLICY.purposes)[0] for row in rows)


def code(known: Consents, row: dict, *, without_record_time: bool = False) -> str | None:
    events = pseudonymous(row)
    if without_record_time:
        place = events.schema.get_field_index("recorded_at")
        none = pa.nulls(events.num_rows, events.schema.field(place).type)
        events = events.set_column(place, events.schema.field(place), none)
    ((tag, out),) = [(tag, out) for tag, out in Gate(POLICY, known).batch(events) if out.num_rows]
    return None if tag == MAIN else out["code"][0].as_py()


def text(at: float, recorded: float | None, **changes: Any) -> dict:
    return sent("text", {"text": "x"}, at, recorded, **changes)


GRANT = sent("consent", {"granted": True} | ALL, 0, 0)
WITHDRAWAL = sent("consent", {"granted": False} | ALL, 2 * HOUR, 2 * HOUR)


def test_an_old_time_does_not_use_a_consent_that_was_withdrawn_since() -> None:
    known = consents(GRANT, WITHDRAWAL)
    attack = text(HOUR, 3 * HOUR)
    assert code(known, attack, without_record_time=True) is None, "it passed by event time alone"
    assert code(known, attack) == "consent_withdrawn"
    assert code(known, text(HOUR, HOUR)) is None
    assert code(consents(GRANT), attack) is None, "what is only late loses nothing"


def test_an_old_time_does_not_come_before_a_law() -> None:
    before = (dt.datetime(2025, 1, 15, tzinfo=dt.UTC) - START).total_seconds()
    known = consents(
        sent("consent", {"granted": True} | ALL, before - 10, before - 10, region="EU")
    )
    game = {"region": "EU", "scenario": "learning"}
    attack = sent("face", b"\xff\xd8\xffx", before, HOUR, **game)
    assert code(known, attack, without_record_time=True) is None
    assert code(known, attack) == "purpose_prohibited"
    assert code(known, sent("face", b"\xff\xd8\xffx", before, before, **game)) is None


def test_what_the_law_of_the_event_time_refuses_stays_refused() -> None:
    known = consents(GRANT)
    assert code(known, text(-10, 3 * HOUR)) == "consent_unknown", "there was no consent then"


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (HOUR + BEHIND_S, None),
        (HOUR + BEHIND_S + 0.001, "consent_withdrawn"),
        (HOUR - 30, None),
        (None, None),
    ],
)
def test_the_bound_is_a_minute(recorded: float | None, expected: str | None) -> None:
    """A withdrawal that holds since within that minute is not heard by an event of before it."""
    said = sent("consent", {"granted": False} | ALL, HOUR + 1, HOUR + 1)
    assert code(consents(GRANT, said), text(HOUR, recorded)) == expected


@pytest.mark.parametrize("milliseconds", [-1, 0])
def test_a_record_without_a_time_is_judged_by_event_time_alone(milliseconds: int) -> None:
    row = text(HOUR, 0) | {"timestamp": dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)}
    assert code(consents(GRANT, WITHDRAWAL), row) is None


def test_a_grant_with_an_old_time_does_not_open_the_past() -> None:
    late = sent("consent", {"granted": True} | ALL, 0, 2 * HOUR)
    assert code(consents(late), text(HOUR, HOUR)) == "consent_unknown"
    assert code(consents(late), text(2 * HOUR, 2 * HOUR)) is None
    in_time = sent("consent", {"granted": True} | ALL, 0, BEHIND_S)
    assert code(consents(in_time), text(1, 1)) is None
    told_nothing = sent("consent", {"granted": True} | ALL, 0, None)
    assert code(consents(told_nothing), text(HOUR, HOUR)) is None


def test_a_withdrawal_with_an_old_time_closes_from_that_time_on() -> None:
    said = sent("consent", {"granted": False} | ALL, HOUR, 5 * HOUR)
    known = consents(GRANT, said)
    assert code(known, text(HOUR - 1, HOUR - 1)) is None
    assert code(known, text(HOUR, HOUR)) == "consent_withdrawn"


def test_rows_of_one_batch_are_judged_apart_and_keep_their_event_times() -> None:
    known = consents(GRANT, WITHDRAWAL)
    rows = [
        text(HOUR, HOUR) | {"offset": 1},
        text(HOUR, 3 * HOUR, id="b") | {"offset": 2},
        text(3 * HOUR, 3 * HOUR, id="c") | {"offset": 3},
        text(HOUR, None, id="d") | {"offset": 4},
    ]
    found = dict(Gate(POLICY, known).batch(pseudonymous(*rows)))
    assert found["events"]["offset"].to_pylist() == [1, 4]
    assert "recorded_at" not in found["events"].schema.names
    refused = found["refusals"].to_pylist()
    assert [(row["offset"], row["code"]) for row in refused] == [
        (2, "consent_withdrawn"), (3, "consent_withdrawn"),
    ]  # fmt: skip
    assert refused[0]["event_time"] == START + dt.timedelta(hours=1)
