"""Training of the text models, English and Chinese.

*base* is multilingual-e5-small under a mean over tokens; *compact* is a small ModernBERT that
starts from e5's word embeddings and learns from the labels and from base's answers. Both have one
shared head, valence and arousal, and a head for each corpus that asks in its own vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_serving.calibration import calibrate, count_answers, softmax
from model_serving.card import Calibration, ModelCard, Source
from model_serving.corpora.head import Head
from model_serving.corpora.text import Corpus, Rows, read_cped
from model_serving.metrics import label_thresholds, multi_label_f1, scores_of
from model_serving.text.front_end import MAX_TOKENS
from model_serving.training.common import find_model, save_model
from model_serving.training.folds import cross_validated
from model_serving.training.harness import Problem, Run, fit, is_main, predict
from model_serving.training.heads import (
    SHARED,
    HeadLoss,
    blank_targets,
    card_labels,
    class_weights,
    columns,
)
from model_serving.training.recipe import Recipe
from model_serving.training.text import teacher as text_teacher
from model_serving.training.text.build import build
from model_serving.training.text.data import (
    Encoded,
    collate,
    corpora_of,
    encode,
    heads_of,
    read_training,
    remove_texts,
    targets,
)
from schemas.errors import AffectstreamError


@dataclass(frozen=True, slots=True)
class Split:
    """A dev split: its corpus, rows and encoding."""

    corpus: Corpus
    rows: Rows
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class Learnt:
    """A tokenizer, the net in its best state, and the dev splits that it was judged on."""

    tokenizer: Any
    net: nn.Module
    dev: Mapping[str, Split]


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> ModelCard:
    """Train by the recipe on the corpora under ``data`` and write the model folder ``out``."""
    corpora = corpora_of(recipe)
    heads = heads_of(corpora)
    known = read_training(recipe, data)
    learnt = learn(recipe, data, known, run)
    card = ModelCard(
        name=recipe.name,
        version=recipe.version,
        modality="text",
        licence=recipe.licence,
        labels=card_labels(heads),
        languages=("en", "zh"),
        training_data=tuple(
            Source(name=c.name, licence=c.licence, rows=len(known[c.name])) for c in corpora
        ),
        calibration=_calibration(recipe, learnt, heads),
        command=recipe.command,
        notes=recipe.notes,
    )
    return save_model(out, learnt.net, learnt.tokenizer, card) if is_main() else card


def cross_validate(recipe: Recipe, data: Path, run: Run) -> list[dict[str, float]]:
    """Return the figures on CPED, which has no published split, in folds by dialogue.

    The other corpora of the recipe stay in training in every fold, less the texts that are held
    out; a teacher does not, since it saw them.
    """
    if "CPED" not in recipe.corpora:
        message = f"recipe {recipe.name} does not learn from CPED, which the folds are made of"
        raise AffectstreamError(message)
    heads = heads_of(corpora_of(recipe))
    others = read_training(recipe, data)
    rows, labels = read_cped(data).single()

    def judge(fold: int, train_rows: np.ndarray, held: np.ndarray) -> dict[str, float]:
        name = f"{recipe.name}-fold{fold}of{run.folds}"
        part = recipe.model_copy(update={"name": name, "distil": None})
        known = remove_texts(others | {"CPED": rows.take(train_rows)}, [rows.take(held)])
        learnt = learn(part, data, known, run)
        blank = blank_targets(len(held), heads)
        items = encode(learnt.tokenizer, rows.take(held).texts, blank, MAX_TOKENS)
        logits = predict(learnt.net, items, collate, lengths=items.lengths.tolist())
        return scores_of(softmax(logits[:, columns(heads, SHARED.name)]), labels[held])

    return cross_validated(labels, rows.groups["dialogue"], run.folds, recipe.seed, judge)


def learn(recipe: Recipe, data: Path, known: Mapping[str, Rows], run: Run) -> Learnt:
    """Train a net of the recipe on these rows to its best state on dev."""
    corpora = corpora_of(recipe)
    heads = heads_of(corpora)
    torch.manual_seed(recipe.seed)
    texts = [text for rows in known.values() for text in rows.texts]
    tokenizer, net = build(recipe, texts, heads, run)
    training = _training(recipe, corpora, known, texts, heads, tokenizer)
    if recipe.distil:
        teachers = [find_model(name, run.build) for name in recipe.distil.teachers]
        cache = run.folder / "answers"
        taught = text_teacher.answers(teachers, recipe, texts, heads, cache)
        training = replace(training, teacher=taught)
    tokens = int(recipe.net.get("train_tokens", MAX_TOKENS))
    dev = {
        corpus.name: _split(corpus, corpus.splits["dev"](data), heads, tokenizer, tokens)
        for corpus in corpora
        if "dev" in corpus.splits
    }
    loss = _loss(recipe, heads, training.targets)
    fit(_problem(recipe, net, training, dev, loss, heads), recipe, run)
    return Learnt(tokenizer, net, dev)


def dev_score(
    logits: Mapping[str, np.ndarray], dev: Mapping[str, Split], heads: tuple[Head, ...]
) -> float:
    """Return the mean macro-F1 over dev splits with expressions, weighted by their rows.

    By rows, since the macro-F1 of BRIGHTER's 115 English dev rows moves by .04 by chance alone, and
    yet no small split may drop out: BRIGHTER's 200 are all the Chinese dev rows that are open.
    Raises AffectstreamError where no split has expressions: no epoch could be chosen.
    """
    judged = {name: split for name, split in dev.items() if split.rows.shown is not None}
    if not judged:
        message = (
            f"no dev split of {sorted(dev)} has expressions to choose an epoch by: "
            "add a corpus that has one to the recipe, e.g. GoEmotions"
        )
        raise AffectstreamError(message)
    found = [macro_f1(logits[name], s.corpus, s.rows, heads) for name, s in judged.items()]
    return float(np.average(found, weights=[len(s.rows) for s in judged.values()]))


def macro_f1(logits: np.ndarray, corpus: Corpus, rows: Rows, heads: tuple[Head, ...]) -> float:
    """Return macro-F1 in the corpus' own vocabulary, or in the shared one where it has none."""
    if corpus.head is None:
        kept = rows.shown.sum(axis=1) == 1 if rows.shown is not None else slice(None)
        _, labels = rows.single()
        return scores_of(softmax(logits[kept, columns(heads, SHARED.name)]), labels)["macro_f1"]
    own = logits[:, columns(heads, corpus.head.name)]
    if rows.own is None:
        return 0.0
    if corpus.head.kind == "single":
        return scores_of(softmax(own), rows.own.argmax(axis=1))["macro_f1"]
    chances = 1 / (1 + np.exp(-own))
    return multi_label_f1(chances >= label_thresholds(chances, rows.own), rows.own)


