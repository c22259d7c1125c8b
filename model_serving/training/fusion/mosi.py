"""Fusion on CMU-MOSI beside other ways to fuse: the table of ``affectstream evaluate``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from model_serving.corpora.mosi import MODALITIES, Utterances, read_mosi
from model_serving.fusion_net import Context
from model_serving.training.fusion.dialogues import (
    Dialogues,
    Settings,
    fit_dialogues,
    judge_vectors,
    set_judges,
)
from model_serving.training.fusion.methods import (
    Alone,
    average,
    fuse_early,
    fuse_late,
    fuse_tensors,
    held_out_accuracy,
    judge_alone,
)
from model_serving.training.fusion.states import read_states
from schemas.errors import AffectstreamError

PUBLISHED = "published features"
PROXY = "text-compact"
"""The encoder that ships: its states tell how far text alone goes where no label was seen."""

CONTEXTS: tuple[Context, ...] = ("none", "past", "whole")
SEEDS = 5

_ALL = tuple(MODALITIES)
_CHANCE = 0.53  # voice, whose vectors saw no label, is right in .50 of the videos held out
_MEASURED = ("text", "voice")  # the vectors of face saw the labels, and no others are there
_LEAST = 0.01  # worth of a modality that is no better than chance
_GRID = np.arange(0, 20, 0.1)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: accuracy (seeds,) on the test split, of what from which text.

    ``modalities`` are those that the method was given at the test; one without chance has one seed.
    """

    text: str
    method: str
    modalities: tuple[str, ...]
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds."""
        return float(np.std(self.accuracies))


def compare(
    data: Path, build: Path, encoders: list[str], say: Callable[[str], None], seeds: int = SEEDS
) -> list[Row]:
    """Return the table: by the published features of text, and by the states of each encoder.

    All fusion nets learn from what regressions say of training videos that these did not see. Of
    an encoder that layer is taken whose states are right most often on such videos.
    An encoder that can't be had here is left out, and ``say`` gets the reason.
    """
    train, test = read_mosi(data, "train"), read_mosi(data, "test")
    rows: list[Row] = []
    for name in encoders:
        say(f"fusion on CMU-MOSI, text by {name}")
        try:
            pair, _ = _with_states(name, train, test, build)
        except AffectstreamError as error:
            say(f"{name} is left out: {error}")
        else:
            rows += _rows(name, *pair, None, seeds)
    say(f"fusion on CMU-MOSI, {PUBLISHED}")
    _, known = _with_states(PROXY, train, test, build)
    return rows + list(_rows(PUBLISHED, train, test, known, seeds))


def _with_states(
    name: str, train: Utterances, test: Utterances, build: Path
) -> tuple[tuple[Utterances, Utterances], float]:
    """Return both splits with the states of the best layer for text, and how good it is."""
    states = read_states(name, [*train.texts, *test.texts], build)
    of_train, of_test = states[: len(train)], states[len(train) :]
    layers = range(states.shape[1] // 2, states.shape[1])
    found = {
        layer: held_out_accuracy(of_train[:, layer], train.labels, train.dialogue)
        for layer in layers
    }
    best = max(found, key=lambda layer: found[layer])
    pair = (train.replace_text(of_train[:, best]), test.replace_text(of_test[:, best]))
    return pair, found[best]


def _rows(
    text: str, train: Utterances, test: Utterances, known: float | None, seeds: int
) -> Iterator[Row]:
    alone = judge_alone(train.features, train.labels, train.dialogue, test.features)

    def row(method: str, names: tuple[str, ...], *scores: np.ndarray) -> Row:
        right = tuple(float((each.argmax(axis=1) == test.labels).mean()) for each in scores)
        return Row(text, method, names, right)

    for name in _ALL:
        yield row("logistic regression", (name,), alone.test[name])
    yield row("early fusion", _ALL, fuse_early(train.features, train.labels, test.features))
    yield row("late fusion", _ALL, fuse_late(alone, train.labels))
    yield row("averaging", _ALL, average(alone.test))
    tensors = [
        fuse_tensors(train.features, train.labels, test.features, seed) for seed in range(seeds)
    ]
    yield row("tensor fusion", _ALL, *tensors)
    noise, worth = _noise(alone, train.labels, known), find_worth(alone, train.labels, known)
    widths = {name: vectors.shape[1] for name, vectors in train.features.items()}
    windows, asked = _windows(alone.held_out, train), _windows(alone.test, test)
    for context in CONTEXTS:
        settings = Settings(context, _ALL, noise=noise, worth=worth)
        nets = [fit_dialogues(windows, settings, seed, widths) for seed in range(seeds)]
        for net in nets:
            set_judges(net, alone.fitted)
        for names in subsets():
            there = asked.only(np.array([name in names for name in _ALL]))
            scores = [judge_vectors(net, test.features, there) for net in nets]
            yield row(attention(context), names, *scores)


def attention(context: Context) -> str:
    """Return the name in the table of attention fusion with this context."""
    return {
        "none": "attention fusion, no context",
        "past": "attention fusion, utterances before",
        "whole": "attention fusion, whole video",
    }[context]


def subsets() -> Iterator[tuple[str, ...]]:
    """Yield every choice of modalities, from all to each alone."""
    for size in range(len(_ALL), 0, -1):
        yield from combinations(_ALL, size)


def _windows(logs: dict[str, np.ndarray], of: Utterances) -> Dialogues:
    stacked = np.stack([logs[name] for name in _ALL], axis=1)
    there = np.ones(stacked.shape[:2], bool)
    return Dialogues(stacked, there, of.labels, of.dialogue, of.position)


def _noise(alone: Alone, labels: np.ndarray, known: float | None) -> tuple[float, ...]:
    """Return how much noise each modality's log-odds get in training.

    The published vectors of text and face come from networks that were trained on the labels of
    train, so there they look right in 98 and 91 of 100 cases even where a video is held out. With
    noise they are right as often as vectors that saw no label: text as ``known`` says, None where
    its vectors did not see them, face little more often than chance.
    """
    levels = {"face": _CHANCE} | ({} if known is None else {"text": known})
    return tuple(
        find_noise(alone.held_out[name], labels, levels[name]) if name in levels else 0.0
        for name in _ALL
    )


def find_worth(alone: Alone, labels: np.ndarray, known: float | None) -> tuple[float, ...]:
    """Return what each modality is worth: how far it beats a coin, over how far the best does.

    That is by videos held out of train, where these say anything: text as ``known`` says where its
    vectors saw the labels. Of face nothing says what it is worth, so it gets a tenth of what a
    modality has that was tried and found to be worth nothing.
    """
    right = {name: (alone.held_out[name].argmax(axis=1) == labels).mean() for name in _MEASURED}
    if known is not None:
        right["text"] = known
    beats = {name: max(2 * level - 1, 0.0) for name, level in right.items()}
    best = max(beats.values()) or 1.0
    found = {name: max(beat / best, _LEAST) for name, beat in beats.items()}
    return tuple(float(found.get(name, _LEAST / 10)) for name in _ALL)


def find_noise(logs: np.ndarray, labels: np.ndarray, level: float) -> float:
    """Return the deviation of noise on log-odds (n, 2) at which they are right this often."""
    odds = logs[:, 1] - logs[:, 0]
    drawn = np.random.default_rng(0).standard_normal((20, len(odds)))
    found = [((odds + deviation * drawn > 0) == labels).mean() for deviation in _GRID]
    return float(_GRID[int(np.abs(np.array(found) - level).argmin())])
