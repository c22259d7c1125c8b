from pathlib import Path

import pytest

from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml


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
