"""Which ends of a job are its last: errors that come again, kills that come to nothing."""

import pytest

from pipelines.live.failures import Ending, Failures
from schemas.errors import AffectstreamError
from tests.support.clock import Clock


def ends(failures: Failures, clock: Clock, count: int, each_s: float, *, killed: bool) -> None:
    for _ in range(count):
        failures.add(Ending("no such table", killed=killed, advanced=True))
        clock.now += each_s


def test_an_error_that_comes_again_ends_the_job_however_far_it_got_in_between() -> None:
    failures = Failures(3, clock := Clock())
    ends(failures, clock, 3, 600.0, killed=False)
    with pytest.raises(AffectstreamError, match="failed 4 times within an hour, at last with: no "):
        ends(failures, clock, 1, 0, killed=False)


def test_errors_that_are_far_apart_do_not_end_it() -> None:
    ends(Failures(3, clock := Clock()), clock, 50, 1300.0, killed=False)


def test_sixty_kills_an_hour_do_not_end_it_and_more_do() -> None:
    failures = Failures(3, clock := Clock())
    ends(failures, clock, 500, 62.0, killed=True)
    clock.now += 3600
    ends(failures, clock, 60, 36.0, killed=True)
    with pytest.raises(AffectstreamError, match="61 times within an hour"):
        ends(failures, clock, 1, 0, killed=True)


def test_a_program_that_dies_of_every_record_ends_the_job() -> None:
    failures = Failures(3, clock := Clock())
    for _ in range(6):
        failures.add(Ending("a worker died", advanced=True, poisoned=True))
        clock.now += 60
    with pytest.raises(AffectstreamError, match="7 times within an hour by records that kill"):
        failures.add(Ending("a worker died", advanced=True, poisoned=True))


def test_records_that_kill_and_are_found_are_no_errors() -> None:
    failures = Failures(3, clock := Clock())
    for _ in range(50):
        failures.add(Ending("a worker died", advanced=True, poisoned=True))
        clock.now += 601
    ends(failures, clock, 3, 10.0, killed=False)


def test_kills_that_come_to_nothing_in_a_row_end_it() -> None:
    failures = Failures(3, Clock())
    for advanced in (True, False, False, True, False, False):
        failures.add(Ending("killed", killed=True, advanced=advanced))
    with pytest.raises(AffectstreamError, match="failed 4 times in a row"):
        failures.add(Ending("killed", killed=True))


def test_the_pause_grows_until_a_start_is_of_use() -> None:
    failures = Failures(9, Clock())
    pauses = []
    for advanced in (True, False, False, True):
        failures.add(Ending("killed", killed=True, advanced=advanced))
        pauses.append(failures.pause_s)
    assert pauses == [0.5, 1.0, 2.0, 0.5]
