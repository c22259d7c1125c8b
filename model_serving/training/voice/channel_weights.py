"""How much each measure of a channel lowers a model's confidence, fitted on disturbed dev clips."""

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.optimize import minimize

from model_serving.calibration import apply_calibration
from model_serving.card import Calibration
from model_serving.training.heads import SHARED, columns
from model_serving.training.voice.channels import HARSH, KINDS, RATE, disturb
from model_serving.training.voice.data import HEADS, Clips, targets
from model_serving.voice.channel import MEASURES, SEVERAL, measure_channel
from model_serving.voice.waveforms import finish, remove_drift
from schemas.vocabularies import EXPRESSIONS

_HARSH_DRAWS: Final = 4  # of each kind harsher than training draws, beside one of each other
_SHRINK: Final = 1e-3
_SEED: Final = 23

Answer = Callable[[list[np.ndarray]], np.ndarray]
"""From waveforms to logits (n, outputs)."""


def fit_channel_weights(answer: Answer, clips: Clips, calibration: Calibration) -> dict[str, float]:
    """Return what each measure takes from the log of a clip's share, for the card.

    The least negative log-likelihood of the calibrated answers to these clips as they are, behind
    each kind of channel and behind harsher ones than training draws, each answer mixed with
    chance by its share; and where two people speak, of whom either may have been judged.
    """
    kinds = [*HARSH * _HARSH_DRAWS, *(kind for kind, _ in KINDS), disturb, _leave]
    chances, measures, labels = [], [], []
    truth = targets(clips)[:, columns(HEADS, SHARED.name)].argmax(axis=1)
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([_SEED, number])
        waves = [np.asarray(kind(wave, rng), np.float32) for wave in clips.waves]
        logits = answer(waves)[:, columns(HEADS, SHARED.name)]
        chances.append(apply_calibration(calibration, logits))
        measures.append(np.stack([_measure(wave) for wave in waves]))
        labels.append(truth)
    half = np.random.default_rng(_SEED).random(len(truth)) < 0.5  # of two voices the other answered
    chances.append(
        np.where(half[:, None], np.roll(chances[-1], len(truth) // 2, axis=0), chances[-1])
    )
    measures.append(measures[-1] + SEVERAL * (np.array(MEASURES) == "voices"))
    labels.append(truth)
    right = np.take_along_axis(
        np.concatenate(chances), np.concatenate(labels)[:, None], axis=1
    ).ravel()
    found = _fit(right, np.concatenate(measures))
    return {name: round(float(w), 3) for name, w in zip(MEASURES, found, strict=True)}


def _leave(wave: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return wave


def _measure(wave: np.ndarray) -> np.ndarray:
    heard = finish(remove_drift(wave[:, None], RATE)[:, 0], RATE)
    return measure_channel(heard - heard.mean(), len(np.unique(wave)))


def _fit(right: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """Return weights (k,) of measures (n, k), from the chances (n,) that the truth was given."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        share = np.exp(-measures @ weights)
        likely = share * right + (1 - share) / len(EXPRESSIONS)
        slope = (right - 1 / len(EXPRESSIONS)) * share / likely
        gradient = (slope[:, None] * measures).mean(axis=0) + 2 * _SHRINK * weights
        return float(-np.log(likely).mean() + _SHRINK * np.square(weights).sum()), gradient

    start = np.full(measures.shape[1], 0.1)
    bounds = [(0.0, 3.0)] * measures.shape[1]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x)
