"""Training of the fusion model on windows simulated from the dev splits of all modalities."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model_serving.calibration import calibrate, softmax
from model_serving.card import CARD_FILE, Calibration, Figure, ModelCard, Source, read_card
from model_serving.fusion_net import AttentionFusion, AttentionFusionConfig
from model_serving.metrics import scores_of
from model_serving.training.common import figures, find_model, save_model
from model_serving.training.drawn import DrawnItems, FixedItems
from model_serving.training.folds import cross_validated
from model_serving.training.fusion.data import Items, read_items, split_sources
from model_serving.training.fusion.windows import Windows, draw_batch, simulate, to_batch
from model_serving.training.harness import Problem, Run, fit, is_main, pass_batch_through, predict
from model_serving.training.heads import SHARED, HeadLoss, card_labels, id2label, label_maps
from model_serving.training.recipe import Recipe
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS

_HEADS = (SHARED,)
_PARTS = (0.5, 0.2, 0.3)  # of the items: to fit, to choose by, held out
_DEV_WINDOWS = 8192
_CARD_WINDOWS = 20_000


@dataclass(frozen=True, slots=True)
class Learnt:
    """A fusion net in its best state, and its calibration on the dev windows."""

    net: AttentionFusion
    calibration: Calibration


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> ModelCard:
    """Train by the recipe on estimates of dev items under ``data``, and write the folder ``out``.

    A recipe of ``body: average`` learns nothing, and reads no data.
    """
    if recipe.body("attention", "average") == "average":
        return _write_average(recipe, out, run)
    models = _find_models(recipe, run)
    items = read_items(data, models, recipe.seed)
    part = split_sources(items, _PARTS, np.random.default_rng(recipe.seed))
    fitted, known, held_out = (items.take(part == number) for number in range(len(_PARTS)))
    learnt = learn(recipe, fitted, known, run)
    test = simulate(held_out.without_copies().pools(), _CARD_WINDOWS, _generator(recipe, 2))
    card = ModelCard(
        name=recipe.name,
        version=recipe.version,
        modality="fusion",
        licence=recipe.licence,
        labels=card_labels(_HEADS),
        training_data=_sources(fitted.without_copies(), models),
        figures=tuple(_compare(learnt, test)),
        calibration=learnt.calibration,
        command=recipe.command,
        notes=recipe.notes.strip(),
    )
    return save_model(out, learnt.net, None, card) if is_main() else card


def cross_validate(recipe: Recipe, data: Path, run: Run) -> list[dict[str, float]]:
    """Return the figures on windows of the items that each fold holds out.

    Takes of one clip stay together; speakers do not, since there are three.
    """
    if recipe.body("attention", "average") == "average":
        message = f"{recipe.name} learns nothing that folds could be judged by"
        raise AffectstreamError(message)
    items = read_items(data, _find_models(recipe, run), recipe.seed)
    kinds = items.modality * len(EXPRESSIONS) + items.labels

    def judge(fold: int, train_rows: np.ndarray, held_rows: np.ndarray) -> dict[str, float]:
        name = f"{recipe.name}-fold{fold}of{run.folds}"
        rest, held = items.take(train_rows), items.take(held_rows).without_copies()
        known = split_sources(rest, (0.75, 0.25), np.random.default_rng([recipe.seed, fold])) == 1
        changed = recipe.model_copy(update={"name": name})
        learnt = learn(changed, rest.take(~known), rest.take(known), run)
        test = simulate(held.pools(), _CARD_WINDOWS, _generator(recipe, 2))
        return scores_of(_fused(learnt, test), test.labels)

    return cross_validated(kinds, items.source, run.folds, recipe.seed, judge)


def learn(recipe: Recipe, fitted: Items, known: Items, run: Run) -> Learnt:
    """Train on windows of the items to fit, and choose and calibrate by those of the known ones.

    The dev score is the mean log-probability of the label.
    """
    torch.manual_seed(recipe.seed)
    net = AttentionFusion(AttentionFusionConfig(**label_maps(id2label(_HEADS))))
    dev = simulate(known.without_copies().pools(), _DEV_WINDOWS, _generator(recipe, 1))
    rows = np.arange(_DEV_WINDOWS)

    def score(logits: Mapping[str, np.ndarray]) -> float:
        chances = softmax(logits["simulated"])[rows, dev.labels]
        return float(np.log(np.maximum(chances, 1e-12)).mean())

    problem = Problem(
        net=net,
        train=DrawnItems(int(recipe.net["windows"]), partial(draw_batch, fitted.pools())),
        dev={"simulated": FixedItems(to_batch(dev))},
        collate=pass_batch_through,
        loss=HeadLoss.of(recipe, _HEADS),
        score=score,
    )
    fit(problem, recipe, run)
    return Learnt(net, calibrate(_logits(net, dev), dev.labels, recipe.coverage))


def _generator(recipe: Recipe, number: int) -> np.random.Generator:
    return np.random.default_rng(recipe.seed + number)


def _find_models(recipe: Recipe, run: Run) -> dict[str, Path]:
    """Return the folder of each modality's model; a recipe for open use refuses a closed one."""
    models = {name: find_model(recipe.net["models"][name], run.build) for name in MODALITIES}
    closed = [
        name for name, path in models.items() if read_card(path / CARD_FILE).licence != "open"
    ]
    if recipe.licence == "open" and closed:
        message = (
            f"recipe {recipe.name} has `licence: open`, but its model of {closed[0]} may be used "
            "for research only: set `licence: research`"
        )
        raise AffectstreamError(message)
    return models


