"""Evaluation of a text model on the published splits; what is chosen is chosen on dev."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from transformers import AutoConfig

from model_serving.calibration import apply_calibration, fit_temperature, softmax
from model_serving.card import CARD_FILE, ModelCard, read_card
from model_serving.corpora.text import (
    CORPORA,
    EMOCONTEXT,
    EMOCONTEXT_LABELS,
    EMOCONTEXT_SHOWN,
    Corpus,
    Rows,
)
from model_serving.labels import output_names
from model_serving.metrics import (
    confusion_matrix,
    label_thresholds,
    micro_f1,
    multi_label_f1,
    pearson,
)
from model_serving.text.front_end import MAX_TOKENS, Reader
from model_serving.training.cache import load_or_make, model_files
from model_serving.training.evaluation import (
    Evaluation,
    Measured,
    Tier,
    exclude_ece,
    measure_figure,
    measure_gaps,
    measure_single_label,
    other_tier,
)
from model_serving.training.harness import predict
from model_serving.training.heads import DEFAULT_HEADS, blank_targets
from model_serving.training.text.data import collate, encode
from model_serving.training.text.teacher import load, tokenizer
from schemas.vocabularies import EXPRESSIONS

_KEYS = {
    "GoEmotions": "goemotions_ekman_macro_f1",
    "BRIGHTER chn": "brighter_chn_macro_f1",
    "BRIGHTER eng": "brighter_eng_macro_f1",
}
_SMP_KEYS = {"accuracy": "smp_usual_accuracy", "macro_f1": "smp_usual_macro_f1"}


class Answers:
    """The logits of one model for the texts of the corpora, cached for the next time."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.card: ModelCard = read_card(folder / CARD_FILE)
        self.name = folder.name
        self._folder, self._cache = folder, cache
        self._files = model_files(folder)
        self.outputs = output_names(self.card.model_id, AutoConfig.from_pretrained(folder))

    def to(self, texts: list[str]) -> np.ndarray:
        """Return (n, outputs) logits of these texts, read as the pipeline reads them."""
        pieces = tokenizer(self._folder)
        read = Reader(pieces).read_all(texts)

        def answer() -> np.ndarray:
            blank = blank_targets(len(texts), DEFAULT_HEADS)
            items = encode(pieces, texts, blank, MAX_TOKENS)
            net = load(self._folder)
            lengths, title = items.lengths.tolist(), f"{self.name}, {len(texts):,} texts"
            return predict(net, items, collate, batch=128, lengths=lengths, title=title)

        return load_or_make(self._cache, [*self._files, *read], answer)

    def head(self, logits: np.ndarray, names: list[str]) -> np.ndarray | None:
        """Return the columns of these outputs; None where the model lacks one."""
        if not set(names) <= set(self.outputs):
            return None
        return logits[:, [self.outputs.index(name) for name in names]]

    def shared(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated (n, 7) probabilities of the shared head, as the pipeline sees them."""
        columns = [self.outputs.index(name) for name in EXPRESSIONS]
        return apply_calibration(self.card.calibration, logits[:, columns])


def evaluate(folder: Path, data: Path, tier: Tier, cache: Path) -> Evaluation:
    """Measure the text model in ``folder`` on every corpus that has a test split.

    Then on all of a language together, and on EmoContext, which no model here learnt from.
    """
    answers = Answers(folder, cache)
    beside = other_tier(folder, cache.parent)
    other = None if beside is None else Answers(beside, cache)
    measured: list[Measured] = []
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for corpus in CORPORA:
        if "test" not in corpus.splits:
            continue
        rows = corpus.splits["test"](data)
        measured += _measure_corpus(answers, other, corpus, rows, data)
        if rows.shown is not None:
            parts.setdefault(corpus.language, []).append(_judge_shared(answers, corpus, rows))
    together = {
        language: [np.concatenate(part) for part in zip(*found, strict=True)]
        for language, found in parts.items()
    }
    for language, (chances, labels) in together.items():
        split = f"{language}, all test splits together, shared vocabulary"
        measured += exclude_ece(measure_single_label(split, chances, labels), "pooled")
    if len(together) > 1:
        names = np.repeat(list(together), [len(labels) for _, labels in together.values()])
        chances, labels = (np.concatenate(p) for p in zip(*together.values(), strict=True))
        measured += measure_gaps("all test splits together, language", chances, labels, names)
    measured += _measure_unseen(answers, EMOCONTEXT.splits["test"](data))
    card = answers.card
    return Evaluation(folder.name, "text", tier, card.licence, tuple(measured))


def _judge_shared(answers: Answers, corpus: Corpus, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 7) probabilities and labels of the test rows that show one expression."""
    logits = answers.to(rows.texts)
    kept = np.flatnonzero(_marks(rows).sum(axis=1) == 1)
    return answers.shared(logits[kept]), _marks(rows)[kept].argmax(axis=1)


def _marks(rows: Rows) -> np.ndarray:
    return np.zeros((len(rows), len(EXPRESSIONS))) if rows.shown is None else rows.shown


def _measure_corpus(
    answers: Answers, other: Answers | None, corpus: Corpus, rows: Rows, data: Path
) -> Iterator[Measured]:
    logits = answers.to(rows.texts)
    seen = corpus.name in {source.name for source in answers.card.training_data}
    split = f"{corpus.name} ({corpus.language}) test" + ("" if seen else ", corpus never seen")
    if rows.circumplex is not None:
        yield from _measure_values(answers, split, logits, rows)
    if rows.shown is None:
        return
    yield from _measure_own_labels(answers, corpus, split, logits, rows, data)
    shared, labels = _judge_shared(answers, corpus, rows)
    threshold = answers.card.calibration.threshold
    found = measure_single_label(f"{split}, shared vocabulary", shared, labels, threshold=threshold)
    yield from found if seen else exclude_ece(found, "corpus never seen")
    if seen and other and corpus.name in {s.name for s in other.card.training_data}:
        mean = (shared + _judge_shared(other, corpus, rows)[0]) / 2
        title = f"{split}, shared vocabulary, average with {other.name}"
        figures = exclude_ece(measure_single_label(title, mean, labels), "average")
        yield from (m for m in figures if m.metric in {"accuracy", "macro_f1", "ece, average"})
    kept = np.flatnonzero(rows.shown.sum(axis=1) == 1)
    for name, groups in rows.groups.items():
        if name != "dialogue":
            yield from measure_gaps(f"{split}, {name}", shared, labels, groups[kept])


def _measure_unseen(answers: Answers, rows: Rows) -> Iterator[Measured]:
    """Yield the figures on EmoContext: its four labels, and micro-F1 as its task reports it."""
    if rows.own is None:
        return
    logits = answers.to(rows.texts)
    chances = answers.shared(logits) @ EMOCONTEXT_SHOWN.T
    labels = rows.own.argmax(axis=1)
    split = "EmoContext (English) test, last turn alone, corpus never seen"
    yield from exclude_ece(
        measure_single_label(f"{split}, 4 labels", chances, labels), "corpus never seen"
    )
    guess = chances.argmax(axis=1)
    count = len(EMOCONTEXT_LABELS)
    emotions = np.arange(count - 1)  # happy, sad, angry; all but the last

    def figure(picked: np.ndarray) -> float:
        return micro_f1(confusion_matrix(labels[picked], guess[picked], count), emotions)

    yield measure_figure(f"{split}, 3 labels", "micro_f1", figure, len(labels))


def _measure_own_labels(
    answers: Answers, corpus: Corpus, split: str, logits: np.ndarray, rows: Rows, data: Path
) -> Iterator[Measured]:
    """Yield the figures in the corpus' own vocabulary, by the protocol that is published for it."""
    if corpus.head is None or rows.own is None:
        return
    head = corpus.head
    names = [f"{head.name}:{label}" for label in head.labels]
    dev = corpus.splits["dev"](data)
    own = answers.head(logits, names)
    known = answers.head(answers.to(dev.texts), names)
    if own is None or known is None or dev.own is None:
        return
    truth = rows.own
    if head.kind == "single":
        keys = _SMP_KEYS if corpus.name == "SMP2020 usual" else {}
        chances = softmax(own, fit_temperature(known, dev.own.argmax(axis=1)))
        yield from measure_single_label(
            f"{split}, own labels", chances, truth.argmax(axis=1), keys=keys
        )
        return
    cuts = label_thresholds(1 / (1 + np.exp(-known)), dev.own)
    marked = 1 / (1 + np.exp(-own)) >= cuts
    yield measure_figure(
        f"{split}, own labels",
        "multi-label macro_f1",
        lambda i: multi_label_f1(marked[i], truth[i]),
        len(truth),
        key=_KEYS.get(corpus.name, ""),
    )


def _measure_values(
    answers: Answers, split: str, logits: np.ndarray, rows: Rows
) -> Iterator[Measured]:
    for column, name in enumerate(("valence", "arousal")):
        found = answers.head(logits, [name])
        if found is None or rows.circumplex is None:
            continue
        apart = partial(_correlation, found[:, 0], rows.circumplex[:, column])
        yield measure_figure(split, f"{name} Pearson r", apart, len(rows))


def _correlation(found: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> float:
    return pearson(found[rows], truth[rows])
