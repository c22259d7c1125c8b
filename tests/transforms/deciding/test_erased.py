"""What deciding keeps of people who are erased: nothing, with or without windows to come."""

import functools
from typing import Any

import pyarrow as pa
from apache_beam.utils.timestamp import Timestamp

from pipelines.config import POLICIES
from schemas.decisions.settings import Baselines
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from tests.transforms.test_decide import START, Everybody, drain, feature
from transforms.decide import Before, _Decide, _decider
from transforms.deciding.runs import RUNS


def test_what_was_usual_for_who_was_erased_is_not_gone_on_from() -> None:
    """The graph, whose state holds a hundred windows when the erasure becomes known."""
    rows = [feature(n, "joy", subject=s, purpose="research") for n in range(100) for s in "ab"]
    more = [feature(100, "joy", subject=s, purpose="research") for s in "ab"]
    erased = {"a" * 32: round(START.timestamp() * 1e6) + 500_000_000}

    class Known(Everybody):
        @staticmethod
        def erased_subjects() -> dict[str, int]:
            return erased

    stage = _Decide(
        functools.partial(_decider, POLICIES / "scenarios.yaml", Decisions(), Baselines(), 5.0),
        None,
        Known,
        None,
        5.0,
    )
    stage.setup()
    _, _, before = drain(*rows)
    kept = stage._without_erased(before)
    assert set(kept.baseline["subject_ref"].to_pylist()) == {"b" * 32}
    assert set(kept.history["subject_ref"].to_pylist()) == {"b" * 32}
    out, _, _ = drain(*more, state=kept)
    assert out["usual_expression"].to_pylist() == [None, "joy"]
    assert drain(*more, state=before)[0]["usual_expression"].to_pylist() == ["joy", "joy"]


def test_history_face_and_runs_of_who_was_erased_go_at_once() -> None:
    """Also where a history rests for long: nothing that was shown before steers a face after."""
    policy = POLICIES / "scenarios.yaml"
    rules = Decisions(forget_s=86_400)
    erased = {"a" * 32: round(START.timestamp() * 1e6) + 100_000_000}

    class Known(Everybody):
        @staticmethod
        def erased_subjects() -> dict[str, int]:
            return erased

    stage = _Decide(
        functools.partial(_decider, policy, rules, Baselines(), 5.0), None, Known, None, 5.0
    )
    stage.setup()

    def decide(*rows: dict[str, Any], before: Before | None) -> tuple[list[dict[str, Any]], Before]:
        full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
        given = [pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)]
        out, _, after = stage._decider.drain(given, before)
        return out.to_pylist(), after

    shown = [feature(n, "anger", subject=w, scenario="game") for n in range(8) for w in "ab"]
    _, before = decide(*shown, before=None)
    both = {"a" * 32, "b" * 32}
    for part in (before.history, before.avatars, before.baseline):
        assert set(part["subject_ref"].to_pylist()) == both
    runs = pa.record_batch(
        [before.history["history_id"], pa.array(["angry"] * 2), pa.array([8, 8])], schema=RUNS
    )
    before = before._replace(runs=runs)
    left = stage._without_erased(before)
    for part in (left.history, left.avatars, left.baseline):
        assert part["subject_ref"].to_pylist() == ["b" * 32]
    assert left.runs["history_id"].to_pylist() == left.history["history_id"].to_pylist()
    assert left.avatars["avatar_id"].to_pylist() == left.history["history_id"].to_pylist()
    again = [feature(30, "joy", subject=who, scenario="game", peak=0.4) for who in "ab"]
    (new, known), _ = decide(*again, before=left)
    (first, _), _ = decide(*again, before=None)
    assert new == first, "whoever was erased begins as a stranger"
    assert known["expression"] == "anger", "and nobody else does"


def test_a_window_that_began_before_the_erasure_is_forgotten_with_it() -> None:
    """A row of the state begins with the end of its first window."""

    class Known(Everybody):
        @staticmethod
        def erased_subjects() -> dict[str, int]:
            return {"a" * 32: round(START.timestamp() * 1e6) + 2_000_000}

    make = functools.partial(_decider, POLICIES / "scenarios.yaml", Decisions(), Baselines(), 5.0)
    stage = _Decide(make, None, Known, None, 5.0)
    stage.setup()
    _, _, before = drain(*(feature(0, "joy", subject=s, purpose="research") for s in "ab"))
    assert stage._without_erased(before).baseline["subject_ref"].to_pylist() == ["b" * 32]


class Held:
    """A value state, or a timer, as the runner gives it."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def read(self) -> Any:
        return self.value

    def write(self, value: Any) -> None:
        self.value = value

    set = write


def test_a_quiet_shard_looks_for_who_was_erased_and_a_drained_job_ends() -> None:
    """A timer fires although no window comes; a drain fires all that is set, again and again."""
    rows = [feature(n, "joy", subject=s, purpose="research") for n in range(3) for s in "ab"]
    erased: dict[str, int] = {}

    class Known(Everybody):
        @staticmethod
        def erased_subjects() -> dict[str, int]:
            return erased

    end = rows[-1]["window_end"].timestamp()
    make = functools.partial(_decider, POLICIES / "scenarios.yaml", Decisions(), Baselines(), 5.0)
    stage = _Decide(make, None, Known, lambda: end, 5.0)
    stage.setup()
    state, timer = Held(tuple(drain(*rows)[2])), Held()
    stage.sweep(state, timer, Timestamp(end))
    assert timer.value == Timestamp(end + 5)
    assert Before(*state.value).baseline.num_rows == 2
    erased["a" * 32] = round(end * 1e6)
    stage.sweep(state, timer, timer.value)
    assert Before(*state.value).baseline["subject_ref"].to_pylist() == ["b" * 32]
    fired = 0
    while timer.value is not None:
        at, timer.value = timer.value, None
        stage.sweep(state, timer, at)
        fired += 1
    assert fired < 30
    stage.sweep(state, timer, Timestamp(end - 86_400))
    assert timer.value == Timestamp(end + 5), "a backlog is not gone through step by step"
