"""The product's fusion beside averaging on conversations: what it reads of text, and of context."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.model_selection import GroupKFold

from model_serving.corpora.conversations import Conversations, read_cped_held_out, read_meld
from model_serving.fusion import load_fusion
from model_serving.fusion_net import Context
from model_serving.loader import load_recogniser
from model_serving.metrics import scores_of
from model_serving.training.common import find_model
from model_serving.training.fusion.dialogues import (
    Dialogues,
    Settings,
    fit_dialogues,
    judge_dialogues,
)
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS

_FOLDS = 5
_BEFORE = 2  # windows that an average over the past takes in
_CONTEXTS: dict[str, Context] = {
    "attention fusion, windows before": "past",
    "attention fusion, whole dialogue": "whole",
}
_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class Compared:
    """Figures of one method on a corpus' windows: accuracy, weighted F1, ECE and the others."""

    corpus: str
    method: str
    rows: int
    figures: dict[str, float]


def compare_conversations(
    data: Path, build: Path, say: Callable[[str], None], seeds: int
) -> list[Compared]:
    """Return figures of plain ways, of the shipped fusion, and of one that learnt the context.

    A window is an utterance, and text is all that these corpora give here: what the recogniser
    that ships says of it. What learns the context learns from windows that no recogniser learnt
    from: of MELD those of dev, of CPED those of the other folds of what is held out.
    """
    say("fusion on the dialogues of MELD and CPED")
    model = str(find_model("text-compact", build))
    found: list[Compared] = []
    meld, dev = (_windows(read_meld(data, split), model) for split in ("test", "dev"))
    found += _compare("MELD test", meld, [(dev, meld)], seeds)
    cped = _windows(read_cped_held_out(data), model)
    folds = GroupKFold(_FOLDS).split(cped.labels, groups=cped.dialogue)
    pairs = [(cped.take(rest), cped.take(part)) for rest, part in folds]
    found += _compare("CPED held out", cped, pairs, seeds)
    return found


def _windows(spoken: Conversations, model: str) -> Dialogues:
    """Return the utterances as windows with the scores (n, 1, 7) that the pipeline gives them."""
    batch = pa.record_batch({"text": pa.array(spoken.texts)})
    found = load_recogniser("text", model, None, "cpu").estimate(batch)
    logs = np.log(np.maximum(found.scores, _LEAST))[:, None]
    of = found.rows
    there = np.ones((len(of), 1), bool)
    return Dialogues(logs, there, spoken.labels[of], spoken.dialogue[of], spoken.position[of])


def _compare(
    corpus: str, test: Dialogues, pairs: list[tuple[Dialogues, Dialogues]], seeds: int
) -> Iterator[Compared]:
    alone = np.exp(test.logs[:, 0])
    plain = {
        "text alone, and any average of it": alone,
        f"average with {_BEFORE} windows before": _average_before(test),
        "shipped fusion": _fuse(alone),
    }
    for method, scores in plain.items():
        yield Compared(corpus, method, len(alone), scores_of(scores, test.labels))
    for method, context in _CONTEXTS.items():
        every = [scores_of(*_learn(pairs, context, seed)) for seed in range(seeds)]
        means = {name: float(np.mean([one[name] for one in every])) for name in every[0]}
        yield Compared(corpus, method, len(alone), means)


def _average_before(windows: Dialogues) -> np.ndarray:
    """Return the mean (n, 7) of the scores of each window and those just before it."""
    apart = windows.position[:, None] - windows.position[None, :]
    near = (windows.dialogue[:, None] == windows.dialogue[None, :]) & (apart >= 0)
    near &= apart <= _BEFORE
    return np.asarray(near @ np.exp(windows.logs[:, 0]) / near.sum(axis=1, keepdims=True))


def _fuse(scores: np.ndarray) -> np.ndarray:
    """Return what the shipped fusion makes of windows with text alone."""
    every = np.zeros((len(scores), len(MODALITIES), len(EXPRESSIONS)))
    counts = np.zeros(every.shape[:2], np.int64)
    place = list(MODALITIES).index("text")
    every[:, place], counts[:, place] = scores, 1
    return load_fusion().fuse(counts, every, every.max(axis=2)).scores


def _learn(
    pairs: list[tuple[Dialogues, Dialogues]], context: Context, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (n, 7) and labels (n,) of what each pair tests, by what it trains on."""
    settings = Settings(context, ("text",), epochs=10, missing=0.0)
    nets = [fit_dialogues(train, settings, seed) for train, _ in pairs]
    scores = [judge_dialogues(net, test) for net, (_, test) in zip(nets, pairs, strict=True)]
    return np.concatenate(scores), np.concatenate([test.labels for _, test in pairs])