def _training(
    recipe: Recipe,
    corpora: list[Corpus],
    known: Mapping[str, Rows],
    texts: list[str],
    heads: tuple[Head, ...],
    tokenizer: Any,
) -> Encoded:
    found = [targets(c, known[c.name], heads) for c in corpora]
    encoded = encode(
        tokenizer, texts, np.concatenate(found), int(recipe.net.get("train_tokens", MAX_TOKENS))
    )
    repeats = [np.full(len(known[c.name]), recipe.corpora[c.name]) for c in corpora]
    return replace(encoded, picked=np.repeat(np.arange(len(texts)), np.concatenate(repeats)))


def _split(
    corpus: Corpus, rows: Rows, heads: tuple[Head, ...], tokenizer: Any, tokens: int
) -> Split:
    return Split(corpus, rows, encode(tokenizer, rows.texts, targets(corpus, rows, heads), tokens))


def _loss(recipe: Recipe, heads: tuple[Head, ...], found: np.ndarray) -> HeadLoss:
    power = recipe.schedule.class_weight_power
    weights: dict[str, Tensor] = {}
    for head in heads:
        if power and head.kind == "single":
            weights[head.name] = class_weights(found[:, columns(heads, head.name)], power)
    return HeadLoss.of(recipe, heads, weights)


def _problem(
    recipe: Recipe,
    net: nn.Module,
    training: Encoded,
    dev: Mapping[str, Split],
    loss: HeadLoss,
    heads: tuple[Head, ...],
) -> Problem:
    """While it trains, dev splits are judged on at most ``dev_rows`` of their rows."""
    limit = int(recipe.net.get("dev_rows", 10**9))
    judged = {}
    for name, split in dev.items():
        kept = np.random.default_rng(0).permutation(len(split.rows))[:limit]
        part = Encoded(
            [split.encoded.ids[i] for i in kept], split.encoded.targets[kept], np.arange(len(kept))
        )
        judged[name] = Split(split.corpus, split.rows.take(kept), part)
    return Problem(
        net=net,
        train=training,
        dev={name: split.encoded for name, split in judged.items()},
        collate=collate,
        loss=loss,
        score=lambda logits: dev_score(logits, judged, heads),
        lengths=training.lengths.tolist(),
        heads=("classifier", "head"),
    )


def _calibration(recipe: Recipe, learnt: Learnt, heads: tuple[Head, ...]) -> Calibration:
    """Fit the shared head's calibration on the dev rows of one expression, of all corpora."""
    logits, labels = [], []
    for split in learnt.dev.values():
        rows, truth = split.rows.single()
        if not len(rows):
            continue
        items = encode(learnt.tokenizer, rows.texts, blank_targets(len(rows), heads), MAX_TOKENS)
        found = predict(learnt.net, items, collate, lengths=items.lengths.tolist())
        logits.append(found[:, columns(heads, SHARED.name)])
        labels.append(truth)
    # No bias: one that suits the mix of corpora suits none (SMP2020 dev: ECE .038, not .028).
    given, truth = np.concatenate(logits), np.concatenate(labels)
    fitted = calibrate(given, truth, recipe.coverage)
    return fitted.model_copy(update={"answers": count_answers(fitted, given, truth)})
