"""Training of the voice models on the acted speech of RAVDESS and EMO-DB.

Both tiers are a perceptron on statistics of the clip; *base* adds those of a speaker encoder's
states, and *compact* learns from base's answers too. A head each answers in RAVDESS' eight and
EMO-DB's seven labels, and a shared one in the vocabulary. EMO-DB is also judged by leaving each of
its ten speakers out in turn: then teacher and pupil have not heard that speaker.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from model_serving.calibration import calibrate, fit_temperature, softmax
from model_serving.card import ModelCard, Source
from model_serving.metrics import scores_of
from model_serving.training.average import Averaged
from model_serving.training.common import save_model
from model_serving.training.harness import (
    Batch,
    Problem,
    Run,
    fit,
    is_main,
    pass_batch_through,
    predict,
)
from model_serving.training.heads import (
    SHARED,
    HeadLoss,
    card_labels,
    class_weights,
    columns,
    id2label,
    label_maps,
)
from model_serving.training.recipe import Recipe
from model_serving.training.voice.channel_weights import fit_channel_weights, hear
from model_serving.training.voice.data import (
    CORPORA,
    EMODB,
    HEADS,
    Clips,
    build_extractor,
    load_clips,
    statistics_of,
    targets,
    views,
)
from model_serving.training.voice.start import load_speaker_states
from model_serving.voice.net import Perceptron, VoiceStatistics, VoiceStatisticsConfig
from schemas.errors import AffectstreamError

SHIPPED = "shipped"


@dataclass(frozen=True, slots=True)
class Voices(Dataset[Batch]):
    """Statistics (n, views, features) of clips with targets (n, outputs).

    Training draws a view of each clip, the first one for a share ``clean`` besides, mixes half of
    the batches (mixup, Zhang et al., 2018) and trembles by ``noise`` of a statistic's spread;
    without a ``rng`` the first view comes as it is.
    """

    views: np.ndarray
    targets: np.ndarray
    spread: np.ndarray | float = 1.0
    noise: float = 0.0
    clean: float = 0.0
    rng: np.random.Generator | None = None
    teacher: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Return a whole batch, for ``harness.pass_batch_through``."""
        labels = self.targets[rows]
        teacher = None if self.teacher is None else self.teacher[rows]
        if self.rng is None:
            heard = self.views[rows, 0]
        else:
            drawn = self.rng.integers(self.views.shape[1], size=len(rows))
            drawn[self.rng.random(len(rows)) < self.clean] = 0
            heard = self.views[rows, drawn]
            heard = heard + self.noise * self.spread * self.rng.standard_normal(heard.shape)
            if self.rng.random() < 0.5:
                share = max(part := self.rng.beta(0.4, 0.4), 1 - part)
                heard, labels, teacher = _mix_pairs(heard, labels, teacher, share, self.rng)
        batch = {"statistics": torch.from_numpy(heard.astype(np.float32))}
        batch["labels"] = torch.from_numpy(labels.astype(np.float32))
        if teacher is not None:
            batch["teacher"] = torch.from_numpy(teacher.astype(np.float32))
        return batch


