"""So many events of one subject in a window go on, in the order in which they came."""

from itertools import chain

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import take_rows
from schemas.settings import Windows
from schemas.stages import DEAD, MAIN
from tests.support.records import at, pseudonymous, record
from transforms import limit as limit_module
from transforms.gating.limits import Limits
from transforms.limit import EventLimit

LENGTH_US = 5_000_000


def events(*given: tuple[str, float], first: int = 0) -> pa.RecordBatch:
    """Events of (subject, second), each of a session of its own."""
    return pseudonymous(
        *(
            record("text", n, {"text": "hi"}, subject=subject, time=at(second), sessionid=f"s{n}")
            for n, (subject, second) in enumerate(given, first)
        )
    )


def outcome(limit: EventLimit, batch: pa.RecordBatch) -> tuple[list[int], list[int]]:
    found: dict[str, list[int]] = {MAIN: [], DEAD: []}
    for tag, rows in limit.batch(batch):
        found[tag] += rows["offset"].to_pylist()
        if tag == DEAD:
            assert set(rows["code"].to_pylist()) == {"too_many_events"}
            assert set(rows["stage"].to_pylist()) == {"LimitEvents"}
    return found[MAIN], found[DEAD]


def test_the_first_go_on_and_each_of_the_others_is_a_dead_letter() -> None:
    limit = EventLimit(3, LENGTH_US)
    batch = events(("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 5), ("a", 4))
    assert outcome(limit, batch) == ([0, 1, 2, 3, 4, 6], [5, 7])


def test_what_came_in_other_batches_counts() -> None:
    limit = EventLimit(3, LENGTH_US)
    assert outcome(limit, events(("a", 0), ("a", 1))) == ([0, 1], [])
    assert outcome(limit, events(("a", 2), ("a", 3), ("b", 0), first=2)) == ([2, 4], [3])
    assert outcome(limit, events(("a", 2), first=5)) == ([], [5])
    assert outcome(limit, events(("a", 7), first=6)) == ([6], []), "of the next window"


@pytest.mark.parametrize("cuts", [[], [1], [3, 4], [2, 5, 9]])
def test_where_batches_end_changes_nothing(cuts: list[int]) -> None:
    batch = events(*(("ab"[n % 2], n % 7) for n in range(12)))
    limit = EventLimit(2, LENGTH_US)
    parts = [take_rows(batch, rows) for rows in np.split(np.arange(12), cuts)]
    found = [outcome(limit, part) for part in parts]
    assert [sorted(chain(*each)) for each in zip(*found, strict=True)] == [
        *outcome(EventLimit(2, LENGTH_US), batch)
    ]


def test_a_batch_within_the_limit_goes_on_as_it_is() -> None:
    batch = events(("a", 0), ("b", 0))
    assert list(EventLimit(3, LENGTH_US).batch(batch)) == [(MAIN, batch)]


def test_what_is_counted_is_bounded_and_who_is_near_the_limit_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limit_module, "MOST_COUNTED", 10)
    limit = EventLimit(3, LENGTH_US)
    outcome(limit, events(("flood", 0), ("flood", 1)))
    for n in range(5):
        outcome(limit, events(*((f"p{n}-{m}", 0) for m in range(7))))
        assert len(limit._counts) <= 10
    assert outcome(limit, events(("flood", 2), ("flood", 3))) == ([0], [1])


def test_the_limit_follows_the_length_of_a_window() -> None:
    limits = Limits(events_per_s=100)
    assert limits.events(Windows(length_s=5)) == 500
    assert limits.events(Windows(length_s=0.01)) == 100, "a burst of a second may be in one window"
    assert Limits().events(Windows()) == 5_000
