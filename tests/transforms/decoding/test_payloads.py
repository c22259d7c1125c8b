"""What is read of a payload."""

import json

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
