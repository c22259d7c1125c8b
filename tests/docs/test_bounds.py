"""The page of bounds says what the code says: each row names a constant, and its value."""

import importlib
import re
from collections.abc import Sized
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.modalities import MODALITIES
from schemas.stages import Stage, recognition_stage
from schemas.suites import load_suite

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "bounds.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([\d.,]+)[^|]* \| `([\w./]+)` \|$", re.MULTILINE)


def rows() -> list[tuple[str, float, str]]:
    """Stage, value and the name of what holds it, of each row."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [(stage, float(value.replace(",", "")), name) for stage, value, name in found]


def value_of(name: str) -> Any:
    """The value of a constant, a setting's default, or the longest text that a suite lets pass."""
    if "/" in name:
        suite, column = name.rsplit(".", 1)
        (longest,) = (
            each["kwargs"]["max_value"]
            for each in load_suite(suite)["expectations"]
            if each["kwargs"].get("column") == column
            and each["type"] in LENGTHS
            and "max_value" in each["kwargs"]
        )
        return longest
    parts = name.split(".")
    at = next(place for place, part in enumerate(parts) if is_no_module(part))
    found = getattr(importlib.import_module(".".join(parts[:at])), parts[at])
    rest = parts[at + 1 :]
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found.model_fields[rest[0]].default
    found = reduce(getattr, rest, found)
    return len(found) if isinstance(found, Sized) else found


LENGTHS = ("expect_column_value_lengths_to_be_between", "expect_column_values_to_be_between")


def is_no_module(part: str) -> bool:
    return not part.islower() or part.startswith("_")


@pytest.mark.parametrize(("stage", "value", "name"), rows())
def test_each_bound_is_that_of_the_code(stage: str, value: float, name: str) -> None:
    assert value_of(name) == pytest.approx(value), (stage, name)


def test_each_stage_has_a_bound() -> None:
    text = PAGE.read_text(encoding="utf-8")
    stages = [*Stage, *map(recognition_stage, MODALITIES)]
    assert [stage for stage in stages if f"| `{stage}` |" not in text] == []


def test_each_row_with_a_constant_is_read() -> None:
    """A row that the pattern does not know would never be compared."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if re.search(r"\| `[\w./]+` \|$", line)]
    assert len(named) == len(rows()) > 20