def _mix_pairs(
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


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> ModelCard:
    """Train by the recipe on the clips under ``data`` and write the model folder ``out``."""
    torch.manual_seed(recipe.seed)
    clips = load_clips(data)
    net = build(recipe, run)
    found = answers(recipe, clips, net, run)
    card = _card(recipe, clips, found[SHIPPED], net)
    return save_model(out, net, build_extractor(), card) if is_main() else card


def cross_validate(recipe: Recipe, data: Path, run: Run) -> list[dict[str, float]]:
    """Return the figures on EMO-DB's own labels, each of its speakers left out in turn."""
    clips = load_clips(data)
    if run.folds != (speakers := len(speakers_of(clips))):
        message = f"voice leaves each of EMO-DB's speakers out in turn: --folds {speakers}"
        raise AffectstreamError(message)
    found = answers(recipe, clips, build(recipe, run), run)
    part = columns(HEADS, EMODB.name)
    truth = targets(clips)[:, part].argmax(axis=1)
    return [
        scores_of(softmax(found[speaker][rows, part]), truth[rows])
        for speaker in speakers_of(clips)
        if len(rows := np.flatnonzero((clips.corpus == EMODB.name) & (clips.speaker == speaker)))
    ]


def answers(recipe: Recipe, clips: Clips, net: VoiceStatistics, run: Run) -> dict[str, np.ndarray]:
    """Return the logits (n, outputs) to all clips of models that did not hear some of them.

    Keys are each EMO-DB speaker, each corpus, and ``shipped``, the model that ``net`` becomes: it
    hears the training speakers. They are written below the run's folder, for ``evaluate`` and for a
    pupil, whose teacher has not heard those speakers either.
    """
    disturbed = int(recipe.net["disturbed"])
    heard = views(net, clips, run.folder / "voice-views", disturbed, recipe.seed)
    teachers = _teachers(recipe, run, len(clips))
    found = {}
    for name, known in clips_by_model(clips).items():
        part = recipe.model_copy(update={"name": f"{recipe.name}-{name}"})
        taught = teachers[name][known] if teachers else None
        state = fit_perceptron(part, heard[known], clips.take(known), taught, run)
        net.perceptron.load_state_dict(state)
        found[name] = predict(net.perceptron, Voices(heard, targets(clips)), pass_batch_through)
    if is_main():
        path = answers_path(run.folder, recipe.name)
        part_path = path.with_suffix(".part.npz")
        np.savez(part_path, **found)  # type: ignore[arg-type]
        part_path.replace(path)
    return found


def logits_of(net: VoiceStatistics, waves: list[np.ndarray]) -> np.ndarray:
    """Return the (n, outputs) logits of waveforms at 16 kHz."""
    found = torch.from_numpy(statistics_of(net, waves, "disturbed dev clips"))
    with torch.inference_mode():
        return np.asarray(net.perceptron.eval()(found).logits.numpy())


def clips_by_model(clips: Clips) -> dict[str, np.ndarray]:
    """Mark the clips that each model hears, by what it leaves out; the shipped one stands last."""
    trained = clips.split == "train"
    found = {speaker: _mark_without_speaker(clips, speaker) for speaker in speakers_of(clips)}
    found |= {corpus: trained & (clips.corpus != corpus) for corpus in CORPORA}
    return found | {SHIPPED: trained}


def answers_path(folder: Path, name: str) -> Path:
    """Return the file that the ``answers`` of the recipe of this name are written to."""
    return folder / f"{name}-answers.npz"


def speakers_of(clips: Clips) -> list[str]:
    """Return the speakers of EMO-DB, who are left out in turn."""
    return sorted(set(clips.speaker[clips.corpus == EMODB.name]))


def _mark_without_speaker(clips: Clips, speaker: str) -> np.ndarray:
    """Mark EMO-DB's other speakers and RAVDESS' training actors."""
    actors = (clips.corpus != EMODB.name) & (clips.split == "train")
    return actors | ((clips.corpus == EMODB.name) & (clips.speaker != speaker))


def build(recipe: Recipe, run: Run) -> VoiceStatistics:
    """Return the net before training, its speaker encoder filled where it has one."""
    net = VoiceStatistics(_config(recipe))
    if net.encoder is not None:
        load_speaker_states(net.encoder, run.build)
    return net.eval()


def _config(recipe: Recipe) -> VoiceStatisticsConfig:
    settings = recipe.net
    return VoiceStatisticsConfig(
        encoder=bool(settings["encoder"]),
        hidden=int(settings["hidden"]),
        dropout=float(settings["dropout"]),
        **label_maps(id2label(HEADS)),
    )


def fit_perceptron(
    recipe: Recipe, heard: np.ndarray, clips: Clips, teacher: np.ndarray | None, run: Run
) -> dict[str, torch.Tensor]:
    """Train a perceptron on these clips and return its averaged state.

    There is one evaluation, at the end: no split is spent on choosing an epoch.
    """
    torch.manual_seed(recipe.seed)
    settings = recipe.net
    flat = heard.reshape(-1, heard.shape[2])
    perceptron = Perceptron(_config(recipe))
    spread = flat.std(axis=0) + 1e-4
    perceptron.centre.copy_(torch.from_numpy(flat.mean(axis=0)))
    perceptron.spread.copy_(torch.from_numpy(spread))
    truth = targets(clips)
    training = Voices(
        heard,
        truth,
        spread,
        noise=float(settings["noise"]),
        clean=float(settings["clean"]),
        rng=np.random.default_rng(recipe.seed),
        teacher=teacher,
    )
    power = recipe.schedule.class_weight_power
    weights = {
        head.name: class_weights(truth[:, columns(HEADS, head.name)], power) for head in HEADS
    }
    problem = Problem(
        net=Averaged(perceptron, float(settings["average"])),
        train=training,
        dev={},
        collate=pass_batch_through,
        loss=HeadLoss.of(recipe, HEADS, weights),
        score=lambda _: 1.0,
    )
    fit(problem, recipe, replace(run, fresh=True))
    kept: nn.Module = problem.net.average.module  # type: ignore[union-attr, assignment]
    return kept.state_dict()


def _teachers(recipe: Recipe, run: Run, count: int) -> dict[str, np.ndarray]:
    """Return what the teachers answered, on average, by what was left out; {} without any."""
    if recipe.distil is None:
        return {}
    found: dict[str, list[np.ndarray]] = {}
    for teacher in recipe.distil.teachers:
        path = answers_path(run.folder, teacher)
        if not path.is_file():
            message = f"{path} is not there: train the teacher {teacher} first"
            raise AffectstreamError(message)
        with np.load(path) as archive:
            for name in archive.files:
                found.setdefault(name, []).append(archive[name])
    if any(len(logits) != count for given in found.values() for logits in given):
        message = f"the teachers of {recipe.name} heard other clips: train them again"
        raise AffectstreamError(message)
    return {name: np.mean(given, axis=0) for name, given in found.items()}


def _card(recipe: Recipe, clips: Clips, answers: np.ndarray, net: VoiceStatistics) -> ModelCard:
    dev = clips.split == "dev"
    shared = columns(HEADS, SHARED.name)
    truth = targets(clips.take(dev))[:, shared].argmax(axis=1)
    rows = {
        corpus: int(((clips.corpus == corpus) & (clips.split == "train")).sum())
        for corpus in ("ravdess", "emodb")
    }
    heard = hear(partial(logits_of, net), clips.take(dev))
    # Of clips as they are it would be too low for all others.
    temperature = fit_temperature(heard.logits[heard.usual], heard.labels[heard.usual])
    calibration = calibrate(
        answers[dev][:, shared], truth, recipe.coverage, temperature=temperature
    )
    weights = fit_channel_weights(heard, calibration)
    return ModelCard(
        name=recipe.name,
        version=recipe.version,
        modality="voice",
        licence=recipe.licence,
        labels=card_labels(HEADS),
        training_data=(
            Source(name="RAVDESS", licence="CC BY-NC-SA 4.0", rows=rows["ravdess"]),
            Source(name="EMO-DB", licence="CC BY 4.0", rows=rows["emodb"]),
        ),
        calibration=calibration.model_copy(update={"channel": weights}),
        command=recipe.command,
        notes=recipe.notes.strip(),
    )
