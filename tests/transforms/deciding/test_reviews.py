"""Which decisions go to a person, and how far modalities are apart."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import vector_column
from schemas.ids import stable_ids
from schemas.modalities import MODALITIES
from schemas.tables import REVIEW_QUEUE
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.reviews import REASONS, find_reviews, measure_disagreement

WIDTH, LABELS = len(MODALITIES), len(EXPRESSIONS)


def windows(counts: np.ndarray, scores: np.ndarray) -> pa.RecordBatch:
    """The columns of WINDOW rows that are looked at: counts (n, 4), scores (n, 4, 7)."""
    flat = pa.array(counts.reshape(-1).astype(np.int32))
    return pa.record_batch(
        {
            "counts": pa.FixedSizeListArray.from_arrays(flat, WIDTH),
            "modality_scores": vector_column(scores.reshape(len(scores), -1)),
        }
    )


def one(*shown: dict[str, float] | None) -> float:
    """How far the modalities of one window are apart; each shows its probabilities, or nothing."""
    scores, counts = np.zeros((1, WIDTH, LABELS)), np.zeros((1, WIDTH))
    for place, told in enumerate(shown):
        if told is not None:
            counts[0, place] = 1
            rest = (1 - sum(told.values())) / (LABELS - len(told))
            scores[0, place] = [told.get(name, rest) for name in EXPRESSIONS]
    return float(measure_disagreement(windows(counts, scores))[0])


def test_the_measure_is_zero_for_the_same_and_one_for_sure_opposites() -> None:
    joy, anger, fear = ({name: 1.0} for name in ("joy", "anger", "fear"))
    assert one(joy) == 0
    assert one(joy, joy, None, joy) == pytest.approx(0, abs=1e-9)
    assert one(joy, None, anger) == pytest.approx(1)
    assert one(joy, anger, fear) == pytest.approx(1)


def test_it_is_what_two_modalities_contradict_each_other_by() -> None:
    """Worked out by hand: of joy and anger the one prefers joy by 0.5, the other anger by 0.3."""
    text, face = {"joy": 0.6, "anger": 0.1}, {"joy": 0.2, "anger": 0.5}
    assert one(text, None, face) == pytest.approx(0.3, abs=1e-6)
    assert one(text, text, face, {"joy": 0.1, "anger": 0.8}) == pytest.approx(0.5, abs=1e-6)


def test_who_cannot_tell_does_not_disagree() -> None:
    assert one({"joy": 1.0}, {"joy": 1 / LABELS}) == pytest.approx(0, abs=1e-6)
    assert one({"joy": 1.0}, {"anger": 0.3}) < 0.2
    assert one({"joy": 0.9}, {"anger": 0.9}) > 0.8


@given(st.integers(0, 2**32 - 1))
def test_it_lies_in_its_range_and_ignores_order_and_what_is_missing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(LABELS, 0.3), (6, WIDTH))
    counts = rng.integers(0, 3, (6, WIDTH))
    found = measure_disagreement(windows(counts, scores))
    assert ((found >= 0) & (found <= 1)).all()
    order = rng.permutation(WIDTH)
    again = measure_disagreement(windows(counts[:, order], scores[:, order]))
    assert again == pytest.approx(found, abs=1e-6)
    moved = measure_disagreement(windows(counts, scores + 1e-3 * rng.uniform(-1, 1, scores.shape)))
    assert np.abs(moved - found).max() <= 2e-3 + 1e-6, "as far as scores of two runs may differ"
    noise = np.where((counts > 0)[:, :, None], scores, rng.random(scores.shape))
    assert measure_disagreement(windows(counts, noise)) == pytest.approx(found, abs=1e-6)


def queued(*rows: tuple[str, str, float | None], threshold: float = 0.5) -> pa.RecordBatch:
    """Queue decisions of a scenario and reason, on windows that disagree so far."""
    scenario, reason, apart = zip(*rows, strict=True)
    features = pa.record_batch(
        {
            "scenario": pa.array(scenario),
            "disagreement": pa.array(apart, pa.float32()),
            "abstained": pa.array([why == "abstained" for why in reason]),
        }
    )
    names = ("decision_id", "window_id", "subject_ref", "confidence", "window_end", "event_date")
    decisions = {name: pa.nulls(len(rows), REVIEW_QUEUE.field(name).type) for name in names}
    decisions["decision_id"] = pa.array([f"d{number}" for number in range(len(rows))])
    decisions |= {"scenario": pa.array(scenario), "reason": pa.array(reason)}
    asked = [row[:2] == ("support", "scenario_rule") for row in rows]
    decisions["needs_person"] = pa.array(asked)
    decisions["expression"] = pa.array(["joy"] * len(rows))
    return find_reviews(features, pa.record_batch(decisions), {"support"}, threshold)


def test_each_reason_is_a_row_of_its_own_with_a_stable_id() -> None:
    found = queued(
        ("support", "abstained", 0.9), ("support", "scenario_rule", 0.5), ("game", "default", 0.6),
        ("game", "abstained", 0.1), ("game", "scenario_rule", None),
    )  # fmt: skip
    assert found.schema == REVIEW_QUEUE
    pairs = [(row["decision_id"], row["reason"]) for row in found.to_pylist()]
    assert pairs == [
        ("d0", "low_confidence"), ("d0", "disagreement"), ("d1", "high_stakes"),
        ("d2", "disagreement"),
    ]  # fmt: skip
    assert {reason for _, reason in pairs} == set(REASONS)
    ids = stable_ids(*(pa.array(column) for column in zip(*pairs, strict=True)))
    assert found["review_id"].to_pylist() == ids.to_pylist()
    assert found["reviewer_decision"].null_count == len(found)


def test_a_threshold_of_one_queues_no_disagreement() -> None:
    assert queued(("game", "default", 1.0), threshold=1.0).num_rows == 0
