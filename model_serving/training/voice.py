"""Training of the voice models on the acted speech of RAVDESS and EMO-DB.

Both tiers are a perceptron on statistics of the clip; *base* adds those of a speaker encoder's
states, and *compact* learns from base's answers too. A head each answers in RAVDESS' eight and
EMO-DB's seven labels, and a shared one in the vocabulary. EMO-DB is also judged by leaving each of
its ten speakers out in turn: then teacher and pupil have not heard that speaker.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import AutoModelForAudioClassification

from model_serving.calibration import calibrate
from model_serving.card import ModelCard, Source
from model_serving.training.average import Averaged
from model_serving.training.common import save_model
from model_serving.training.harness import Batch, Problem, Run, fit, is_main, predict
from model_serving.training.heads import SHARED, HeadLoss, card_labels, class_weights, columns
from model_serving.training.heads import id2label as names_of
from model_serving.training.recipe import Recipe
from model_serving.training.voice_data import (
    HEADS,
    Clips,
    build_extractor,
    load_clips,
    targets,
    views,
)
from model_serving.training.voice_start import load_speaker_states
from model_serving.voice_nets import Perceptron, VoiceStatistics, VoiceStatisticsConfig

_FOLDS = "folds.npz"


@dataclass(frozen=True, slots=True)
class Voices(Dataset[Batch]):
    """Statistics (n, views, features) of clips with targets (n, outputs).

    Training draws a view of each clip, mixes half of the batches (mixup, Zhang et al., 2018) and
    trembles by ``noise`` of a statistic's spread; without a ``rng`` the first view comes as it is.
    """

    views: np.ndarray
    targets: np.ndarray
    spread: np.ndarray
    noise: float = 0.0
    rng: np.random.Generator | None = None
    teacher: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Return the whole batch at once: the loader hands it to ``collate`` as it is."""
        labels = self.targets[rows]
        teacher = None if self.teacher is None else self.teacher[rows]
        if self.rng is None:
            heard = self.views[rows, 0]
        else:
            drawn = self.rng.integers(self.views.shape[1], size=len(rows))
            heard = self.views[rows, drawn]
            heard = heard + self.noise * self.spread * self.rng.standard_normal(heard.shape)
            if self.rng.random() < 0.5:
                share = max(part := self.rng.beta(0.4, 0.4), 1 - part)
                heard, labels, teacher = _mixed(heard, labels, teacher, share, self.rng)
        batch = {"statistics": torch.from_numpy(heard.astype(np.float32))}
        batch["labels"] = torch.from_numpy(labels.astype(np.float32))
        if teacher is not None:
            batch["teacher"] = torch.from_numpy(teacher.astype(np.float32))
        return batch


