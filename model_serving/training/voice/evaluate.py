"""Evaluation of a voice model on speakers that it did not hear, by corpus, channel, sex and age.

RAVDESS is judged on its test actors by the shipped weights. EMO-DB is judged on every speaker in
turn by the same recipe's models that did not hear that speaker, and across corpora by those that
heard one corpus only: ``affectstream train voice`` keeps what they answered.
"""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import torch
from transformers import AutoModelForAudioClassification

from model_serving.calibration import apply_calibration, calibrate
from model_serving.card import CARD_FILE, Calibration, read_card
from model_serving.corpora.head import Head
from model_serving.labels import order_by_name, output_names
from model_serving.training.cache import load_or_make, model_files
from model_serving.training.evaluation import (
    ACCURACY,
    COVERAGE,
    Evaluation,
    Measured,
    Tier,
    exclude_ece,
    measure_as_shipped,
    measure_gaps,
    measure_single_label,
    other_tier,
)
from model_serving.training.heads import SHARED, columns, id2label
from model_serving.training.voice.channel_figures import measure_channels
from model_serving.training.voice.channels import RATE
from model_serving.training.voice.data import (
    EMODB,
    HEADS,
    RAVDESS,
    Clips,
    load_clips,
    statistics_of,
    targets,
)
from model_serving.training.voice.train import SHIPPED, answers_path, speakers_of
from schemas.errors import AffectstreamError

_AGES: Final = {
    "03": 31, "08": 34, "09": 21, "10": 32, "11": 26, "12": 30, "13": 32, "14": 35, "15": 25,
    "16": 31,
}  # fmt: skip
"""Ages of EMO-DB's speakers (Burkhardt et al., 2005); RAVDESS tells those of all actors only."""

_WOMEN = frozenset({"08", "09", "13", "14", "16"})
_NOISES = (20, 10, 0)  # dB of speech over white noise
_SHIPPED_METRICS = {"uar", "ece, disturbed", COVERAGE, ACCURACY}
_ROUNDING = 0.05  # mean difference of logits, of weights in half precision


def evaluate(folder: Path, data: Path, tier: Tier, cache: Path) -> Evaluation:
    """Measure the voice model in ``folder``, and its recipe where speakers are left out."""
    card = read_card(folder / CARD_FILE)
    clips = load_clips(data)
    given = Answers(folder, cache)
    actors = clips.take(_actors(clips))
    found = _read_left_out(cache.parent / "training", card.name, clips)
    shipped = given.to(actors, "plain")
    _check_same_model(shipped, found[SHIPPED][_actors(clips)], folder)
    test = actors.split == "test"
    own = columns(HEADS, RAVDESS.name)
    known = targets(actors.take(~test))[:, own].argmax(axis=1)
    calibration = calibrate(shipped[~test][:, own], known)
    chances = apply_calibration(calibration, shipped[test][:, own])
    measured = _measure_corpus(RAVDESS, actors.take(test), chances, "RAVDESS actors 21-24")
    speakers = clips.take(clips.corpus == EMODB.name)
    unheard = found[EMODB.name + " left out"][clips.corpus == EMODB.name]
    chances = _calibrate_by_peers(speakers, unheard[:, columns(HEADS, EMODB.name)])
    measured += _measure_corpus(EMODB, speakers, chances, "EMO-DB, speakers left out")
    shared = columns(HEADS, SHARED.name)
    for title, heard, logits in (
        ("RAVDESS actors 21-24", actors.take(test), shipped[test]),
        ("EMO-DB, speakers left out", speakers, unheard),
    ):  # as the pipeline calibrates them
        chances = apply_calibration(card.calibration, logits[:, shared])
        truth = targets(heard)[:, shared].argmax(axis=1)
        # EMO-DB's speakers are judged by other weights than those that the threshold ships with.
        threshold = card.calibration.threshold if heard is not speakers else None
        split = f"{title}, shared vocabulary"
        measured += measure_single_label(split, chances, truth, threshold=threshold)
    for corpus, title in ((RAVDESS, "RAVDESS"), (EMODB, "EMO-DB")):
        rows = clips.corpus == corpus.name
        chances = apply_calibration(card.calibration, found[corpus.name][rows][:, shared])
        truth = targets(clips.take(rows))[:, shared].argmax(axis=1)
        split = f"{title}, corpus never heard, 7 expressions"
        measured += exclude_ece(measure_single_label(split, chances, truth), "corpus never heard")
    if other := other_tier(folder, cache.parent):
        mine = apply_calibration(card.calibration, shipped[test][:, shared])
        measured += _measure_average(mine, other, actors.take(test), cache)
    measured += _measure_under_noise(folder, given, actors.take(test), calibration)
    measured += measure_channels(folder, actors.take(test))
    return Evaluation(folder.name, "voice", tier, card.licence, tuple(measured))


class Answers:
    """The logits of a model folder for clips, cached for the next time."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder, self._cache = folder, cache
        self._files = model_files(folder)

    def to(self, clips: Clips, name: str) -> np.ndarray:
        """Return the (n, outputs) logits; ``name`` is what the progress bar calls the clips."""

        def answer() -> np.ndarray:
            net = AutoModelForAudioClassification.from_pretrained(
                self._folder, dtype=torch.float32
            ).eval()
            found = torch.from_numpy(statistics_of(net, clips.waves, name))
            with torch.inference_mode():
                logits = net.perceptron(found).logits.numpy()
            names = output_names(self._folder.name, net.config)
            return order_by_name(logits, names, list(id2label(HEADS).values()))

        return load_or_make(
            self._cache, [*self._files, *(wave.tobytes() for wave in clips.waves)], answer
        )


def _actors(clips: Clips) -> np.ndarray:
    """Mark RAVDESS' dev and test actors."""
    return np.asarray((clips.corpus == RAVDESS.name) & (clips.split != "train"))


