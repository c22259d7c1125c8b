"""Events of days to come: a clock that nothing else would bound."""

import datetime as dt

import pytest

from schemas.stages import DEAD, MAIN, kind_of
from tests.support.records import IDS, START, raw, record
from transforms.decode import decode_batch, without_future


@pytest.mark.parametrize("recorded", ["2099-12-30T10:00:00Z", None])
def test_an_event_of_a_day_to_come_is_a_dead_letter_whatever_its_record_says(
    recorded: str | None,
) -> None:
    """So no row lands in a partition of 2099, which retention would keep until then."""
    far = record("text", 1, {"text": "x"}, time="2099-12-30T10:00:00Z")
    far["timestamp"] = None if recorded is None else dt.datetime.fromisoformat(recorded)
    today, now = record("text", 2, {"text": "x"}), START + dt.timedelta(seconds=2)
    assert [out.num_rows for _, out in decode_batch(raw(far), IDS)] == [1], "the records agree"
    withdrawal = record("consent", 3, {"granted": False}, time="2099-12-30T10:00:00Z")
    found = list(without_future(decode_batch(raw(far, today, withdrawal), IDS), now))
    (letters,) = (out for tag, out in found if tag == DEAD)
    assert [(row["code"], row["offset"], row["event_date"]) for row in letters.to_pylist()] == [
        ("clock_ahead", 1, dt.date(1970, 1, 1))
    ]
    landed = {kind_of(out): out["offset"].to_pylist() for tag, out in found if tag == MAIN}
    assert landed == {"text": [2], "consent": [3, 3]}
    later = dt.datetime(2099, 12, 29, 10, tzinfo=dt.UTC)
    assert [tag for tag, _ in without_future(decode_batch(raw(far), IDS), later)] == [MAIN]
