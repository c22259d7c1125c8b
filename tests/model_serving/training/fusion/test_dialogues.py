"""Fusion learns from dialogues what a modality is worth, and what its neighbours say."""

from dataclasses import replace

import numpy as np
import pytest

from model_serving.training.fusion.dialogues import (
    Dialogues,
    Settings,
    fit_dialogues,
    judge_dialogues,
    judge_vectors,
    keep_spread,
    set_judges,
)
from model_serving.training.fusion.methods import judge_alone

_NAMES = ("text", "voice")
_WORTH = (1.0, 0.01)


def _made(
    seed: int, dialogues: int = 40, length: int = 6
) -> tuple[dict[str, np.ndarray], Dialogues]:
    """Return vectors and windows: a dialogue is of one class, and text tells it in part."""
    rng = np.random.default_rng(seed)
    dialogue = np.repeat(np.arange(dialogues), length)
    labels = (dialogue % 2).astype(np.int64)
    text = rng.standard_normal((len(labels), 3)) + 0.6 * labels[:, None]
    vectors = {"text": text, "voice": rng.standard_normal((len(labels), 2))}
    position = np.tile(np.arange(length), dialogues)
    there = np.ones((len(labels), 2), bool)
    blank = np.zeros((len(labels), 2, 2))
    return vectors, Dialogues(blank, there, labels, dialogue, position)


@pytest.fixture(scope="module")
def judged() -> tuple[dict[str, np.ndarray], Dialogues, Dialogues, dict[str, object]]:
    vectors, train = _made(1)
    other, test = _made(2)
    alone = judge_alone(vectors, train.labels, train.dialogue, other)

    def windows(of: Dialogues, logs: dict[str, np.ndarray]) -> Dialogues:
        stacked = np.stack([logs[name] for name in _NAMES], axis=1)
        return Dialogues(stacked, of.present, of.labels, of.dialogue, of.position)

    return other, windows(train, alone.held_out), windows(test, alone.test), alone.fitted


def _right(scores: np.ndarray, of: Dialogues) -> float:
    return float((scores.argmax(axis=1) == of.labels).mean())


def test_context_tells_what_a_window_alone_does_not(judged) -> None:
    _, train, test, _ = judged
    found = {}
    for context in ("none", "past", "whole"):
        settings = Settings(context, _NAMES, noise=(0.0, 0.0), worth=_WORTH)
        found[context] = _right(judge_dialogues(fit_dialogues(train, settings, 0), test), test)
    assert found["none"] < found["past"] - 0.05
    assert found["past"] < found["whole"]


def test_vectors_give_the_scores_of_their_regressions(judged) -> None:
    vectors, train, test, fitted = judged
    settings = Settings("whole", _NAMES, epochs=1, noise=(0.0, 0.0), worth=_WORTH)
    net = fit_dialogues(train, settings, 0, {"text": 3, "voice": 2})
    set_judges(net, fitted)
    assert judge_vectors(net, vectors, test) == pytest.approx(judge_dialogues(net, test), abs=1e-5)


@pytest.mark.parametrize("context", ["none", "whole"])
@pytest.mark.parametrize("worth", [0.01, 1.0])
def test_a_modality_worth_nothing_stays_what_it_is_alone(judged, worth, context) -> None:
    """From labels that it does not tell, a net learns to say the same whatever it says."""
    _, train, test, _ = judged
    rng = np.random.default_rng(3)
    odds, labels = rng.standard_normal(len(train.labels)), rng.permutation(train.labels)
    logs = np.stack([train.logs[:, 0], np.stack([-odds, odds], axis=1)], axis=1)
    settings = Settings(context, _NAMES, noise=(0.0, 0.0), worth=(1.0, worth))
    net = fit_dialogues(replace(train, logs=logs, labels=labels), settings, 0)
    voice = judge_dialogues(net, replace(test, logs=logs).only(np.array([False, True])))
    same = (voice.argmax(axis=1) == (odds > 0)).mean()
    assert (same > 0.97) == (worth < 1)


def test_a_modality_worth_nothing_does_not_speak_beside_another(judged) -> None:
    _, train, test, _ = judged
    settings = Settings("none", _NAMES, noise=(0.0, 0.0), worth=_WORTH)
    net = fit_dialogues(train, settings, 0)
    text = judge_dialogues(net, test.only(np.array([True, False]))).argmax(axis=1)
    assert (judge_dialogues(net, test).argmax(axis=1) == text).mean() > 0.95


def test_noise_does_not_widen_the_scores() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 3, (5000, 2))
    logs = np.stack([-odds / 2, odds / 2], axis=2)  # (n, m, 2)
    noise = np.array([[4.0], [0.0]])
    noisy = logs + noise * rng.standard_normal(logs.shape)
    found = keep_spread(logs, noise) * noisy
    spread = (found[:, :, 1] - found[:, :, 0]).std(axis=0)
    assert spread == pytest.approx(odds.std(axis=0), rel=0.05)
    assert np.array_equal(found[:, 1], logs[:, 1])


def test_a_seed_gives_the_same_net_and_another_seed_another(judged) -> None:
    _, train, test, _ = judged
    settings = Settings("past", _NAMES, epochs=2, noise=(1.0, 0.0), worth=_WORTH)
    first, again, other = (
        judge_dialogues(fit_dialogues(train, settings, seed), test) for seed in (4, 4, 5)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
