"""Who is to blame for the deaths of workers: real processes that die with a batch in work."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import AffectstreamError, BrokenStageError, BrokerAwayError
from schemas.stages import DEAD, MAIN, Tagged
from tests.support.dying_workers import (
    SEEN,
    SERVER,
    STAGE,
    batch,
    crashes,
    ends_as_told,
    exits,
    looks,
    noted,
    offsets,
    process,
    seen,
    waits,
    worker,
)
from tests.support.live_runs import wait_for
from transforms.isolation import deaths
from transforms.isolation.deaths import ALONE_AFTER, Journal, Place, journal, start_anew
from transforms.isolation.isolate import Isolation
from transforms.isolation.notes import PROCESS, Watch
from transforms.stage import RunStage


@pytest.mark.parametrize("fatal", [exits, crashes])
@pytest.mark.parametrize(("size", "deaths_needed"), [(1, 3), (2, 4), (7, 4), (100, 4)])
def test_a_record_that_kills_is_named_and_set_aside(
    tmp_path: Path, fatal: Callable, size: int, deaths_needed: int
) -> None:
    """Each start cuts the records into other batches, as a restored job does."""
    died = 0
    for start in range(10):
        step = size if size == 1 else size + start
        batches = [batch(*range(n, min(n + step, 200))) for n in range(0, 200, step)]
        if worker(tmp_path, batches, fatal(133)) == 0:
            break
        died += 1
    assert died == deaths_needed
    assert seen(tmp_path, DEAD) == {133}
    assert seen(tmp_path, MAIN) == set(range(200)) - {133}
    assert journal(tmp_path / "poison").condemned() == {(STAGE, ("session.voice", 0, 133))}
    assert worker(tmp_path, [batch(*range(200))], fatal(133)) == 0, "what is known is kept"


def test_several_records_that_kill_are_all_found(tmp_path: Path) -> None:
    culprits = {3, 60, 61}
    starts = 0
    while worker(tmp_path, [batch(*range(50)), batch(*range(50, 100))], exits(*culprits)):
        starts += 1
    assert starts <= 4 * len(culprits)
    assert seen(tmp_path, DEAD) == culprits
    assert seen(tmp_path, MAIN) == set(range(100)) - culprits


def test_the_same_place_of_another_partition_topic_or_stage_is_another(tmp_path: Path) -> None:
    others = [batch(5, partition=1), batch(5, topic="session.face")]
    while worker(tmp_path, [batch(5)], exits(5)):
        pass
    assert worker(tmp_path, others, exits()) == 0
    assert (tmp_path / SEEN).read_text().count(f"{MAIN} 5") == 2
    watch = Watch(tmp_path / "poison")
    (part,) = watch.parts("RecogniseFace", batch(5))
    assert part.note is not None


def test_kills_from_outside_condemn_nothing(tmp_path: Path) -> None:
    """A kill in the middle of each batch, sixty times; what was hit passes before the next."""
    rng = np.random.default_rng(0)
    for kill in range(60):
        victim = int(rng.integers(200))
        size = int(rng.integers(1, 90))
        batches = [batch(*range(n, min(n + size, 200))) for n in range(0, 200, size)]
        assert worker(tmp_path, batches, exits(victim)) == 7, kill
        if rng.random() < 0.5:  # else it is killed at once again, perhaps at the same place
            assert worker(tmp_path, batches, exits()) == 0
    assert worker(tmp_path, [batch(*range(200))], exits()) == 0
    assert not journal(tmp_path / "poison").condemned()
    assert DEAD not in (tmp_path / SEEN).read_text()
    assert not journal(tmp_path / "poison").suspected(STAGE), "what has passed is not suspected"


def test_what_was_in_work_twice_is_worked_on_alone(tmp_path: Path) -> None:
    for _ in range(ALONE_AFTER):
        worker(tmp_path, [batch(1, 2, 3)], exits(2))
    watch = Watch(tmp_path / "poison")
    parts = list(watch.parts(STAGE, batch(0, 1, 2, 3, 4)))
    assert [offsets(part.rows) for part in parts] == [[1], [2], [3], [0, 4]]
    for part in parts:
        part.passed()
    assert [offsets(part.rows) for part in watch.parts(STAGE, batch(0, 1, 2))] == [[0, 1, 2]]


def test_a_worker_that_is_told_to_end_leaves_no_note(tmp_path: Path) -> None:
    assert process(ends_as_told, tmp_path) == 0
    assert not Watch(tmp_path).journal.suspected(STAGE)


def test_the_notes_of_those_who_live_or_were_killed_on_purpose_blame_nobody(
    tmp_path: Path,
) -> None:
    child = SERVER.Process(target=waits, args=(tmp_path,))
    child.start()
    wait_for((tmp_path / "ready").exists)
    assert not Watch(tmp_path).journal.suspected(STAGE)
    child.kill()
    child.join()
    deaths.forget(tmp_path, [child.pid])
    assert not Watch(tmp_path).journal.suspected(STAGE)


def test_a_stage_that_raises_or_waits_leaves_no_note(tmp_path: Path) -> None:
    """While others work on what it gave, and after an error, nothing is in its work."""
    assert process(looks, tmp_path) == 0


def test_a_suspicious_record_is_alone_in_its_process(tmp_path: Path) -> None:
    for _ in range(ALONE_AFTER):
        worker(tmp_path, [batch(1, 2)], exits(2))
    watch = Watch(tmp_path / "poison")
    (*_, alone), (other,) = watch.parts(STAGE, batch(1, 2)), watch.parts(STAGE, batch(9))
    inside: list[str] = []

    def work() -> None:
        with other.note:
            inside.append("other")

    thread = threading.Thread(target=work)
    with alone.note:
        thread.start()
        thread.join(0.2)
        assert not inside
    thread.join(30)
    assert inside


def test_a_journal_that_was_cut_off_is_read_on(tmp_path: Path) -> None:
    place: Place = ("session.voice", 0, 1)
    first = journal(tmp_path)
    first.died(STAGE, [place], alone=True)
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"stage":"Recog')
    second = journal(tmp_path)
    second.died(STAGE, [place], alone=True)  # on the line that was cut off: lost
    for reader in (first, second, journal(tmp_path)):
        reader.refresh()
        assert reader.suspected(STAGE)[place].deaths == 1
    second.died(STAGE, [place], alone=True)
    assert journal(tmp_path).suspected(STAGE)[place].deaths == 2


def test_a_journal_is_compacted_to_what_is_suspected_now(tmp_path: Path) -> None:
    known = journal(tmp_path)
    for number in range(500):
        known.died(STAGE, [("session.voice", 0, number)], alone=False)
        known.passed(STAGE, [("session.voice", 0, number)])
    for _ in range(3):
        known.died(STAGE, [("session.voice", 0, 7)], alone=True)
    (tmp_path / "broken").write_text("a stage")
    start_anew(tmp_path)
    assert (tmp_path / "journal").stat().st_size < 200
    assert journal(tmp_path).condemned() == {(STAGE, ("session.voice", 0, 7))}
    assert deaths.read_broken(tmp_path) is None
    start_anew(tmp_path / "new")


def test_workers_see_what_others_wrote(tmp_path: Path) -> None:
    one, other = Watch(tmp_path), Watch(tmp_path)
    for _ in range(3):
        one.journal.died(STAGE, [("session.voice", 0, 4)], alone=True)
    condemned, rest = other.parts(STAGE, batch(3, 4, 5))
    assert condemned.note is None
    assert (offsets(condemned.rows), offsets(rest.rows)) == ([4], [3, 5])


def test_a_replay_keeps_no_watch() -> None:
    assert PROCESS.watch is None
    assert isinstance(journal(Path("/nowhere")), Journal)


@pytest.mark.parametrize(("error", "told"), [(AffectstreamError, True), (BrokerAwayError, False)])
def test_what_a_stage_cannot_have_is_told_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[AffectstreamError], told: bool
) -> None:
    def make() -> Callable[[object], Tagged]:
        message = "no key file"
        raise error(message)

    monkeypatch.setattr(PROCESS, "watch", Watch(tmp_path))
    with pytest.raises(error):
        RunStage("Pseudonymise", make).setup()
    assert deaths.read_broken(tmp_path) == ("no key file" if told else None)


def test_a_broken_stage_is_told_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(_: object) -> Tagged:
        raise KeyError

    monkeypatch.setattr(PROCESS, "watch", Watch(tmp_path))
    with pytest.raises(BrokenStageError):
        list(Isolation(STAGE).work(stage, batch(*range(100))))
    assert deaths.read_broken(tmp_path).startswith("RecogniseVoice raised KeyError on more than 8")
    assert not noted(tmp_path), "and nothing is in work any more"
