"""The impact assessment names tests that exist, and each measure names some."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "governance.md").read_text(encoding="utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
NAMED = sorted(set(_TEST.findall(PAGE)))


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def measures() -> list[list[str]]:
    """Return the cells of the rows of measures."""
    section = PAGE.partition("## Risks and measures")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda each: str(each) or "all")
def test_every_test_that_is_named_exists(file: str, test: str) -> None:
    path = ROOT / file
    assert path.is_file()
    names = functions(path)
    assert test in names if test else any(name.startswith("test_") for name in names)


def test_every_measure_names_its_tests_and_what_remains() -> None:
    found = measures()
    assert len(found) >= 12
    for risk, without, measure, shown_by, remains in found:
        assert risk
        assert re.fullmatch(r"[1-3] · [1-3]", without), risk
        assert measure
        assert remains
        assert _TEST.search(shown_by), risk


def test_what_stands_beside_the_tests_of_a_measure_is_a_test() -> None:
    """A name that the pattern does not know would be checked by nobody."""
    for *_, shown_by, _ in measures():
        assert _TEST.sub("", shown_by).strip(" ,") == ""
