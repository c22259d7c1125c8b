"""The fusion learns from simulated windows by the harness that all models share."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_serving.card import read_card
from model_serving.training.fusion import train as fusion
from model_serving.training.fusion.data import Items, read_items, split_sources
from model_serving.training.fusion.windows import Pool, simulate, to_batch
from model_serving.training.harness import Run
from model_serving.training.recipe import Recipe, read_recipe
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS


def items(count: int = 40) -> Items:
    """``count`` items of each label and modality: face knows nothing, voice little."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(7), count * 4)
    modality = np.repeat(np.arange(4), count * 7)
    wrong = rng.random(len(labels)) < np.array([0.1, 0.3, 0.95, 0.1])[modality]
    shown = np.where(wrong, rng.integers(0, 7, len(labels)), labels)
    scores = 0.7 * np.eye(7)[shown] + 0.3 / 7
    copied = np.zeros(len(labels), bool)
    return Items(scores, labels, modality, np.arange(len(labels)), copied)


def recipe(**schedule: float) -> Recipe:
    found = read_recipe("fusion")
    few = {"epochs": 3, "evaluations": 3, "batch": 128, "learning_rate": 5e-3} | schedule
    net = found.net | {"windows": 6400}
    return found.model_copy(update={"schedule": found.schedule.model_copy(update=few), "net": net})


def test_simulated_windows_hold_what_the_counts_say():
    rng = np.random.default_rng(4)
    labels = np.arange(7).repeat(5)
    sharp = np.eye(7)[labels] * 0.9 + 0.1 / 7
    windows = simulate((Pool(sharp, labels),) * 4, 4000, rng)
    there = windows.counts > 0
    assert there.any(axis=1).all()
    assert np.bincount(there.sum(axis=1), minlength=5)[1:].min() > 800
    assert np.allclose(windows.scores.sum(axis=2), there)
    assert np.array_equal(windows.confidence > 0, there)
    shown = windows.scores.argmax(axis=2) == windows.labels[:, None]
    # A fifth is drawn anew, and of those 0.28**2 + 6 * 0.12**2 fall on the label again.
    assert shown[there].mean() == pytest.approx(0.8 + 0.2 * 0.165, abs=0.02)


def test_it_learns_which_modality_to_trust(tmp_path: Path) -> None:
    every = items()
    part = split_sources(every, (0.5, 0.2, 0.3), np.random.default_rng(0))
    fitted, known, held = (every.take(part == number) for number in range(3))
    learnt = fusion.learn(recipe(), fitted, known, Run(tmp_path, quiet=True))
    test = simulate(held.pools(), 4000, np.random.default_rng(1))
    found = {f.metric: f.value for f in fusion._compare(learnt, test)[:6]}
    assert found["fusion: accuracy"] > found["plain average: accuracy"] + 0.02
    assert found["fusion: accuracy"] > found["most confident modality: accuracy"] + 0.05
    assert found["fusion: ece"] < 0.1
    everywhere = (test.counts > 0).all(axis=1)
    with torch.inference_mode():
        attention = learnt.net(**to_batch(test)).attentions[0].numpy()[everywhere].mean(axis=0)
    assert attention.argmin() == list(MODALITIES).index("face")
    assert attention.min() < 0.1
    assert learnt.calibration.threshold > 1 / 7


def test_it_goes_on_from_its_checkpoint_and_refuses_that_of_other_items(tmp_path: Path) -> None:
    every = items()
    run = Run(tmp_path, quiet=True)
    first = fusion.learn(recipe(), every, every, run)
    again = fusion.learn(recipe(), every, every, run)  # nothing is left to learn
    assert again.calibration == first.calibration
    other = items(41)
    with pytest.raises(AffectstreamError, match="checkpoints of another recipe, seed or data"):
        fusion.learn(recipe(), other, other, run)


def test_parts_hold_every_kind_of_item_and_no_source_twice() -> None:
    every = items(10)
    twice = every.take(np.tile(np.arange(len(every)), 2))
    part = split_sources(twice, (0.5, 0.2, 0.3), np.random.default_rng(0))
    for number, share in enumerate((0.5, 0.2, 0.3)):
        found = twice.take(part == number)
        kinds, counts = np.unique(found.modality * 7 + found.labels, return_counts=True)
        assert len(kinds) == 28
        assert set(counts) == {20 * share}
    sources = [set(twice.source[part == number]) for number in range(3)]
    assert not (sources[0] & sources[1] | sources[1] & sources[2] | sources[0] & sources[2])


def test_a_part_without_an_expression_is_refused() -> None:
    every = items(10)
    few = every.take(~((every.modality == 1) & (every.labels == 2)))
    with pytest.raises(AffectstreamError, match="no voice item of this part shows fear"):
        few.pools()


def test_a_recipe_for_open_use_refuses_models_that_are_for_research(tmp_path: Path) -> None:
    closed = recipe().model_copy(update={"licence": "open"})
    with pytest.raises(AffectstreamError, match="its model of text may be used for research only"):
        fusion.train(closed, tmp_path, tmp_path / "out", Run(tmp_path, build=tmp_path))


def test_the_average_learns_nothing_and_has_no_folds(tmp_path: Path) -> None:
    average = read_recipe("fusion-open")
    card = fusion.train(average, tmp_path, tmp_path / "out", Run(tmp_path, build=tmp_path))
    assert (card.licence, card.training_data, card.figures) == ("open", (), ())
    assert read_card(tmp_path / "out" / "card.json") == card
    with pytest.raises(AffectstreamError, match="learns nothing that folds could be judged by"):
        fusion.cross_validate(average, tmp_path, Run(tmp_path, folds=3))


def test_folds_judge_windows_of_what_they_hold_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = items(20)
    monkeypatch.setattr(fusion, "read_items", lambda *_: every)  # the corpora are not at hand
    run = Run(tmp_path, build=tmp_path, quiet=True, folds=2)
    found = fusion.cross_validate(recipe(), tmp_path, run)
    assert len(found) == 2
    assert all(fold["accuracy"] > 0.5 for fold in found)


@pytest.mark.corpora
def test_items_are_of_every_modality_and_expression(corpora: Path, tmp_path: Path) -> None:
    models = fusion._find_models(read_recipe("fusion"), Run(tmp_path, build=tmp_path))
    every = read_items(corpora, models, 13)
    assert len(np.unique(every.modality * len(EXPRESSIONS) + every.labels)) == 28
    voice = every.take(every.modality == list(MODALITIES).index("voice"))
    assert voice.copied.mean() == pytest.approx(0.8)
    assert len(np.unique(voice.source)) == (~voice.copied).sum()
    assert not every.take(every.modality != list(MODALITIES).index("voice")).copied.any()
    assert (
        every.without_copies().scores.argmax(axis=1) == every.without_copies().labels
    ).mean() > 0.5
