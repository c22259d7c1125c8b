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
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from model_serving.calibration import calibrate, softmax
from model_serving.card import ModelCard, Source
from model_serving.front_ends import MAX_TOKENS
from model_serving.training import text_teacher
from model_serving.training.common import save_model
from model_serving.training.harness import Problem, Run, fit, is_main, predict
from model_serving.training.heads import (
    SHARED,
    Head,
    HeadLoss,
    card_labels,
    class_weights,
    columns,
    id2label,
)
from model_serving.training.metrics import label_thresholds, multi_label_f1, scores_of
from model_serving.training.recipe import Recipe
from model_serving.training.text_corpora import Corpus, Rows
from model_serving.training.text_data import (
    Encoded,
    collate,
    corpora_of,
    encode,
    heads_of,
    read_training,
    targets,
)
from model_serving.training.text_start import build_base, fetch_start, prune

_NOTES = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True, slots=True)
class Split:
    """A dev split: its corpus, rows and encoding."""

    corpus: Corpus
    rows: Rows
    encoded: Encoded


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> ModelCard:
    """Train by the recipe on the corpora under ``data`` and write the model folder ``out``."""
    corpora = corpora_of(recipe)
    heads = heads_of(corpora)
    torch.manual_seed(recipe.seed)
    known = read_training(recipe, data)
    texts = [text for rows in known.values() for text in rows.texts]
    tokenizer, net = build(recipe, texts, heads, run)
    tokens = int(recipe.net.get("train_tokens", MAX_TOKENS))
    training = _training(recipe, corpora, known, heads, tokenizer)
    dev = {
        corpus.name: _split(corpus, corpus.splits["dev"](data), heads, tokenizer, tokens)
        for corpus in corpora
        if "dev" in corpus.splits
    }
    loss = _loss(recipe, heads, training.targets)
    problem = _problem(recipe, net, training, dev, loss, heads)
    if recipe.net.get("record"):
        recorder = text_teacher.Recorder(loss, run.folder / recipe.name, texts, id2label(heads))
        problem = replace(problem, loss=recorder)
    if recipe.distil:
        taught = text_teacher.read(run.folder / recipe.distil.teacher, texts, id2label(heads))
        problem = replace(problem, train=replace(training, teacher=taught))
    fit(problem, recipe, run)
    card = _card(recipe, net, corpora, known, dev, heads)
    return save_model(out, net, tokenizer, card) if is_main() else card


def build(
    recipe: Recipe, texts: list[str], heads: tuple[Head, ...], run: Run
) -> tuple[Any, nn.Module]:
    """Return the tokenizer and the untrained net of the recipe."""
    settings = recipe.net
    start = fetch_start(run.build)
    lower = settings["body"] == "compact"
    tokenizer, kept = prune(start, texts, int(settings["vocabulary"]), lower=lower)
    if settings["body"] == "compact":
        return tokenizer, build_compact(start.embeddings[kept], settings, id2label(heads))
    net = build_base(start, kept, id2label(heads))
    frozen = int(settings.get("frozen_layers", 0))
    if frozen:
        net.bert.embeddings.requires_grad_(requires_grad=False)
        for layer in net.bert.encoder.layer[:frozen]:
            layer.requires_grad_(requires_grad=False)
    return tokenizer, net


def build_compact(
    embeddings: np.ndarray, settings: Mapping[str, Any], labels: dict[int, str]
) -> ModernBertForSequenceClassification:
    """Return a small ModernBERT over the main directions of these word embeddings."""
    width = int(settings["width"])
    config = ModernBertConfig(
        vocab_size=len(embeddings),
        hidden_size=width,
        intermediate_size=int(settings["inner"]),
        num_hidden_layers=int(settings["layers"]),
        num_attention_heads=int(settings["attention_heads"]),
        max_position_embeddings=MAX_TOKENS,
        classifier_pooling="mean",
        embedding_dropout=0.1,
        mlp_dropout=0.1,
        classifier_dropout=0.1,
        attn_implementation="sdpa",
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
        bos_token_id=0,
        cls_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
    )
    net = ModernBertForSequenceClassification(config)
    centred = embeddings - embeddings.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    vectors = centred @ directions[:, ::-1][:, :width]
    with torch.no_grad():
        net.get_input_embeddings().weight.copy_(torch.from_numpy(vectors.copy()))
    return net


def dev_score(
    logits: Mapping[str, np.ndarray], dev: Mapping[str, Split], heads: tuple[Head, ...]
) -> float:
    """Return the mean macro-F1 over dev splits of 500 rows and more; smaller ones are noise."""
    found = []
    for name, split in dev.items():
        if split.rows.shown is None or len(split.rows) < 500:
            continue
        found.append(macro_f1(logits[name], split.corpus, split.rows, heads))
    return float(np.mean(found))


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
    heads: tuple[Head, ...],
    tokenizer: Any,
) -> Encoded:
    texts = [text for rows in known.values() for text in rows.texts]
    found = np.concatenate([targets(c, known[c.name], heads) for c in corpora])
    encoded = encode(tokenizer, texts, found, int(recipe.net.get("train_tokens", MAX_TOKENS)))
    repeats = [np.full(len(known[c.name]), recipe.corpora[c.name]) for c in corpora]
    return replace(encoded, picked=np.repeat(np.arange(len(texts)), np.concatenate(repeats)))


def _split(
    corpus: Corpus, rows: Rows, heads: tuple[Head, ...], tokenizer: Any, tokens: int
) -> Split:
    return Split(
        corpus, rows, encode(tokenizer, rows.texts, targets(corpus, rows, heads), tokens)
    )


def _loss(recipe: Recipe, heads: tuple[Head, ...], found: np.ndarray) -> HeadLoss:
    power = recipe.schedule.class_weight_power
    weights: dict[str, Tensor] = {}
    for head in heads:
        if power and head.kind == "single":
            weights[head.name] = class_weights(found[:, columns(heads, head.name)], power)
    distil = recipe.distil
    return HeadLoss(
        heads,
        weights,
        recipe.schedule.label_smoothing,
        distil.share if distil else 0.0,
        distil.temperature if distil else 1.0,
    )


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


def _card(
    recipe: Recipe,
    net: nn.Module,
    corpora: list[Corpus],
    known: Mapping[str, Rows],
    dev: Mapping[str, Split],
    heads: tuple[Head, ...],
) -> ModelCard:
    shared, labels = [], []
    for split in dev.values():
        if split.rows.shown is None:
            continue
        logits = predict(net, split.encoded, collate, lengths=split.encoded.lengths.tolist())
        kept = split.rows.shown.sum(axis=1) == 1
        shared.append(logits[kept, columns(heads, SHARED.name)])
        labels.append(split.rows.shown[kept].argmax(axis=1))
    return ModelCard(
        name=recipe.name,
        version="2.0.0",
        modality="text",
        licence=recipe.licence,
        labels=card_labels(heads),
        training_data=tuple(
            Source(name=c.name, licence=c.licence, rows=len(known[c.name])) for c in corpora
        ),
        calibration=calibrate(np.concatenate(shared), np.concatenate(labels), recipe.coverage),
        command=f"affectstream train text --recipe {recipe.name} --data DATA",
        notes=(_NOTES / f"{recipe.name}.md").read_text(encoding="utf-8").strip(),
    )
