import numpy as np

from pipelines.kafka.publish import Pace, span_of

START = 1_788_256_800_000
DECADES = 30 * 365 * 86_400_000


def test_records_are_due_by_their_gaps() -> None:
    pace = Pace(speed=2.0, now=100.0)
    assert [pace.due(START + ms) for ms in (0, 1000, 1000, 5000)] == [100.0, 100.5, 100.5, 102.5]


def test_one_wrong_time_is_not_waited_for() -> None:
    for wrong in (START + DECADES, START - DECADES):
        pace = Pace(speed=1.0, now=100.0)
        due = [pace.due(at) for at in (START, START + 1000, wrong, START + 2000, START + 3000)]
        assert due == [100.0, 101.0, 101.0, 101.0, 102.0]


def test_the_span_is_that_of_most_records() -> None:
    times = [START + n * 1000 for n in range(5)]
    for wrong in ([], [START - DECADES], [START + DECADES], [START - DECADES, START + DECADES]):
        assert span_of(np.array([*wrong, *reversed(times)])) == (times[0], times[-1])
    assert span_of(np.array([], np.int64)) is None
