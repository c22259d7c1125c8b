"""Text as people write it and as platforms wrap it: ``language.yaml`` and ``wrapped.yaml``."""

from pathlib import Path
from typing import Any

import pytest

from tests.field.replayed import Case, Outcome, assert_expected, read_cases, run_cases
from tests.support.records import record

CASES = read_cases("language") + read_cases("wrapped")


def make(case: Case, number: int) -> dict[str, Any]:
    payload = case.send["raw"].encode() if "raw" in case.send else case.send
    return record("text", number, payload)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Outcome]:
    return run_cases(CASES, make, tmp_path_factory.mktemp("language"), keys)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_text_as_the_field_sends_it(case: Case, outcomes: dict[str, Outcome]) -> None:
    assert_expected(case, outcomes[case.name])
