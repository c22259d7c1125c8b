from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch

from model_serving.card import read_card
from model_serving.corpora.speakers import emodb_split, ravdess_split
from model_serving.loader import load_recogniser
from model_serving.training.harness import Run
from model_serving.training.heads import SHARED, columns
from model_serving.training.recipe import read_recipe
from model_serving.training.voice.data import (
    EMODB,
    HEADS,
    RATE,
    RAVDESS,
    load_clips,
    targets,
)
from model_serving.training.voice.train import (
    Voices,
    answers_path,
    clips_by_model,
    cross_validate,
    train,
)
from model_serving.voice.net import VoiceStatistics, VoiceStatisticsConfig
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "model_serving" / "weights" / "voice-compact"
EMODB_SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")


def _wav(wave, rate=RATE):
    file = BytesIO()
    soundfile.write(file, wave, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _column(waves):
    return pa.record_batch({"media": pa.array([_wav(wave) for wave in waves])})


def test_every_actor_has_one_split():
    actors = [f"A{number:02d}" for number in range(1, 25)]
    splits = [ravdess_split(actor) for actor in actors]
    assert splits == ["train"] * 18 + ["dev"] * 2 + ["test"] * 4
    assert [emodb_split(s) for s in EMODB_SPEAKERS].count("train") == 7
    assert [emodb_split(s) for s in EMODB_SPEAKERS].count("dev") == 1


def _corpus(data, rows, samples):
    """Write clips of these (dataset, speaker, emotion), the n-th n times as long as the first."""
    (data / "audio").mkdir()
    lines = ["dataset,path,emotion,speaker,lang,seconds,intensity"]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, samples * len(rows))
    for number, (dataset, speaker, emotion) in enumerate(rows):
        path = data / "audio" / f"{number}.flac"
        soundfile.write(path, noise[: samples * (number + 1)], RATE)
        lines.append(f"{dataset},{path.name},{emotion},{speaker},de,0.1,")
    (data / "audio" / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")


def test_clips_are_read_by_speaker_and_asked_in_their_own_labels(tmp_path):
    rows = [("emodb", "03", "boredom"), ("emodb", "15", "happy"), ("ravdess", "A02", "calm")]
    _corpus(tmp_path, rows, 800)
    clips = load_clips(tmp_path)
    assert [len(wave) for wave in clips.waves] == [800, 1600, 2400]
    assert clips.split.tolist() == ["train", "test", "train"]
    assert not (clips.split[clips.corpus == "ravdess"] == "test").any()
    found = targets(clips)
    shared = found[:, columns(HEADS, SHARED.name)].argmax(axis=1)
    assert [EXPRESSIONS[i] for i in shared] == ["neutral", "joy", "neutral"]
    own = columns(HEADS, EMODB.name)
    assert [EMODB.labels[i] for i in found[:2, own].argmax(axis=1)] == ["boredom", "happy"]
    assert np.isnan(found[2, own]).all()
    assert np.isnan(found[0, columns(HEADS, RAVDESS.name)]).all()


def test_rows_are_mixed_with_their_own_corpus_only(tmp_path):
    rows = [("emodb", "03", "sad"), ("emodb", "08", "angry"), ("ravdess", "A02", "calm")]
    _corpus(tmp_path, rows, 800)
    found = targets(load_clips(tmp_path))
    voices = Voices(np.eye(3)[:, None, :], found, rng=np.random.default_rng(1))
    for _ in range(20):
        batch = voices.__getitems__([0, 1, 2])
        assert batch["statistics"][2].tolist() == [0, 0, 1]
        assert torch.equal(batch["labels"].isnan(), torch.from_numpy(np.isnan(found)))
        assert torch.allclose(batch["labels"][:2].nansum(dim=1), torch.full((2,), 2.0))


def _tiny(name, **changed):
    recipe = read_recipe(name)
    schedule = recipe.schedule.model_copy(update={"epochs": 1, "batch": 16})
    net = recipe.net | {"disturbed": 1, "clean": 0.2, "hidden": 16, "encoder": False}
    return recipe.model_copy(update={"schedule": schedule, "net": net, **changed})


def test_training_leaves_speakers_out_teaches_a_pupil_and_writes_a_folder_that_loads(tmp_path):
    speakers = [("ravdess", f"A{n:02d}") for n in (*range(1, 17), 19, 21)]
    speakers += [("emodb", "03")] * 8 + [("emodb", "08")] * 8 + [("emodb", "09")]
    _corpus(tmp_path, [(*who, ("angry", "sad")[i % 2]) for i, who in enumerate(speakers)], 900)
    run = Run(folder=tmp_path / "run", build=tmp_path, quiet=True)
    train(_tiny("voice-base"), tmp_path, tmp_path / "base", run)
    with np.load(answers_path(run.folder, "voice-base")) as found:
        assert sorted(found.files) == ["03", "08", "09", "emodb", "ravdess", "shipped"]
        assert found["03"].shape == (len(speakers), 22)
        assert not np.array_equal(found["03"], found["08"])
    card = train(_tiny("voice-compact"), tmp_path, tmp_path / "model", run)
    model = load_recogniser("voice", str(tmp_path / "model"), None, "cpu")
    assert model.model_id == card.model_id
    assert [source.rows for source in card.training_data] == [16, 16]
    assert model.estimate(_column([np.ones(9000)])).scores.shape == (1, 7)


def test_who_is_left_out_is_not_heard(tmp_path):
    actors = [("ravdess", f"A{n:02d}", "sad") for n in range(1, 25)]
    speakers = [("emodb", name, "angry") for name in ("03", "08", "09", "15")]
    _corpus(tmp_path, [*actors, *speakers], 900)
    clips = load_clips(tmp_path)
    found = {name: set(clips.speaker[heard]) for name, heard in clips_by_model(clips).items()}
    training, learning = {f"A{n:02d}" for n in range(1, 19)}, {"03", "08"}
    assert found.pop("shipped") == training | learning
    assert found.pop("emodb") == training
    assert found.pop("ravdess") == learning
    everyone = {name for _, name, _ in speakers}
    assert found == {name: training | everyone - {name} for name in everyone}


def test_a_pupil_without_its_teachers_answers_is_told(tmp_path):
    _corpus(tmp_path, [("ravdess", "A01", "sad"), ("emodb", "03", "sad")], 900)
    with pytest.raises(AffectstreamError, match="train the teacher"):
        train(_tiny("voice-compact"), tmp_path, tmp_path / "out", Run(folder=tmp_path))
    with pytest.raises(AffectstreamError, match="out in turn: --folds 1"):
        cross_validate(_tiny("voice-base"), tmp_path, Run(folder=tmp_path, folds=5))


def test_statistics_of_a_clip_do_not_hang_on_its_neighbours():
    net = VoiceStatistics(VoiceStatisticsConfig(encoder=True, hidden=8, num_labels=3)).eval()
    waves = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([20_000, 9_000, 700])
    for row, length in enumerate(lengths):
        waves[row, length:] = 0
    with torch.inference_mode():
        together = net.statistics(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = net.statistics(waves[row : row + 1, :length], lengths[row : row + 1])
            assert torch.allclose(together[row], alone[0], atol=2e-3)
    assert together.shape == (3, net.config.features)
    assert torch.isfinite(together).all()


def test_statistics_hear_the_pitch():
    net = VoiceStatistics(VoiceStatisticsConfig(hidden=8, num_labels=3)).eval()
    time = torch.arange(16_000) / RATE
    low, high = (
        sum(torch.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8))
        for pitch in (110, 220)
    )
    with torch.inference_mode():
        found = net.statistics(torch.stack([low, high]), torch.tensor([16_000, 16_000]))
    pitch = found[:, 26 * 10]  # semitones over 100 Hz
    assert pitch[1] - pitch[0] == pytest.approx(12, abs=0.5)
    assert pitch[0] == pytest.approx(12 * np.log2(1.1), abs=0.5)


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser("voice", str(FOLDER), None, "cpu")


def test_shipped_scores_depend_neither_on_padding_nor_on_the_batch(recogniser):
    rng = np.random.default_rng(6)
    waves = [
        0.3 * np.sin(np.arange(n) * f) * rng.uniform(0.2, 1.0, n)
        for n, f in ((900, 0.1), (15_000, 0.05), (40_001, 0.2), (64_000, 0.08))
    ]
    together = recogniser.estimate(_column(waves)).scores
    for row, wave in enumerate(waves):
        alone = recogniser.estimate(_column([wave])).scores[0]
        assert np.abs(alone - together[row]).max() < 1e-4
    assert np.allclose(together.sum(axis=1), 1.0, atol=1e-6)


def test_card_names_licence_and_held_out_speakers():
    card = read_card(FOLDER / "card.json")
    assert card.licence == "research"
    assert "acted" in card.notes
    splits = {figure.split for figure in card.figures}
    assert {"RAVDESS actors 21-24, 8 classes", "EMO-DB, speakers left out, 7 classes"} <= splits


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", ["ravdess", "emodb"])
def test_shipped_model_beats_chance_by_far_on_unheard_speakers(recogniser, corpora, corpus):
    every = load_clips(corpora)
    clips = every.take((every.corpus == corpus) & (every.split == "test"))
    clips = clips.take(np.arange(0, len(clips), 3))
    found = recogniser.estimate(_column(clips.waves)).scores.argmax(axis=1)
    labels = targets(clips)[:, columns(HEADS, SHARED.name)].argmax(axis=1)
    # By class, so that a model which always says neutral gets one seventh.
    recall = [(found[labels == label] == label).mean() for label in np.unique(labels)]
    assert np.mean(recall) > 0.4