def _mixed(
    heard: np.ndarray,
    labels: np.ndarray,
    teacher: np.ndarray | None,
    share: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Mix each row with one of the same corpus, whose heads are known alike."""
    kinds = np.unique(np.isnan(labels), axis=0, return_inverse=True)[1].reshape(-1)
    other = np.arange(len(labels))
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        other[rows] = rng.permutation(rows)

    def mix(values: np.ndarray) -> np.ndarray:
        return np.asarray(share * values + (1 - share) * values[other])

    return mix(heard), mix(labels), None if teacher is None else mix(teacher)


def collate(batch: Batch) -> Batch:
    """Hand on what ``Voices`` made a batch of already."""
    return batch


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> ModelCard:
    """Train by the recipe on the clips under ``data`` and write the model folder ``out``.

    Where the recipe has ``leave_out``, each EMO-DB speaker is left out in turn first, and the
    answers to them are kept below the run's folder for ``evaluate`` and for a pupil.
    """
    torch.manual_seed(recipe.seed)
    clips = load_clips(data)
    net = build(recipe, run)
    folder = run.folder / recipe.name
    disturbed = int(recipe.net["disturbed"])
    heard = views(net, clips, run.folder / "voice-views", disturbed, recipe.seed)
    teachers = _teachers(recipe, run, len(clips))
    known = clips.split == "train"
    if recipe.net.get("leave_out"):
        leave_speakers_out(recipe, clips, heard, teachers, run)
    teacher = teachers.get("shipped")
    net.perceptron.load_state_dict(
        fit_perceptron(recipe, heard[known], clips.take(known), _rows(teacher, known), run)
    )
    answers = predict(net.perceptron, _plain(heard, clips), collate)
    np.savez(folder / "shipped.npz", logits=answers)
    card = _card(recipe, clips, answers)
    return save_model(out, net, build_extractor(), card) if is_main() else card


def build(recipe: Recipe, run: Run) -> VoiceStatistics:
    """Return the net before training, its speaker encoder filled where it has one."""
    settings, labels = recipe.net, names_of(HEADS)
    config = VoiceStatisticsConfig(
        encoder=bool(settings["encoder"]),
        hidden=int(settings["hidden"]),
        dropout=float(settings["dropout"]),
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )
    net = VoiceStatistics(config)
    if net.encoder is not None:
        load_speaker_states(net.encoder, run.build)
    return net.eval()


def fit_perceptron(
    recipe: Recipe, heard: np.ndarray, clips: Clips, teacher: np.ndarray | None, run: Run
) -> dict[str, torch.Tensor]:
    """Train a perceptron on these clips and return its averaged state.

    There is one evaluation, at the end: no split is spent on choosing an epoch.
    """
    torch.manual_seed(recipe.seed)
    settings, distil = recipe.net, recipe.distil
    flat = heard.reshape(-1, heard.shape[2])
    config = VoiceStatisticsConfig(
        encoder=bool(settings["encoder"]),
        hidden=int(settings["hidden"]),
        dropout=float(settings["dropout"]),
        num_labels=len(names_of(HEADS)),
    )
    perceptron = Perceptron(config)
    spread = flat.std(axis=0) + 1e-4
    perceptron.centre.copy_(torch.from_numpy(flat.mean(axis=0)))
    perceptron.spread.copy_(torch.from_numpy(spread))
    truth = targets(clips)
    training = Voices(
        heard,
        truth,
        spread,
        noise=float(settings["noise"]),
        rng=np.random.default_rng(recipe.seed),
        teacher=teacher,
    )
    power = recipe.schedule.class_weight_power
    loss = HeadLoss(
        HEADS,
        {head.name: class_weights(truth[:, columns(HEADS, head.name)], power) for head in HEADS},
        recipe.schedule.label_smoothing,
        distil.share if distil else 0.0,
        distil.temperature if distil else 1.0,
    )
    problem = Problem(
        net=Averaged(perceptron, float(settings["average"])),
        train=training,
        dev={},
        collate=collate,
        loss=loss,
        score=lambda _: 1.0,
    )
    fit(problem, recipe, replace(run, fresh=True))
    kept: nn.Module = problem.net.average.module  # type: ignore[union-attr, assignment]
    return kept.state_dict()


def leave_speakers_out(
    recipe: Recipe,
    clips: Clips,
    heard: np.ndarray,
    teachers: Mapping[str, np.ndarray],
    run: Run,
) -> np.ndarray:
    """Return (n, outputs) logits of EMO-DB's clips by models that did not hear their speaker.

    All else is trained on: EMO-DB's other nine speakers and RAVDESS' training actors. Every fold's
    answers to all clips are kept, for they teach the pupil of that fold.
    """
    emodb = clips.corpus == "emodb"
    found = np.full((len(clips), len(names_of(HEADS))), np.nan, np.float32)
    folds = {}
    for speaker in np.unique(clips.speaker[emodb]):
        unheard = emodb & (clips.speaker == speaker)
        known = ((clips.corpus == "ravdess") & (clips.split == "train")) | (emodb & ~unheard)
        named = recipe.model_copy(update={"name": f"{recipe.name}-without-{speaker}"})
        teacher = teachers.get(f"without-{speaker}")
        state = fit_perceptron(named, heard[known], clips.take(known), _rows(teacher, known), run)
        perceptron = build(recipe, run).perceptron
        perceptron.load_state_dict(state)
        answers = predict(perceptron, _plain(heard, clips), collate)
        folds[f"without-{speaker}"] = answers
        found[unheard] = answers[unheard]
    folder = run.folder / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / _FOLDS, unheard=found, **folds)
    return found


def _plain(heard: np.ndarray, clips: Clips) -> Voices:
    return Voices(heard, targets(clips), np.ones(heard.shape[2], np.float32))


def _rows(teacher: np.ndarray | None, known: np.ndarray) -> np.ndarray | None:
    return None if teacher is None else teacher[known]


def _teachers(recipe: Recipe, run: Run, count: int) -> dict[str, np.ndarray]:
    """Return the teacher's logits (n, outputs) by fold, and of the shipped one; {} without one."""
    if recipe.distil is None:
        return {}
    folder = run.folder / recipe.distil.teacher
    with np.load(folder / _FOLDS) as folds, np.load(folder / "shipped.npz") as shipped:
        found = {name: folds[name] for name in folds.files if name != "unheard"}
        found["shipped"] = shipped["logits"]
    if any(len(logits) != count for logits in found.values()):
        message = f"{folder} holds answers to other clips: train {recipe.distil.teacher} again"
        raise ValueError(message)
    return found


def _card(recipe: Recipe, clips: Clips, answers: np.ndarray) -> ModelCard:
    dev = clips.split == "dev"
    shared = columns(HEADS, SHARED.name)
    truth = targets(clips.take(dev))[:, shared].argmax(axis=1)
    rows = {
        corpus: int(((clips.corpus == corpus) & (clips.split == "train")).sum())
        for corpus in ("ravdess", "emodb")
    }
    return ModelCard(
        name=recipe.name,
        version="2.0.0",
        modality="voice",
        licence=recipe.licence,
        labels=card_labels(HEADS),
        training_data=(
            Source(name="RAVDESS", licence="CC BY-NC-SA 4.0", rows=rows["ravdess"]),
            Source(name="EMO-DB", licence="CC BY 4.0", rows=rows["emodb"]),
        ),
        calibration=calibrate(answers[dev][:, shared], truth, recipe.coverage),
        command=f"affectstream train voice --recipe {recipe.name} --data DATA",
        notes=recipe.notes.strip(),
    )


def load(folder: Path) -> VoiceStatistics:
    """Return a shipped voice model."""
    return AutoModelForAudioClassification.from_pretrained(folder, dtype=torch.float32).eval()
