from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from model_serving.card import read_card
from model_serving.recogniser import load_recogniser
from model_serving.training.splits import emodb_split, ravdess_split
from model_serving.training.voice import (
    RATE,
    augment,
    build_extractor,
    load_clips,
    padded,
    train,
)

ROOT = Path(__file__).parents[2]
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


def test_clips_are_read_by_speaker_and_mapped(tmp_path):
    rows = [("emodb", "03", "boredom"), ("emodb", "15", "happy"), ("ravdess", "A02", "calm")]
    _corpus(tmp_path, rows, 800)
    train, test = load_clips(tmp_path, "emodb", "train"), load_clips(tmp_path, "emodb", "test")
    assert [len(wave) for wave in train.waves] == [800]
    assert train.labels.tolist() == [6]  # boredom counts as neutral
    assert [len(wave) for wave in test.waves] == [1600]
    assert test.labels.tolist() == [3]
    assert load_clips(tmp_path, "ravdess", "test").waves == []


def test_augmented_clips_are_powers_short_enough_and_drawn_by_the_seed():
    power = np.random.default_rng(0).exponential(size=(300, 64)).astype(np.float32)
    heard = augment(power, np.random.default_rng(4))
    assert heard.dtype == np.float32
    assert heard.shape == (130, 64)
    assert np.isfinite(heard).all()
    assert (heard > 0).all()
    assert np.array_equal(heard, augment(power, np.random.default_rng(4)))
    assert not np.array_equal(heard, augment(power, np.random.default_rng(5)))
    assert len(augment(power[:20], np.random.default_rng(6))) in range(17, 25)


def test_extractor_marks_padding():
    batch = padded(build_extractor(), [np.ones(100, np.float32), np.ones(400, np.float32)])
    assert batch["input_values"].shape == (2, 400)
    assert batch["attention_mask"].sum(dim=1).tolist() == [100, 400]


def test_training_writes_a_folder_that_loads(tmp_path):
    speakers = [("ravdess", f"A{n:02d}") for n in (*range(1, 17), 19, 21)]
    speakers += [("emodb", "03")] * 16 + [("emodb", "09"), ("emodb", "15")]
    _corpus(tmp_path, [(*who, ("angry", "sad")[i % 2]) for i, who in enumerate(speakers)], 1500)
    card = train(tmp_path, tmp_path / "model", epochs=1)
    model = load_recogniser("voice", str(tmp_path / "model"), None, "cpu")
    assert model.model_id == card.model_id
    assert [source.rows for source in card.training_data] == [16, 16]
    assert model.estimate(_column([np.ones(9000)])).scores.shape == (1, 7)


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
    assert {"RAVDESS test speakers", "EMO-DB test speakers"} <= {f.split for f in card.figures}


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", ["ravdess", "emodb"])
def test_shipped_model_beats_chance_by_far_on_unheard_speakers(recogniser, corpora, corpus):
    clips = load_clips(corpora, corpus, "test")
    found = recogniser.estimate(_column(clips.waves[::3])).scores.argmax(axis=1)
    labels = clips.labels[::3]
    # By class, so that a model which always says neutral gets one seventh.
    recall = [(found[labels == label] == label).mean() for label in np.unique(labels)]
    assert np.mean(recall) > 0.4