def _sources(fitted: Items, models: Mapping[str, Path]) -> tuple[Source, ...]:
    return tuple(
        Source(
            name=f"dev estimates of {read_card(models[modality] / CARD_FILE).model_id}, "
            "the part to fit",
            licence="as the recogniser's data",
            rows=int((fitted.modality == place).sum()),
        )
        for place, modality in enumerate(MODALITIES)
    )


def _write_average(recipe: Recipe, out: Path, run: Run) -> ModelCard:
    """Write the fusion that learnt nothing and may be used for anything: a plain average.

    With every parameter at zero the net weighs all modalities alike, so its scores are the
    geometric mean of theirs; one modality alone stays as it is, and so does its threshold, which is
    that of the model that the recipe names.
    """
    net = AttentionFusion(AttentionFusionConfig(**label_maps(id2label(_HEADS))))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    other = read_card(find_model(recipe.net["threshold_of"], run.build) / CARD_FILE)
    card = ModelCard(
        name=recipe.name,
        version=recipe.version,
        modality="fusion",
        licence=recipe.licence,
        labels=card_labels(_HEADS),
        calibration=Calibration(threshold=other.calibration.threshold),
        command=recipe.command,
        notes=recipe.notes.strip(),
    )
    return save_model(out, net, None, card) if is_main() else card


def _logits(net: AttentionFusion, windows: Windows) -> np.ndarray:
    return predict(net, FixedItems(to_batch(windows)), pass_batch_through, batch=1024)


def _fused(learnt: Learnt, windows: Windows) -> np.ndarray:
    return softmax(_logits(learnt.net, windows), learnt.calibration.temperature)


def _compare(learnt: Learnt, test: Windows) -> list[Figure]:
    """Return accuracy and ECE of fusion, plain average and surest modality, by modalities."""
    many = (test.counts > 0).sum(axis=1)
    best = test.confidence.argmax(axis=1)
    methods = {
        "fusion": _fused(learnt, test),
        "plain average": test.scores.sum(axis=1) / many[:, None],
        "most confident modality": test.scores[np.arange(len(many)), best],
    }
    found: list[Figure] = []
    for size in range(len(MODALITIES) + 1):
        rows = many == size if size else many > 0
        split = f"held-out windows, {size or '1-4'} modalities"
        for name, scores in methods.items():
            every = scores_of(scores[rows], test.labels[rows])
            found += figures(split, {f"{name}: {m}": every[m] for m in ("accuracy", "ece")})
    return found
