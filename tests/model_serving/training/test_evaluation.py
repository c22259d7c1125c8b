"""Figures by hand, intervals that hold the truth, and folds that keep groups together."""

from pathlib import Path

import numpy as np
import pytest

from model_serving.card import read_card
from model_serving.training.evaluation import (
    ACCURACY,
    COVERAGE,
    Evaluation,
    Measured,
    accuracy_at,
    exclude_ece,
    measure_gaps,
    measure_single_label,
    of_card,
    write_figures,
)
from model_serving.training.folds import cross_validated, folds
from schemas.errors import AffectstreamError
from tests.support import model_folders as folders


def test_accuracy_rises_as_coverage_falls_where_confidence_is_honest() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 4000)
    chances = np.stack([sure, 1 - sure], axis=1)
    labels = (rng.random(4000) > sure).astype(int)
    found = [accuracy_at(chances, labels, part) for part in (1.0, 0.7, 0.3)]
    assert found == sorted(found)
    assert found[-1] > 0.9
    measured = {m.metric: m for m in measure_single_label("x test", chances, labels)}
    assert measured["accuracy at 70% coverage"].value == found[1]
    low, high = measured["accuracy"].low, measured["accuracy"].high
    assert low is not None
    assert high is not None
    assert low < measured["accuracy"].value < high


def test_gaps_between_groups_that_differ() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "few"], [500, 500, 20])
    right = rng.random(1020) < np.where(groups == "a", 0.9, 0.6)
    labels = rng.integers(0, 2, 1020)
    guess = np.where(right, labels, 1 - labels)
    found = measure_gaps("x test, sex", np.eye(2)[guess], labels, groups)
    assert not any("few" in m.split for m in found)
    (gap,) = [m for m in found if m.metric == "accuracy gap"]
    assert gap.low is not None
    assert gap.low > 0.15
    assert gap.value == pytest.approx(0.3, abs=0.07)
    assert gap.floor is not None
    assert gap.floor < 0.05 < gap.low
    alike = measure_gaps("x test, sex", np.eye(2)[guess], labels, rng.permutation(groups))
    (gap,) = [m for m in alike if m.metric == "accuracy gap"]
    assert gap.floor is not None
    assert gap.value < 4 * gap.floor


def test_luck_deals_people_and_not_their_rows_to_groups() -> None:
    rng = np.random.default_rng(3)
    people = np.repeat(["a", "b", "c", "d"], 500)
    labels = rng.integers(0, 2, len(people))
    right = rng.random(len(people)) < np.where(people == "a", 0.5, 0.9)
    chances = np.eye(2)[np.where(right, labels, 1 - labels)]
    groups = np.where(np.isin(people, ["a", "b"]), "men", "women")

    def by_luck(**more: np.ndarray) -> float:
        found = measure_gaps("x test, sex", chances, labels, groups, **more)
        (gap,) = [m for m in found if m.metric == "accuracy gap"]
        assert gap.value == pytest.approx(0.2, abs=0.05)
        return gap.floor or 0.0

    assert by_luck() < 0.05  # as if 2,000 people had spoken once each
    assert by_luck(people=people) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("count", [-1, 1, 4])
def test_folds_that_cannot_be_made_are_told(count: int) -> None:
    with pytest.raises(AffectstreamError, match="2 to 3 can: one a speaker or dialogue"):
        list(folds(np.array([0, 1, 0]), np.array(["a", "b", "c"]), count, 0))


def test_what_the_shipped_threshold_lets_through() -> None:
    chances = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 0])
    found = {m.metric: m for m in measure_single_label("x test", chances, labels, threshold=0.6)}
    assert (
        found[COVERAGE].value,
        found[COVERAGE].rows,
    ) == (0.75, 4)
    assert found[ACCURACY].value == pytest.approx(1 / 3)
    assert found[ACCURACY].rows == 3
    assert COVERAGE not in {m.metric for m in measure_single_label("x", chances, labels)}
    nobody = {m.metric: m.value for m in measure_single_label("x", chances, labels, threshold=0.95)}
    assert nobody[COVERAGE] == 0
    assert ACCURACY not in nobody


def test_those_of_whom_nothing_is_known_are_no_group_to_be_apart_from() -> None:
    groups = np.repeat(["women", "men", "unknown"], 300)
    labels = np.zeros(900, int)
    guess = (groups == "unknown").astype(int)
    found = measure_gaps("x test, sex", np.eye(2)[guess], labels, groups)
    assert {m.value for m in found if m.metric == "accuracy gap"} == {0.0}
    assert {m.value for m in found if m.split.endswith("unknown") and m.metric == "accuracy"} == {0}


def test_only_large_test_sets_count_for_the_largest_ece() -> None:
    measured = (Measured("a", "ece", 0.2, 500), Measured("b", "ece", 0.02, 4000))
    assert Evaluation("m", "text", "compact", "open", measured).ece_max == 0.02


def test_a_small_set_is_asked_for_no_less_than_luck_gives() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 300)
    chances = np.stack([sure, 1 - sure], axis=1)
    honest = (rng.random(300) > sure).astype(int)
    boastful = (rng.random(300) > sure - 0.25).astype(int)
    for labels, reached in ((honest, True), (boastful, False)):
        (found,) = [m for m in measure_single_label("x test", chances, labels) if m.metric == "ece"]
        assert found.floor is not None
        assert 0.03 < found.floor < 0.1
        assert found.calibrated is reached
        (moved,) = [m for m in exclude_ece([found], "pooled")]
        assert (moved.metric, moved.value) == ("ece, pooled", found.value)
    # From 3,000 rows on, the value itself counts.
    assert not Measured("x", "ece", 0.031, 3000, 0.02, 0.04, floor=0.05).calibrated
    assert Measured("x", "ece", 0.03, 3000, 0.031, 0.04, floor=0.0).calibrated


def test_figures_stand_on_the_card_with_their_intervals(tmp_path: Path) -> None:
    folders.tiny_text(tmp_path)
    measured = (Measured("a test", "ece", 0.5, 100, 0.4, 0.6, floor=0.1),)
    write_figures(tmp_path, Evaluation("tiny-text", "text", "compact", "open", measured))
    (figure,) = read_card(tmp_path / "card.json").figures
    assert (figure.value, figure.low, figure.high, figure.rows) == (0.5, 0.4, 0.6, 100)
    assert of_card(tmp_path, "text", "compact").measured == measured
    assert "0.500 (0.400 to 0.600; luck 0.100)" in (tmp_path / "CARD.md").read_text()


def test_no_group_stands_on_both_sides_of_a_fold() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 600)
    labels = rng.integers(0, 3, 600)
    held = []
    for train_rows, held_rows in folds(labels, groups, 5, seed=1):
        assert not set(groups[train_rows]) & set(groups[held_rows])
        assert len(np.unique(labels[held_rows])) == 3
        held += held_rows.tolist()
    assert sorted(held) == list(range(600))
    found = cross_validated(labels, groups, 5, 1, lambda n, a, b: {"rows": len(a) + len(b), "n": n})
    assert [fold["rows"] for fold in found] == [600] * 5
    assert [fold["n"] for fold in found] == [0, 1, 2, 3, 4]
