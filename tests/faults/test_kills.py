"""Twelve kills of all that can die, while a producer goes on: nothing lost, nothing twice."""

from pathlib import Path

import pytest
from faults.chaos import WAYS, run_chaos

pytestmark = [pytest.mark.kafka, pytest.mark.flink]
KILLS = 12


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    outcome = run_chaos(KILLS, tmp_path)
    assert outcome.kills == KILLS
    assert set(outcome.restart_s) == set(WAYS)
    assert outcome.windows > 0
    assert outcome.rows["dead_letters"] > 0
    assert outcome.rows["refusals"] > 0
    found = (outcome.lost, outcome.duplicated, outcome.wrong_counts, outcome.other_tables_differ)
    assert found == (0, 0, 0, 0), outcome
