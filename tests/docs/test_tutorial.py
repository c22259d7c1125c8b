"""The tutorials are run as they stand: each file is written, each command run, its output compared.

No id stands in a tutorial, since ids follow from a new key. Progress bars, durations and rates are
left out of the comparison, and numbers with decimals may differ by 0.02: the arithmetic of another
processor gives slightly other scores.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ("first-log.md", "first-log.zh.md")

_BLOCK = re.compile(
    r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$", re.M | re.S
)
_DURATION = re.compile(r"in \d+\.\d s, [\d,]+ a second")
_BAR = re.compile(r"━+ \d+/\d+ \d:\d\d:\d\d *$")
_DECIMAL = re.compile(r"-?\d+\.\d+")
_TOLERANCE = 0.02


class Step(NamedTuple):
    """A file to write (``name`` is set) or a command to run; ``text`` is its content or output."""

    name: str | None
    command: str
    text: str


def steps_of(page: str) -> list[Step]:
    """Return what a reader of this page does, in order; a block of another kind is an error."""
    steps = []
    for block in _BLOCK.finditer(page):
        if block["title"]:
            steps.append(Step(block["title"], "", block["body"]))
        elif block["kind"] == "console":
            for part in re.split(r"^\$ ", block["body"], flags=re.M)[1:]:
                command, _, output = part.partition("\n")
                steps.append(Step(None, command, output))
        else:
            message = f"a block of {block['kind']} that is neither a file nor a command"
            raise ValueError(message)
    return steps


def lines_of(output: str) -> list[str]:
    """Return the lines of an output without progress bars, durations and white space at the end."""
    lines = [line for line in output.strip().splitlines() if not _BAR.search(line)]
    return [_DURATION.sub("in … s", line).rstrip() for line in lines]


def same(shown: str, printed: str) -> bool:
    """Tell whether two outputs agree, but for durations and the last digits of decimals."""
    left, right = lines_of(shown), lines_of(printed)
    if [_DECIMAL.sub("#", line) for line in left] != [_DECIMAL.sub("#", line) for line in right]:
        return False
    numbers = zip(_numbers(left), _numbers(right), strict=True)
    return all(abs(one - other) <= _TOLERANCE for one, other in numbers)


def _numbers(lines: list[str]) -> list[float]:
    return [float(number) for line in lines for number in _DECIMAL.findall(line)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``affectstream`` and ``python`` are those of this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, arguments in (("affectstream", "-m pipelines.cli.main"), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        script.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@pytest.mark.parametrize("page", TUTORIALS)
def test_what_the_tutorial_shows_is_what_happens(
    page: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    steps = steps_of((ROOT / "docs" / "tutorial" / page).read_text(encoding="utf-8"))
    assert sum(step.name is None for step in steps) >= 10
    folder = tmp_path / "work"
    folder.mkdir()
    for step in steps:
        if step.name is not None:
            (folder / step.name).write_text(step.text, encoding="utf-8")
            continue
        done = subprocess.run(
            step.command,
            shell=True,
            cwd=folder,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed = done.stdout
        assert done.returncode == 0, f"{step.command}\n{printed}"
        assert same(step.text, printed), f"{step.command}\n{printed}"


def test_both_tutorials_run_the_same_commands() -> None:
    english, chinese = (
        [step.command for step in steps_of((ROOT / "docs" / "tutorial" / page).read_text("utf-8"))]
        for page in TUTORIALS
    )
    assert english == chinese


@pytest.mark.parametrize(
    "printed",
    [
        "joy   0.81\n5 rows",  # another count
        "fear   0.81\n4 rows",  # another word
        "joy   0.86\n4 rows",  # a score that is 0.05 away
        "joy   0.81",  # a line less
        "joy   0.81\n4 rows\nerror: no table",  # a line more
    ],
)
def test_another_output_is_noticed(printed: str) -> None:
    assert same("joy   0.82\n4 rows", "joy   0.81\n4 rows  \n")
    assert not same("joy   0.82\n4 rows", printed)


def test_bars_times_and_rates_are_left_out_and_nothing_else() -> None:
    bar = "windows, decisions, tables ━━━━━━━━ 8/8 0:00:01\n"
    assert same("8 records in 1.1 s, 7 a second", f"{bar}8 records in 1.1 s, 7 a second")
    assert same("8 records in 1.1 s, 7 a second", "8 records in 13.0 s, 1,204 a second")
    assert not same("8 records in 1.1 s, 7 a second", "9 records in 1.1 s, 7 a second")
