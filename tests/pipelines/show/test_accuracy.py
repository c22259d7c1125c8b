from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.show.accuracy import StandIn, measure, score
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from tests.support.properties import examples
from tests.support.synthetic_tables import (
    LENGTH,
    START,
    dead_letter,
    event_id,
    feature,
    ground_truth,
    land,
    observation,
    refusal,
    truth_row,
    write_mixed_session,
    write_truth,
)

SECOND = timedelta(seconds=1)


@pytest.fixture
def world(tmp_path):
    """Four windows of one subject whose figures are worked out in the tests by hand."""
    w0, w1, w2, w3 = (START + LENGTH * n for n in range(4))
    rows = [  # id, time, modality, label, estimate, confidence (under 0.4: abstained)
        ("t1", w0, "text", "joy", "joy", 0.9),
        ("t2", w0 + SECOND, "text", "joy", "anger", 0.5),
        ("t3", w1, "text", "anger", "anger", 0.7),
        ("t4", w1 + SECOND, "text", "anger", "joy", 0.3),
        ("v1", w0 + 4 * SECOND, "voice", "anger", "anger", 0.8),
        ("v2", w2, "voice", "fear", "fear", 0.6),
        ("v3", w3, "voice", "joy", "joy", 0.6),
        ("f1", w3, "face", "anger", "joy", 0.6),
    ]
    seen = [observation(i, "p", at, m, guess, sure) for i, at, m, _, guess, sure in rows]
    true = [truth_row(i, "p", at, m, label, f"{m}-set") for i, at, m, label, _, _ in rows]
    land(tmp_path, "observations", [*seen, seen[0]])
    land(
        tmp_path,
        "emotion_features",
        [
            feature("p", w0, "joy", 0.8, {"text": 2, "voice": 1}),
            feature("p", w1, "joy", 0.6, {"text": 2}),
            feature("p", w2, "fear", 0.35, {"voice": 1}),
            feature("p", w3, "joy", 0.6, {"voice": 1, "face": 1}),
            feature("q", w0, "anger", 0.9, {"voice": 1}),
        ],
    )
    land(tmp_path, "refusals", [refusal("r1", "p", "consent_unknown", "GDPR 9")])
    dead = dead_letter(1, "audio_undecodable") | {"event_id": event_id("d1", "p", w0, "voice")}
    land(tmp_path, "dead_letters", [dead])
    others = [
        truth_row("r1", "p", START, "voice", "joy"),
        truth_row("d1", "p", w0, "voice", "joy"),
        truth_row("c1", "p", w0, "context", None),
    ]
    truth = write_truth(tmp_path / "truth.parquet", [*true, true[0], *others])
    return tmp_path, truth


def test_every_labelled_event_is_counted_once_and_accounted_for(world):
    accuracy = measure(*world)
    assert (accuracy.true_events, accuracy.observed) == (10, 8)
    assert (accuracy.refused, accuracy.dead) == (1, 1)


def test_figures_of_a_modality_are_those_worked_out_by_hand(world):
    text, voice, face = measure(*world).modalities
    assert (text.name, voice.name, face.name) == ("text", "voice", "face")
    assert text.n == 4
    assert text.accuracy == 0.5
    assert text.coverage == 0.75
    assert text.accuracy_kept == pytest.approx(2 / 3)
    assert text.macro_f1 == pytest.approx(0.5)  # joy and anger: one hit, one miss, one false each
    assert text.chance == 0.5
    assert text.ece == pytest.approx((0.1 + 0.5 + 0.3 + 0.3) / 4, abs=1e-6)
    joy, anger = EXPRESSIONS.index("joy"), EXPRESSIONS.index("anger")
    assert text.confusion.sum() == 4
    assert text.confusion[joy, anger] == text.confusion[anger, joy] == 1
    assert (voice.accuracy, face.accuracy) == (1.0, 0.0)


def test_groups_by_corpus_and_language(world):
    accuracy = measure(*world)
    assert [(s.name, s.n) for s in accuracy.corpora] == [
        ("face · face-set", 1),
        ("text · text-set", 4),
        ("voice · voice-set", 3),
    ]
    assert [(s.name, s.n) for s in accuracy.languages] == [("text · en", 4)]


def test_a_window_is_compared_with_its_majority_and_a_tie_is_left_out(world):
    accuracy = measure(*world)
    assert accuracy.tied_windows == 1
    fused, one, two = accuracy.windows
    assert accuracy.fused is fused
    assert fused.n == 3
    assert fused.accuracy == pytest.approx(2 / 3)
    assert fused.coverage == pytest.approx(2 / 3)
    assert fused.accuracy_kept == 0.5
    assert (one.name, one.n, one.accuracy) == ("windows, 1 modality", 2, 0.5)
    assert (two.name, two.n, two.accuracy) == ("windows, 2 modalities", 1, 1.0)
    labels = sorted(EXPRESSIONS[t] for t in accuracy.window_truth["true"])
    assert labels == ["anger", "fear", "joy"]


