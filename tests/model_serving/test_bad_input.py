"""What bad payloads get: an abstained observation with a code, or a dead letter, in time."""

import io
import json
import struct
import time
import unicodedata
import zlib

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image

from model_serving.handler import RecogniserHandler
from model_serving.loader import load_recogniser
from model_serving.text.language import EMOJI
from pipelines.config import WEIGHTS
from schemas.arrow import vector_column, vectors
from schemas.errors import DeadLetterCode, QualityCode
from schemas.events import EMBEDDING_WIDTH
from schemas.media.formats import FormatCode
from schemas.modalities import MOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS
from tests.model_serving.mutated import mutated
from tests.support import model_folders as folders

MUTATIONS = 10_000
DETECTED = 300  # of them go through the detector, at 10 ms each and more
RNG = np.random.default_rng(20_261_123)


@pytest.fixture(scope="module")
def models():
    return {
        name: load_recogniser(name, str(WEIGHTS / f"{name}-compact"), None, "cpu")
        for name in ("text", "voice", "face", "motion")
    }


def _wav(wave, rate=16_000):
    file = io.BytesIO()
    soundfile.write(file, np.asarray(wave, np.float32), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _image(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def _noise(width, height):
    return Image.fromarray(RNG.integers(0, 255, (height, width), np.uint8))


def _bomb():
    """A PNG of 60 kB whose header tells of 30,000 x 30,000 pixels."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(30_001) * 2000, 9)
    chunks = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _scans(count):
    """A progressive JPEG of 4096 x 4096 pixels that goes over them again and again."""
    plain = _image(Image.new("L", (4096, 4096), 90), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    return plain[:-2] + last * count + plain[-2:]


def _media(model, payloads):
    return model.estimate(pa.record_batch({"media": pa.array(payloads, pa.binary())}))


@pytest.mark.parametrize(
    ("wave", "code"),
    [
        (np.zeros(48_000), QualityCode.NO_SPEECH),
        (np.sin(np.arange(1600) * 0.2), QualityCode.TOO_SHORT),
        (np.zeros(1), QualityCode.TOO_SHORT),
        (np.sign(np.sin(np.arange(48_000) * 0.2)), QualityCode.NO_SPEECH),
    ],
)
def test_sound_without_a_voice_is_abstained_on_with_a_code(models, wave, code):
    found = _media(models["voice"], [_wav(wave)])
    assert found.codes == (code,)
    assert found.scores.max() == pytest.approx(1 / 7)
    assert found.scores.max() < models["voice"].threshold


@pytest.mark.parametrize(
    ("rate", "near"), [(44_101, 44_100), (383_999, 384_000), (8_001, 8_000), (15_984, 16_000)]
)
def test_an_odd_rate_is_heard_as_the_next_one_in_its_time_and_space(models, rate, near):
    """Its filter bank would take 2.8 GB at 44,101 Hz."""
    wave = np.sin(np.arange(rate // 2) * 900 / rate) * 0.3
    odd, even = (_media(models["voice"], [_wav(wave, r)]).scores for r in (rate, near))
    assert np.abs(odd - even).max() < 1e-3
    plain = _seconds(models["voice"], _wav(wave, near))
    assert _seconds(models["voice"], _wav(wave, rate)) < 3 * plain


@pytest.mark.parametrize("rate", [1, 999, 384_001])
def test_a_rate_that_no_voice_has_is_a_dead_letter(models, rate):
    found = _media(models["voice"], [_wav(np.zeros(2000), rate)])
    assert [str(failure.code) for failure in found.failures] == ["audio_undecodable"]


@pytest.mark.parametrize("size", [(640, 480), (700, 96), (20_000, 100), (3000, 3000)])
def test_an_image_without_a_face_is_abstained_on_with_a_code(models, size):
    found = _media(models["face"], [_image(Image.new("RGB", size, (20, 90, 40)))])
    assert found.codes == (QualityCode.NO_FACE,)
    assert found.scores.max() < models["face"].threshold


@pytest.mark.parametrize(
    "payload",
    [
        _image(Image.new("1", (20_000, 20_000))),
        _bomb(),
        _image(_noise(64, 64), "WEBP", save_all=True, append_images=[_noise(64, 64)]),
        _image(_noise(64, 64), save_all=True, append_images=[_noise(64, 64)]),
        b"",
        b"\xff\xd8\xff",
    ],
    ids=["20,000 pixels", "bomb", "animated WebP", "animated PNG", "nothing", "a bare header"],
)
def test_an_image_that_is_none_is_a_dead_letter(models, payload):
    found = _media(models["face"], [payload, _image(_noise(48, 48))])
    assert [failure.row for failure in found.failures] == [0]
    assert found.rows.tolist() == [1]


def test_blendshapes_that_are_no_numbers_fail_alone(models):
    frames = np.zeros((5, len(MOTION_FEATURES)), np.float32)
    frames[1, 3], frames[3, 0] = np.nan, np.inf
    found = models["motion"].estimate(pa.record_batch({"weights": vector_column(frames)}))
    assert found.rows.tolist() == [0, 2, 4]
    assert [failure.row for failure in found.failures] == [1, 3]


_SOUNDS = (
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
)


def _voices():
    wave = np.sin(np.arange(3200) * 0.1) * 0.3
    found = [_wav(wave)]
    for form, subtype in _SOUNDS:
        file = io.BytesIO()
        soundfile.write(file, wave, 16_000, format=form, subtype=subtype)
        found.append(file.getvalue())
    return found


def _payloads(name):
    """Return MUTATIONS mutated payloads of a modality."""
    if name == "motion":
        frames = RNG.normal(0, 1, (MUTATIONS, len(MOTION_FEATURES))).astype(np.float32)
        strange = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45], np.float32)
        rows, columns = RNG.integers(MUTATIONS, size=4000), RNG.integers(55, size=4000)
        frames[rows, columns] = RNG.choice(strange, 4000)
        return frames.tolist()
    if name == "text":
        seeds = [
            "I am so happy!",
            "我很生气",
            "\u202e😀🥺👩‍👩‍👧 \0 x",
            "a" * 2000,
            json.dumps({"a": 1}),
        ]
        found = mutated([seed.encode() for seed in seeds], MUTATIONS)
        return [data.decode("utf-8", "replace") for data in found]
    if name == "voice":
        return mutated(_voices(), MUTATIONS)
    forms = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")
    small = [_image(_noise(32, 32), form) for form in forms]
    large = [_image(_noise(128, 112), form) for form in forms]  # the detector looks for a face
    return mutated(small, MUTATIONS - DETECTED) + mutated(large, DETECTED)


@pytest.mark.parametrize("name", ["text", "voice", "face", "motion"])
def test_ten_thousand_mutated_payloads_give_sound_rows_or_dead_letters(name):
    handler = RecogniserHandler(modality=name, model=str(WEIGHTS / f"{name}-compact"))
    model, payloads, seen = handler.load_model(), _payloads(name), 0
    for at in range(0, MUTATIONS, 500):
        events = folders.events(name, payloads[at : at + 500])
        (found,) = handler.run_inference([events], model)
        rows, letters = found.observations, found.dead_letters
        lost = [f"event-{offset - 100}" for offset in letters["offset"].to_pylist()]
        assert sorted([*rows["event_id"].to_pylist(), *lost]) == sorted(
            events["event_id"].to_pylist()
        )
        assert set(letters["code"].to_pylist()) <= {*DeadLetterCode, *FormatCode}
        scores = vectors(rows["scores"], len(EXPRESSIONS))
        assert np.isfinite(scores).all()
        assert np.allclose(scores.sum(axis=1), 1.0, atol=1e-5)
        assert np.isfinite(vectors(rows["embedding"], EMBEDDING_WIDTH)).all()
        seen += events.num_rows
    assert seen == MUTATIONS


def _seconds(model, payload, column="media"):
    kind = pa.binary() if column == "media" else pa.string()
    batch = pa.record_batch({column: pa.array([payload] * 4, kind)})
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        model.estimate(batch)
        best = min(best, time.process_time() - start)
    return best


def test_no_bad_item_takes_three_times_the_time_of_a_sound_one(models):
    crowd = _noise(640, 480)
    flat = Image.new("L", (640, 480), 90)
    sound = _seconds(models["face"], _image(flat))
    for picture in (crowd, Image.new("L", (480, 640))):
        assert _seconds(models["face"], _image(picture)) < 3 * sound
    wave = np.sin(np.arange(48_000) * 0.05) * (1 + np.sin(np.arange(48_000) * 0.002))
    voice = _seconds(models["voice"], _wav(wave / 4))
    for bad in (np.zeros(48_000), np.sign(wave), RNG.normal(0, 0.1, 48_000), np.ones(48_000)):
        assert _seconds(models["voice"], _wav(bad)) < 3 * voice
    line = "I am so happy that we won today! "
    text = _seconds(models["text"], (line * 304)[:10_000], "text")
    emoji = "".join(EMOJI) * 3
    marks = sorted(filter(unicodedata.combining, map(chr, range(0x300, 0x1ABF))),
                   key=unicodedata.combining, reverse=True)  # fmt: skip
    stacked = "".join(marks * 10)[:4_000]
    for bad in (
        "a" * 10_000,
        " " * 10_000,
        "\u0301" * 10_000,
        "\ufdfa" * 10_000,
        emoji[:10_000],
        stacked,
    ):
        assert _seconds(models["text"], bad, "text") < 3 * text


def test_what_looks_like_scans_beside_a_jpegs_own_is_none(models):
    """A motion photo has a film behind its picture, and comments may hold any bytes."""
    plain = _image(_noise(48, 48), "JPEG", comment=b"\xff\xda" * 100) + b"\xff\xda" * 100
    assert _media(models["face"], [plain]).failures == ()


def test_a_flac_that_does_not_tell_its_length_is_a_dead_letter_that_says_so(models):
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(32_000) * 0.05) * 0.3, 16_000, format="FLAC")
    told = bytearray(file.getvalue())
    told[21] &= 0xF0  # the low half of a byte and the next four are the number of samples
    told[22:26] = bytes(4)
    (failure,) = _media(models["voice"], [bytes(told)]).failures
    assert str(failure.code) == "audio_undecodable"
    assert "gives no length" in failure.detail


def test_silence_in_many_channels_is_a_dead_letter(models):
    file = io.BytesIO()
    soundfile.write(file, np.zeros((3_000_000, 8), np.float32), 384_000, format="FLAC")
    found = _media(models["voice"], [file.getvalue()])
    assert [str(failure.code) for failure in found.failures] == ["audio_too_long"]


def test_no_huge_image_takes_three_times_the_time_of_a_sound_one(models):
    """Refused or shrunk, each costs less than a plain image of the most pixels that are allowed."""
    sound = _seconds(models["face"], _image(Image.new("L", (4096, 4096), 90)))
    strip, square = Image.new("L", (20_000, 800)), Image.new("1", (20_000, 20_000))
    moving = [Image.new("L", (1000, 1000), shade) for shade in range(16)]
    bad = [_image(strip), _image(square), _bomb(), _scans(5000),
           _image(moving[0], save_all=True, append_images=moving[1:])]  # fmt: skip
    for payload in bad:
        assert _seconds(models["face"], payload) < 3 * sound
