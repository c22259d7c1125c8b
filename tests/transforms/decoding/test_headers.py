import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import RAW
from transforms.decoding.headers import read_headers

TYPE = RAW.field("headers").type
NAMES = ("content-type", "ce_id", "ce_ageband")

Header = tuple[str, bytes | None]


def read(*rows: list[Header] | None) -> tuple[list[dict[str, str | None]], list[bool]]:
    """Read rows of headers; return each row's columns, and the mask."""
    pairs = [row and [{"key": key, "value": value} for key, value in row] for row in rows]
    columns, broken = read_headers(pa.array(pairs, TYPE), NAMES)
    assert set(columns) == set(NAMES)
    return pa.record_batch(columns).to_pylist(), broken.tolist()


def expected(row: list[Header] | None) -> tuple[dict[str, str | None], bool]:
    """The same, a header at a time."""
    said: dict[str, str | None] = dict.fromkeys(NAMES)
    broken = False
    for name in NAMES:
        same = [value for key, value in row or [] if letters(key) == letters(name)]
        if any(value != same[0] for value in same):
            return dict.fromkeys(NAMES), True
        if same and same[0] is not None:
            try:
                said[name] = same[0].decode()
            except UnicodeDecodeError:
                broken = True
    return said, broken


def letters(key: str) -> str:
    return re.sub("[^a-z0-9]", "", key.lower())


KEYS = st.sampled_from(
    ["ce_id", "ce_ageband", "CE_AgeBand", "ce-ageband", "content-type", "Content-Type", "", "x"]
)
VALUES = st.sampled_from([b"adult", b"child", b"", None, b"\xff"])
ROWS = st.one_of(st.none(), st.lists(st.tuples(KEYS, VALUES), max_size=5))


@given(st.lists(ROWS, min_size=1, max_size=8))
def test_each_row_is_read_as_if_it_were_alone(rows: list[list[Header] | None]) -> None:
    columns, broken = read(*rows)
    assert list(zip(columns, broken, strict=True)) == [expected(row) for row in rows]


@given(st.lists(KEYS, max_size=5), st.data())
def test_rows_of_one_layout_are_read_alike(keys: list[str], data: st.DataObject) -> None:
    values = st.lists(VALUES, min_size=len(keys), max_size=len(keys))
    filled = data.draw(st.lists(values, min_size=1, max_size=6))
    rows = [list(zip(keys, row, strict=True)) for row in filled]
    columns, broken = read(*rows)
    assert list(zip(columns, broken, strict=True)) == [expected(row) for row in rows]


def test_a_row_without_headers_gets_none_of_its_neighbours() -> None:
    """Two rows with the headers of one layout twice over, but all of them in one row."""
    doubled = [("ce_id", b"1"), ("ce_ageband", b"adult")] * 2
    for bare in (None, []):
        columns, broken = read(bare, doubled)
        assert columns[0] == dict.fromkeys(NAMES)
        assert (columns[1]["ce_id"], columns[1]["ce_ageband"]) == ("1", "adult")
        assert broken == [False, False]


@pytest.mark.parametrize(
    "key",
    [
        "CE_AgeBand", "Ce-Ageband", "ce-ageband", "ce_age_band", "ce.ageband", " ce_ageband",
        "cloudEvents:ageband", "cloudEvents_ageband", "cloudevents-ageband", "CloudEvent.AgeBand",
    ],
)  # fmt: skip
def test_every_spelling_is_read_and_none_may_deny_another(key: str) -> None:
    own: Header = ("ce_ageband", b"adult")
    alone, denied, agreed = [(key, b"child")], [own, (key, b"child")], [(key, b"adult"), own]
    columns, broken = read(alone, denied, agreed)
    assert [row["ce_ageband"] for row in columns] == ["child", None, "adult"]
    assert broken == [False, True, False]


@pytest.mark.parametrize("key", ["ageband", "x_ce_ageband", "ceX_ageband", "ce_agebands"])
def test_another_name_is_not_read(key: str) -> None:
    columns, broken = read([(key, b"child")])
    assert (columns[0]["ce_ageband"], broken) == (None, [False])


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (b'"adult"', "adult"),
        (b'"\\u0061dult"', "adult"),
        (b'{"schema":{"type":"string","optional":false},"payload":"adult"}', "adult"),
        (b'"adult', '"adult'),
        (b'""', ""),
        (b'"\\ud800"', '"\\ud800"'),
        (b'{"schema":{},"payload":7}', '{"schema":{},"payload":7}'),
    ],
)
def test_a_value_in_quotes_is_what_it_says(value: bytes, meant: str) -> None:
    rows = [[("ce_ageband", value), ("ce_id", b"1")], [("ce_ageband", b"teen"), ("ce_id", b"2")]]
    columns, broken = read(*rows, [("ce_ageband", value), ("Ce-AgeBand", meant.encode())])
    assert [row["ce_ageband"] for row in columns] == [meant, "teen", meant]
    assert broken == [False] * 3


def test_a_name_of_a_megabyte_and_very_many_names_cost_nothing_else() -> None:
    many = [(f"x{number}", b"") for number in range(5_000)]
    columns, broken = read([("ce_id" + "-" * 1_000_000, b"2"), *many, ("ce_id", b"1")])
    assert columns[0]["ce_id"] == "1"
    assert broken == [False]
