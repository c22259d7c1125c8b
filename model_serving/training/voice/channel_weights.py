"""How much each measure of a channel lowers a model's confidence, fitted on disturbed dev clips."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Heard:
    """Clips behind channels: logits (n, 7) of the vocabulary, MEASURES and places of the labels.

    ``usual`` marks those of one voice behind channels of training.
    """

    logits: np.ndarray
    measures: np.ndarray
    labels: np.ndarray
    usual: np.ndarray


def hear(answer: Answer, clips: Clips) -> Heard:
    """Hear these clips as they are, behind each kind of channel and behind harsher ones.

    Once more, half of them are answered as another clip is: of two people who speak, either may
    have been judged.
    """
    kinds = [*HARSH * _HARSH_DRAWS, *(kind for kind, _ in KINDS), disturb, _leave]
    shared = columns(HEADS, SHARED.name)
    logits, measures = [], []
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([_SEED, number])
        waves = [np.asarray(kind(wave, rng), np.float32) for wave in clips.waves]
        logits.append(answer(waves)[:, shared])
        measures.append(np.stack([_measure(wave) for wave in waves]))
    other = np.random.default_rng(_SEED).random(len(clips)) < 0.5
    logits.append(np.where(other[:, None], np.roll(logits[-1], len(clips) // 2, 0), logits[-1]))
    measures.append(measures[-1] + SEVERAL * (np.array(MEASURES) == "voices"))
    truth = targets(clips)[:, shared].argmax(axis=1)
    usual = np.ones(len(logits), bool)
    usual[: len(HARSH) * _HARSH_DRAWS] = usual[-1] = False
    return Heard(
        np.concatenate(logits),
        np.concatenate(measures),
        np.tile(truth, len(logits)),
        usual.repeat(len(clips)),
    )


def fit_channel_weights(heard: Heard, calibration: Calibration) -> dict[str, float]:
    """Return what each measure takes from the log of a clip's share, for the card.

    The least negative log-likelihood of the calibrated answers, each mixed with chance by its
    share.
    """
    chances = apply_calibration(calibration, heard.logits)
    right = np.take_along_axis(chances, heard.labels[:, None], axis=1).ravel()
    found = _fit(right, heard.measures)
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
