"""A dead letter says in the parser's words what is wrong, and holds nothing of the record."""

import pytest

from tests.support.records import IDS, raw, record
from transforms.decode import decode_batch

SECRET = "wang.wei@example.com"
GRANT = {"granted": True, "purposes": ["research"], "modalities": ["text"]}


def letter(row: dict) -> dict:
    rows = [
        each for _, out in decode_batch(raw(row), IDS) for each in out.to_pylist() if "code" in each
    ]
    (found,) = rows
    return found


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        (record("text", 1, b'{"text": 42}'), "wrong_type", "Expected `str | null`, got `int`"),
        (record("text", 1, b'{"text": 42}'), "wrong_type", "at `$.text`"),
        (record("text", 1, b'{"text": "x" "y"}'), "bad_json", "(byte 13)"),
        (record("text", 1, b'{"text": "' + SECRET.encode()), "bad_json", "truncated"),
        (record("text", 1, b'["' + SECRET.encode() + b'"]'), "bad_json", "got `array`"),
        (record("text", 1, b'{"text": "\xff"}'), "bad_json", "byte"),
        (record("context", 1, {"activity": {SECRET: SECRET}}), "wrong_type", "$.activity"),
        (record("text", 1, {}, type=SECRET), "unknown_event_type", "write session.text.v1"),
        (record("text", 1, {"text": "x"}, source=None), "bad_headers", "`source` is missing"),
        (record("text", 1, {"text": "x"}, id=None), "bad_headers", "`id` is missing"),
        (record("consent", 1, GRANT | {"purposes": SECRET}), "wrong_type", "$.purposes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_without_content(row: dict, code: str, said: str) -> None:
    found = letter(row)
    assert found["code"] == code
    assert said in found["detail"]
    assert SECRET not in str(found)
    assert "alice" not in str(found)
