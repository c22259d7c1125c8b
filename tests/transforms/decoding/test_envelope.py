import json

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DeadLetterCode
from transforms.decoding.envelope import READ, find_contradictions
from transforms.decoding.payloads import decode_structured

NAMES = st.sampled_from([*sorted(READ - {"data_base64"}), "specversion", "note", ""])
STRINGS = st.one_of(
    st.sampled_from(["adult", "child", '"ageband": 1, "ageband": 2', "\\u0061"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
DATA = st.fixed_dictionaries({}, optional={name: STRINGS for name in ("text", "id", "ageband")})
SPACE = st.sampled_from(["", " ", "\n\t", "\r"])


@st.composite
def members(draw: st.DrawFn) -> tuple[str, str, str]:
    """A member's name as it is meant, its JSON, and the JSON of its value."""
    name = draw(NAMES)
    value = json.dumps(draw(DATA if name in ("data", "note") else st.none() | STRINGS))
    spelt = draw(st.sampled_from([name, name.upper(), name.title(), name, name, name]))
    hidden = draw(st.booleans())
    key = "".join(f"\\u{ord(c):04x}" for c in spelt) if hidden and spelt == name else spelt
    return spelt, f'"{key}"{draw(SPACE)}:{draw(SPACE)}{value}', value


@given(st.lists(members(), max_size=7))
def test_an_envelope_is_torn_where_a_member_that_is_read_says_two_things(
    given_members: list[tuple[str, str, str]],
) -> None:
    said: dict[str, set[str]] = {}
    for spelt, _, value in given_members:
        said.setdefault(spelt.lower(), set()).add(repr(json.loads(value)))
    read = {spelt for spelt, _, _ in given_members if spelt in READ}
    torn = any(len(said[name]) > 1 for name in read)
    text = "{" + ", ".join(member for _, member, _ in given_members) + "}"
    envelopes = pa.array([b"{}", text.encode(), b"{}"], pa.binary())
    _, attributes, _, problems = decode_structured("text", envelopes, {})
    assert (problems[1] == DeadLetterCode.BAD_HEADERS) == torn
    assert (problems[0], problems[2]) == (DeadLetterCode.NULL_VALUE,) * 2
    if torn:
        assert {column[1].as_py() for column in attributes.values()} == {None}


def test_only_what_names_more_members_than_it_has_is_looked_through_again() -> None:
    """A number of more than 4,300 digits is read by one JSON reader only: it shows who looked."""
    digits = b"7" * 5_000
    plain = b'{"id": "1", "x": %s}' % digits
    nested = b'{"id": "1", "y": {"id": "1"}, "x": %s}' % digits
    *_, problems = decode_structured("text", pa.array([plain, nested], pa.binary()), {})
    assert list(problems) == [DeadLetterCode.NULL_VALUE, DeadLetterCode.BAD_HEADERS]


def test_an_array_of_what_looks_like_members_is_no_envelope() -> None:
    value = b'[[{"id": "1"}, {"id": "2"}], [{"id": "1"}, 1]]'
    assert find_contradictions(pa.array([value]), np.zeros(1, int)).tolist() == [True]