def _check_same_model(shipped: np.ndarray, trained: np.ndarray, folder: Path) -> None:
    """Refuse answers of another training than the one that made the folder's weights."""
    if np.abs(shipped - trained).mean() > _ROUNDING:
        message = (
            f"the last training of {folder.name} made other weights than {folder} holds: what it "
            "answered to speakers left out is no figure of them; train it again, or put its "
            "weights there"
        )
        raise AffectstreamError(message)


def _read_left_out(training: Path, name: str, clips: Clips) -> dict[str, np.ndarray]:
    """Return what models that did not hear them answered, EMO-DB's speakers put together."""
    path = answers_path(training, name)
    if not path.is_file():
        message = f"{path} is not there: affectstream train voice --recipe {name} writes it"
        raise AffectstreamError(message)
    with np.load(path) as archive:
        found = {key: archive[key] for key in archive.files}
    together = np.full_like(found[EMODB.name], np.nan)
    for speaker in speakers_of(clips):
        rows = (clips.corpus == EMODB.name) & (clips.speaker == speaker)
        together[rows] = found[speaker][rows]
    return found | {EMODB.name + " left out": together}


def _calibrate_by_peers(clips: Clips, logits: np.ndarray) -> np.ndarray:
    """Return EMO-DB's probabilities (n, 7), each speaker calibrated on the other nine."""
    truth = targets(clips)[:, columns(HEADS, EMODB.name)].argmax(axis=1)
    chances = np.zeros(logits.shape)
    for speaker in speakers_of(clips):
        mine = clips.speaker == speaker
        chances[mine] = apply_calibration(calibrate(logits[~mine], truth[~mine]), logits[mine])
    return chances


def _measure_corpus(head: Head, clips: Clips, chances: np.ndarray, split: str) -> list[Measured]:
    """Judge probabilities in the corpus' own labels, then by group of speakers."""
    truth = targets(clips)[:, columns(HEADS, head.name)].argmax(axis=1)
    title = f"{split}, {len(head.labels)} classes"
    found = measure_single_label(title, chances, truth, keys={"uar": f"{head.name}_uar"})
    for name, groups in _groups(clips).items():
        found += measure_gaps(
            f"{title}, {name}", chances, truth, groups, least=40, people=clips.speaker
        )
    return found


def _groups(clips: Clips) -> dict[str, np.ndarray]:
    """Return the sex of each clip's speaker, and the age band where it is known."""
    emodb = bool((clips.corpus == EMODB.name).all())
    women = [
        speaker in _WOMEN if emodb else int(speaker.removeprefix("A")) % 2 == 0
        for speaker in clips.speaker
    ]
    groups = {"sex": np.where(women, "women", "men")}
    if emodb:
        young = [_AGES[speaker] < 30 for speaker in clips.speaker]
        groups["age"] = np.where(young, "21 to 26 years", "30 to 35 years")
    return groups


def _measure_average(mine: np.ndarray, other: Path, clips: Clips, cache: Path) -> list[Measured]:
    """Judge the mean of these shared scores and the other tier's on RAVDESS' test actors."""
    shared = columns(HEADS, SHARED.name)
    logits = Answers(other, cache).to(clips, other.name)[:, shared]
    theirs = apply_calibration(read_card(other / CARD_FILE).calibration, logits)
    truth = targets(clips)[:, shared].argmax(axis=1)
    split = f"RAVDESS actors 21-24, shared vocabulary, average with {other.name}"
    found = exclude_ece(measure_single_label(split, (mine + theirs) / 2, truth), "average")
    return [m for m in found if m.metric in {"uar", "ece, average"}]


def _wav(wave: np.ndarray) -> bytes:
    file = BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def _measure_under_noise(
    folder: Path, given: Answers, clips: Clips, calibration: Calibration
) -> list[Measured]:
    """Judge RAVDESS' test actors under white noise, in their labels and as the model ships."""
    part, shared = columns(HEADS, RAVDESS.name), columns(HEADS, SHARED.name)
    truth = targets(clips)[:, part].argmax(axis=1)
    shown = targets(clips)[:, shared].argmax(axis=1)
    found = []
    for level in _NOISES:
        rng = np.random.default_rng(level)
        waves = [
            (wave + rng.standard_normal(len(wave)) * wave.std() * 10 ** (-level / 20))
            for wave in clips.waves
        ]
        noisy = replace(clips, waves=[wave.astype(np.float32) for wave in waves])
        logits = given.to(noisy, f"noise-{level}")[:, part]
        chances = apply_calibration(calibration, logits)
        split = f"RAVDESS actors 21-24, 8 classes, {level} dB over white noise"
        figures = exclude_ece(measure_single_label(split, chances, truth), "disturbed")
        found += [m for m in figures if m.metric in {"uar", "ece, disturbed"}]
        split = f"RAVDESS actors 21-24, as shipped, 7 expressions, {level} dB over white noise"
        media = [_wav(wave) for wave in noisy.waves]
        figures = exclude_ece(measure_as_shipped(split, "voice", folder, media, shown), "disturbed")
        found += [m for m in figures if m.metric in _SHIPPED_METRICS]
    return found
