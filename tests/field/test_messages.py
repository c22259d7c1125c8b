"""Messages as SDKs, serialisers and gateways send them: ``messages.yaml``."""

from pathlib import Path
from typing import Any

import pytest

from tests.field.messages_made import make_message
from tests.field.replayed import Case, Outcome, assert_expected, read_cases, run_cases

CASES = read_cases("messages")


def make(case: Case, number: int) -> dict[str, Any]:
    return make_message(case.send, case.kind, number)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Outcome]:
    return run_cases(CASES, make, tmp_path_factory.mktemp("messages"), keys)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.expect], ids=lambda case: case.name
)
def test_messages_as_the_field_sends_them(case: Case, outcomes: dict[str, Outcome]) -> None:
    assert_expected(case, outcomes[case.name])
