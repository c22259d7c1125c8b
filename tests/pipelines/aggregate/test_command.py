"""The command as a person runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from schemas.errors import AffectstreamError
from tests.pipelines.aggregate.world import land, people

COMMAND = Path(sys.executable).with_name("affectstream")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return land(tmp_path_factory.mktemp("tables"), people(400), people(5, name="few", region="CN"))


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["aggregate", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


ASKED = ("--where", "purpose=recommendation", "--by", "region", "--measure", "valence")


def test_an_answer_in_all_forms_is_one_answer(root: Path, tmp_path: Path) -> None:
    asked = (*ASKED, "--tables", root)
    (row,) = json.loads(run(*asked, "--format", "json"))
    assert row.keys() == {"region", "subjects", "share_abstained", "valence"}
    assert row["region"] == "EU"
    assert 300 < row["subjects"] < 500
    run(*asked, "--format", "parquet", "--out", tmp_path / "answer.parquet")
    assert pq.read_table(tmp_path / "answer.parquet").to_pylist() == [row]
    header, line = run(*asked, "--format", "csv").splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))['"subjects"'] == str(
        row["subjects"]
    )
    assert f"{row['subjects']}" in run(*asked)
    assert "Questions so far: 1; " in run("--tables", root, "--budget")


def test_the_report_goes_beside_the_answer_and_names_no_exact_figure(root: Path) -> None:
    command = [COMMAND, "aggregate", *ASKED, "--tables", root, "--max-groups", "1", "--explain"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "EU" in done.stdout
    said = " ".join(done.stderr.split())
    for part in (
        "By analysts: subjects, valence by region where purpose is recommendation, in version",
        "Of a subject's groups at most 1 count, and in each at most 100 of their windows",
        "valence is clipped to -1 to 1",
        "Discrete Gaussian",
        "A group of fewer than 20 subjects is never shown",
        "By itself ε 1, δ 1e-08",
        "is left. Questions so far: 2; they cost",
    ):
        assert part in said
    assert "400" not in said
    assert "405" not in said


def test_an_answer_says_within_what_its_noise_stays(root: Path) -> None:
    command = [COMMAND, "aggregate", *ASKED, "--tables", root, "--max-groups", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = " ".join(done.stderr.split())
    assert re.search(r"in 95 of 100 groups subjects ±\d+ and in a group of 500 subjects", said)
    assert "By analysts" not in said


def test_bounds_of_a_question_are_checked_as_settings_are(root: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"`aggregates\.max_groups` is 0"):
        run(*ASKED, "--tables", root, "--max-groups", "0")


def test_without_the_libraries_it_says_which_extra_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opendp", None)
    with pytest.raises(AffectstreamError, match=r"pip install affectstream\[aggregates\]"):
        run(*ASKED, "--tables", root)
