"""Speech behind the channels of the field: ``voice.yaml``.

Beside the columns, a row may say that what lands is ``like`` what lands of another row, or that its
confidence is under that of another (``less_sure_than``).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.field.replayed import Case, Outcome, assert_expected, read_cases, run_cases
from tests.field.sounds import make_file
from tests.support.records import record

CASES = read_cases("voice")
ALIKE = 0.2
"""How far scores may lie apart: by one step, since what lands is coarse."""


def make(case: Case, number: int) -> dict[str, Any]:
    return record("voice", number, make_file(case.send))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Outcome]:
    return run_cases(CASES, make, tmp_path_factory.mktemp("voice"), keys)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_voice_as_the_field_sends_it(case: Case, outcomes: dict[str, Outcome]) -> None:
    expect = dict(case.expect)
    like, surer = expect.pop("like", None), expect.pop("less_sure_than", None)
    assert_expected(replace(case, expect=expect), outcomes[case.name])
    found = outcomes[case.name].observation
    if like:
        assert found
        other = outcomes[like].observation
        assert other
        assert found["scores"] == pytest.approx(other["scores"], abs=ALIKE)
        assert found["expression"] == other["expression"]
    if surer:
        assert found
        other = outcomes[surer].observation
        assert other
        assert found["confidence"] < other["confidence"]
