import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, model_validator

from schemas.errors import AffectstreamError
from schemas.strict import Frozen, PlacedError, parse_yaml, read_yaml


class Bounds(Frozen):
    low: int
    high: int = 9


def test_a_file_is_read_as_its_model(tmp_path: Path) -> None:
    path = tmp_path / "bounds.yaml"
    path.write_text("low: 3\n")
    assert read_yaml(path, Bounds, "bounds") == Bounds(low=3, high=9)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"low: 3\nhihg: 4\n", "hihg: Extra inputs"),
        (b"low: many\n", "low: Input should be a valid integer"),
        (b"- low\n", "Input should be a valid dictionary"),
        (b"low: [\n", "while parsing"),
        (b"low: 3\nlow: 4\n", "`low` stands twice: remove one"),
        (b"low: " + b"9" * 5000, "4300 digits"),
        (b"low: " + b"[" * 2000, "it is nested too deeply"),
        (b"low: 2026-13-01\n", "month must be in 1..12"),
        (b"\xff\xfe", "can't decode|cannot decode|codec"),
    ],
)
def test_a_file_is_refused_with_its_first_problem(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "bounds.yaml"
    path.write_bytes(text)
    with pytest.raises(AffectstreamError, match=f"bounds.yaml is not bounds: .*({reason})") as told:
        read_yaml(path, Bounds, "bounds")
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match="No such file"):
        read_yaml(tmp_path / "none.yaml", Bounds, "bounds")


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bounds.yaml")
    with pytest.raises(AffectstreamError, match="is no regular file"):
        read_yaml(tmp_path / "bounds.yaml", Bounds, "bounds")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-8_000", -8000),
        ("0", 0),
        ("0.5", 0.5),
        ("+.5", 0.5),
        ("1.5e3", 1500.0),
        ("1e3", 1000.0),
        ("3.0e-4", 0.0003),
        (".inf", float("inf")),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("0b1", "0b1"),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_a_number_is_one_in_base_ten_and_nothing_else(text: str, value: Any) -> None:
    found = parse_yaml(f"[{text}]")[0]
    assert (found, type(found)) == (value, type(value))


class Shelf(Frozen):
    books: tuple[Bounds, ...]
    by_name: dict[str, Bounds] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _low_is_low(self) -> "Shelf":
        for number, book in enumerate(self.books):
            if book.low > book.high:
                message = "low is above high"
                raise PlacedError(message, "books", number, "low")
        return self


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("books:\n- low: 1\n- low: x\n", 3, "books.1.low: Input should be a valid integer"),
        ("books:\n- low: 1\n- high: 3\n  low: 5\n", 4, "books.1.low: .*low is above high"),
        ("books:\n  - {low: 1,\n     hgih: 3}\n", 3, "books.0.hgih: Extra inputs"),
        ("\n\nbooks:\n- high: 1\n", 4, "books.0.low: Field required"),
        ("books: []\nby_name:\n  a:\n    low: 1\n  b:\n    low: x\n", 6, "by_name.b.low: "),
        ("# nothing\n", 1, "Input should be a valid dictionary"),
        ("by_name: {}\n", 1, "books: Field required"),
        ("books: &all\n- low: x\nby_name: {a: *all}\n", 2, "books.0.low"),
        ("books:\n- low: 1\n  low: 2\n", 3, "`low` stands twice"),
        ("books:\n- low: 1\n -\n", 3, "while parsing"),
    ],
)
def test_a_problem_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "shelf.yaml"
    path.write_text(text)
    with pytest.raises(AffectstreamError, match=f"is not a shelf: line {line}: .*{said}"):
        read_yaml(path, Shelf, "a shelf")
