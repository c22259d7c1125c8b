"""A record that makes a stage raise costs itself alone; a broken stage raises on."""

import logging
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import POLICIES
from pipelines.govern.ledger import LedgerReader
from schemas.errors import AffectstreamError, BrokenStageError
from schemas.stages import DEAD, MAIN, Tagged
from tests.support.records import IDS, PSEUDONYMS, pseudonymous, raw, record
from transforms.gate import GateByPolicy
from transforms.gating.consent import GRANTED, Consents
from transforms.isolation.isolate import MOST, ROWS_EACH, Isolation
from transforms.stage import RunStage


def events(count: int, first: int = 0) -> pa.RecordBatch:
    rows = [record("text", first + n, {"text": f"secret {first + n}"}) for n in range(count)]
    return pseudonymous(*rows)


class Stage:
    """Raises on the rows of these offsets, and counts what it is asked."""

    def __init__(self, poison: set[int], error: type[BaseException] = ValueError) -> None:
        self.poison, self.error, self.runs = poison, error, 0

    def __call__(self, batch: pa.RecordBatch) -> Tagged:
        self.runs += 1
        self._check(batch)
        return [(MAIN, batch)]

    def _check(self, batch: pa.RecordBatch) -> None:
        for offset, text in zip(
            batch["offset"].to_pylist(), batch["text"].to_pylist(), strict=True
        ):
            if offset in self.poison:
                message = f"cannot bear {text}"
                raise self.error(message)


