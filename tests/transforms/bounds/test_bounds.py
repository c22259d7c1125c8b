"""The worst record that a search finds costs a stage at most 50 times what a benign one does.

CPU time and peak memory, of a batch of the worst against a batch of benign records of its size; how
a record is found and compared is in ``infra/bench/bounds``. The longer search is ``make bounds``.
"""

from collections.abc import Sequence

import pytest

from infra.bench.bounds.costs import attack, cpu_s
from infra.bench.bounds.targets import NAMES, target_of
from transforms.pseudonymising import fields
from transforms.pseudonymising.codes import are_plain_codes

MOST = 50
TRIES = 16


@pytest.mark.parametrize("name", NAMES)
def test_the_worst_record_costs_at_most_fifty_benign_ones(name: str) -> None:
    for worst in attack(name, tries=TRIES):
        assert worst.cpu <= MOST, worst
        assert worst.memory <= MOST, worst


def test_without_a_measure_a_record_is_found_that_costs_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Codes were judged one by one: a context event with new ones took milliseconds each."""

    def one_by_one(asked: Sequence[str]) -> list[bool]:
        return [are_plain_codes([each])[0] for each in asked]

    monkeypatch.setattr(fields, "are_plain_codes", one_by_one)
    target = target_of("pseudonymise codes")
    ((size, rows),) = target.sizes
    benign = cpu_s(target, None, size, rows, 9)  # the least of nine, as others run beside it
    dearest = max(cpu_s(target, seed, size, rows, 1) for seed in (*target.seeds,) * 3)
    assert dearest > MOST * benign
