"""The worst record that a search finds costs a stage at most 50 times what a benign one does.

CPU time and peak memory, of a batch of the worst against a batch of benign records of its size; how
a record is found and compared is in ``infra/bench/bounds``. The longer search is ``make bounds``.
"""

import pytest

from infra.bench.bounds.costs import attack
from infra.bench.bounds.targets import NAMES

MOST = 50
TRIES = 40


@pytest.mark.parametrize("name", NAMES)
def test_the_worst_record_costs_at_most_fifty_benign_ones(name: str) -> None:
    for worst in attack(name, tries=TRIES):
        assert worst.cpu <= MOST, worst
        assert worst.memory <= MOST, worst