class Piecemeal(Stage):
    """Gives a few rows at a time, each before it looks at the next."""

    def __call__(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        self.runs += 1
        for start in range(0, batch.num_rows, 3):
            few = batch.slice(start, 3)
            self._check(few)
            odd = few["offset"].to_numpy() % 2 == 1
            yield MAIN, few.filter(pa.array(~odd))
            yield DEAD, few.filter(pa.array(odd)).select(["topic", "partition", "offset"])


def outcome(given: Tagged) -> tuple[list[int], list[tuple[int, str]]]:
    """Return the offsets of what went on, in order, and offset and detail of what is poison."""
    on: list[int] = []
    poison: list[tuple[int, str]] = []
    for tag, batch in given:
        if "code" in batch.schema.names:
            assert tag == DEAD
            assert set(batch["code"].to_pylist()) == {"poison"}
            poison += zip(batch["offset"].to_pylist(), batch["detail"].to_pylist(), strict=True)
        else:
            on += batch["offset"].to_pylist()
    return sorted(on), sorted(poison)


class Panic(BaseException):
    """As Rust's panics are in Python: no Exception."""


@pytest.mark.parametrize("kind", [Stage, Piecemeal])
@pytest.mark.parametrize("error", [ValueError, KeyError, RecursionError, MemoryError, Panic])
def test_only_the_culprit_is_lost(kind: type[Stage], error: type[BaseException]) -> None:
    stage = kind({17}, error)
    on, poison = outcome(Isolation("Work").work(stage, events(100)))
    assert on == [n for n in range(100) if n != 17]
    assert poison == [(17, f"{error.__name__} in this stage")]


@given(
    st.sampled_from([Stage, Piecemeal]),
    st.integers(1, 400),
    st.sets(st.integers(0, 399), max_size=MOST),
)
def test_any_culprits_are_found_with_few_runs(
    kind: type[Stage], count: int, culprits: set[int]
) -> None:
    stage = kind(culprits)
    on, poison = outcome(Isolation("Work").work(stage, events(count)))
    mine = sorted(n for n in culprits if n < count)
    assert on == [n for n in range(count) if n not in culprits]
    assert [offset for offset, _ in poison] == mine
    assert stage.runs <= (2 + 2 * len(mine) * np.ceil(np.log2(max(count, 2))) if mine else 1)


def test_what_passes_the_second_time_is_no_poison() -> None:
    left = [ValueError("once")]

    def stage(batch: pa.RecordBatch) -> Tagged:
        if left:
            raise left.pop()
        return [(MAIN, batch)]

    assert outcome(Isolation("Work").work(stage, events(9))) == ([*range(9)], [])


@pytest.mark.parametrize(
    "error", [AffectstreamError, OSError, ConnectionError, PermissionError, TimeoutError]
)
@pytest.mark.parametrize("count", [1, 50])
def test_a_broken_world_is_no_records_fault(error: type[Exception], count: int) -> None:
    stage = Stage({0}, error)
    with pytest.raises(error):
        outcome(Isolation("Work").work(stage, events(count)))
    assert stage.runs == 1


@pytest.mark.parametrize("each", [1, 2, MOST + 1, 1000])
def test_a_stage_that_fails_on_every_record_is_broken(each: int) -> None:
    isolation, stage = Isolation("Work"), Stage(set(range(10_000)))
    given = (
        pair
        for first in range(0, 10_000, each)
        for pair in isolation.work(stage, events(each, first))
    )
    dead = [next(given) for _ in range(MOST)]
    assert outcome(dead) == ([], [(n, "ValueError in this stage") for n in range(MOST)])
    with pytest.raises(BrokenStageError, match="Work raised ValueError on more than 8 ") as told:
        next(given)
    assert stage.runs < 60
    assert "secret" not in str(told.value)
    assert told.value.__suppress_context__


@pytest.mark.parametrize("each", [1, 40, 1000])
def test_a_client_that_sends_poison_now_and_then_stops_nothing(each: int) -> None:
    poison = set(range(0, 2000, ROWS_EACH + 2))
    isolation, stage = Isolation("Work"), Stage(poison)
    lost = []
    for first in range(0, 2000, each):
        lost += outcome(isolation.work(stage, events(each, first)))[1]
    assert {offset for offset, _ in lost} == poison


def test_neither_dead_letter_nor_log_holds_what_the_error_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        given = [*Isolation("Work").work(Stage({3}), events(20))]
    assert "secret" not in caplog.text
    assert "('session.text', 0, 3) is poison: ValueError" in caplog.text
    assert "_check" in caplog.text, "where it raised is told"
    (dead,) = [batch for tag, batch in given if tag == DEAD]
    assert not [value for value in dead.to_pylist()[0].values() if "secret" in str(value)]


def test_a_dead_letter_of_poison_has_the_same_id_whatever_it_came_with() -> None:
    ids = set()
    for first, count in ((0, 40), (5, 1), (3, 7)):
        for tag, batch in Isolation("Work").work(Stage({5}), events(count, first)):
            if tag == DEAD:
                ids |= set(batch["dead_letter_id"].to_pylist())
    assert len(ids) == 1


def test_two_records_of_the_same_place_are_two() -> None:
    """A log that was put together of others."""
    twice = pa.concat_batches([events(3), events(3)])
    stage = Piecemeal({2})
    on, poison = outcome(Isolation("Work").work(stage, twice))
    assert on == [0, 0, 1, 1]
    assert [offset for offset, _ in poison] == [2, 2]


def test_rows_that_no_record_names_are_not_isolated() -> None:
    stage = RunStage("Work", lambda: _raising)
    stage.setup()
    with pytest.raises(ValueError, match="always"):
        list(stage.process(pa.record_batch({"x": [1, 2]})))


def _raising(_: pa.RecordBatch) -> Tagged:
    message = "always"
    raise ValueError(message)


class Moody(Consents):
    """Consents of which one subject's cannot be told."""

    def __init__(self) -> None:
        super().__init__()
        (self.subject,) = set(_of_bob()["subject_ref"].to_pylist())

    def ask(
        self, events: pa.RecordBatch, modality: str, needs: np.ndarray | None = None
    ) -> np.ndarray:
        assert modality == "text"
        if self.subject in events["subject_ref"].to_pylist():
            message = "no word of bob"
            raise LookupError(message)
        return np.full(events.num_rows, GRANTED)


def _of_bob() -> pa.RecordBatch:
    return pseudonymous(record("text", 50, {"text": "hi"}, subject="bob"))


def test_a_graph_goes_on_without_the_culprit() -> None:
    batch = pa.concat_batches([events(50), _of_bob(), events(50, 51)])

    def expect(found: list[pa.RecordBatch]) -> None:
        offsets = sorted(n for rows in found for n in rows["offset"].to_pylist())
        assert offsets == [n for n in range(101) if n != 50]

    def expect_dead(found: list[pa.RecordBatch]) -> None:
        (row,) = [row for rows in found for row in rows.to_pylist()]
        assert (row["stage"], row["code"], row["offset"]) == ("GateByPolicy", "poison", 50)
        assert row["detail"] == "LookupError in this stage"

    with beam.Pipeline(runner=FnApiRunner()) as p:
        rows = p | beam.Create([batch], reshuffle=False)
        gated = rows | GateByPolicy(policy=POLICIES / "gate.yaml", consents=Moody)
        assert_that(gated[MAIN], expect)
        assert_that(gated[DEAD], expect_dead, label="dead")


def test_a_consent_that_cannot_be_read_leaves_the_others() -> None:
    granted = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
    subjects = ["alice", "bob", "carol"]
    rows = [record("consent", n, granted, subject=name) for n, name in enumerate(subjects)]
    whole = PSEUDONYMS.batch

    class Pseudonyms:
        """Cannot bear bob."""

        def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            if "bob" in batch["subject"].to_pylist():
                raise KeyError(batch)
            return whole(batch)

    reader = LedgerReader(Pseudonyms(), IDS, frozenset({"avatar_mirroring"}))
    found = reader.rows([raw(*rows)])
    assert sum(rows.num_rows for rows in found) == 2
