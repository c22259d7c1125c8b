"""What is read of a payload."""

import json

import pytest

from tests.support.records import record
from tests.transforms.test_decode import decode
from transforms.decoding.payloads import MOST_DETAILS


def test_context_keeps_other_fields_that_are_codes_and_nothing_else() -> None:
    told = {"door": "opened", "won": True, "game_result": "lost", "Name": "x", "mail": "a@b.c"}
    told |= {"said": "free text", "level": 3, "nested": {"a": "b"}, "long": "x" * 33, "no": None}
    many = {f"field_{n}": "on" for n in range(12)}
    events, dead = decode(*(record("context", n, each) for n, each in enumerate((told, many, {}))))
    assert not dead
    kept, few, nothing = (event["details"] for event in events["context"])
    assert json.loads(kept) == {"door": "opened", "won": "true"}
    assert sorted(json.loads(few)) == sorted(many)[:MOST_DETAILS]
    assert nothing is None


@pytest.mark.parametrize(
    "strange",
    [b'{"x": "\xff"}', b'{"\xff": 1}', b'{"x": 1e999}', b'{"x": %s}' % (b"9" * 5000)],
    ids=["value no UTF-8", "name no UTF-8", "no double", "too many digits"],
)
def test_a_strange_field_of_a_context_event_costs_no_other_event(strange: bytes) -> None:
    """Twenty such events must not end a run, as a stage that raises on more than eight does."""
    good = record("context", 0, {"door": "opened"})
    events, _ = decode(good, *(record("context", n, strange) for n in range(1, 21)))
    assert json.loads(events["context"][0]["details"]) == {"door": "opened"}