def test_windows_of_one_session_and_time_are_told_apart_by_purpose_scenario_and_age(tmp_path):
    truth = write_mixed_session(tmp_path / "tables", tmp_path / "truth.parquet")
    accuracy = measure(tmp_path / "tables", truth)
    assert (accuracy.observed, accuracy.tied_windows) == (9, 0)
    assert (accuracy.fused.n, accuracy.fused.accuracy) == (9, 1.0)


@pytest.fixture
def half_heard(tmp_path):
    """Two windows: the text of both is told right, the synthesised voice of one is not."""
    later = START + LENGTH
    seen = [
        ("t1", START, "text", "joy"),
        ("t2", later, "text", "joy"),
        ("v1", later, "voice", "fear"),
    ]
    rows = [observation(i, "p", at, modality, guess, 0.9) for i, at, modality, guess in seen]
    land(tmp_path, "observations", rows)
    features = [
        feature("p", START, "joy", 0.9, {"text": 1}),
        feature("p", later, "fear", 0.9, {"text": 1, "voice": 1}),
    ]
    land(tmp_path, "emotion_features", features)
    true = [
        truth_row(i, "p", at, m, "joy", stand_in="a hum" if m == "voice" else None)
        for i, at, m, _ in seen
    ]
    return tmp_path, true


def test_what_stands_in_is_counted_and_not_scored_but_the_windows_hold_it(half_heard):
    root, true = half_heard
    accuracy = measure(root, write_truth(root / "truth.parquet", true))
    assert accuracy.stand_ins == (StandIn("voice", "a hum", 1),)
    assert [(s.name, s.n, s.accuracy) for s in accuracy.modalities] == [("text", 2, 1.0)]
    assert [s.name for s in accuracy.corpora] == ["text · c"]
    assert (accuracy.observed, accuracy.fused.n, accuracy.fused.accuracy) == (3, 2, 0.5)


def test_nothing_stands_in_where_the_truth_does_not_say_so(half_heard):
    root, true = half_heard
    truth = write_truth(root / "truth.parquet", true)
    pq.write_table(pq.read_table(truth.path).drop_columns("stand_in"), truth.path)
    accuracy = measure(root, truth)
    assert accuracy.stand_ins == ()
    assert [(s.name, s.n) for s in accuracy.modalities] == [("text", 2), ("voice", 1)]


def test_tables_without_observations_give_no_score(tmp_path):
    land(tmp_path, "refusals", [refusal("r1", "p", "consent_unknown", "GDPR 9")])
    truth = write_truth(tmp_path / "t.parquet", [truth_row("r1", "p", START, "voice", "joy")])
    accuracy = measure(tmp_path, truth)
    assert (accuracy.true_events, accuracy.observed, accuracy.refused) == (1, 0, 1)
    assert accuracy.modalities == accuracy.windows == ()
    assert accuracy.fused is None


def test_a_file_that_is_no_ground_truth_is_one_sentence(world, tmp_path):
    root, _ = world
    with pytest.raises(AffectstreamError, match="no ground truth at"):
        measure(root, ground_truth(tmp_path / "missing.parquet"))
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(AffectstreamError, match="is no ground truth"):
        measure(root, ground_truth(tmp_path / "text.parquet"))
    pq.write_table(pa.table({"source": ["a"]}), tmp_path / "short.parquet")
    with pytest.raises(AffectstreamError, match="with the columns subject, source, id"):
        measure(root, ground_truth(tmp_path / "short.parquet"))


def arrays(draw_rows: list[tuple[int, int, float, bool]]) -> list[np.ndarray]:
    true, estimate, sure, kept = zip(*draw_rows, strict=True)
    return [np.array(true), np.array(estimate), np.array(sure), np.array(kept, bool)]


ROWS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.floats(0, 1), st.booleans()), min_size=1
)


@examples(60)
@given(ROWS)
def test_scores_agree_with_scikit_learn_and_with_each_other(rows):
    metrics = pytest.importorskip("sklearn.metrics")
    true, estimate, sure, kept = arrays(rows)
    found = score("x", true, estimate, sure, kept)
    f1 = metrics.f1_score(true, estimate, labels=np.unique(true), average="macro")
    assert found.macro_f1 == pytest.approx(f1)
    expected = metrics.confusion_matrix(true, estimate, labels=range(7))
    assert (found.confusion == expected).all()
    assert found.reliability[:, 2].sum() == len(true)
    assert found.ece == pytest.approx(ece_by_loop(sure, true == estimate))
    assert found.risk[-1] == pytest.approx([1.0, found.accuracy])


def ece_by_loop(sure: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for place in range(15):
        inside = np.minimum((sure * 15).astype(int), 14) == place
        if inside.any():
            total += inside.sum() * abs(sure[inside].mean() - right[inside].mean())
    return total / len(sure)
