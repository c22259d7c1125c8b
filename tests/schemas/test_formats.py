"""Formats by their first bytes: what is none of them is taken for none, whatever it begins with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.media.formats import READ, find_format
from tests.field.media_files import make_film, make_sound

SOUNDS = {
    "wav": "wav", "flac": "flac", "ogg opus": "ogg", "mp3": "mp3", "aiff": "aiff", "aac": "aac",
    "webm opus": "webm", "mp4 aac": "mp4", "mov pcm": "mp4", "ac3": "ac3", "eac3": "ac3",
    "mp2": "mp2", "latm": "latm", "wavpack": "wavpack", "tta": "tta", "voc": "voc",
    "mpegts": "mpeg", "au": "au", "caf": "caf", "w64": "w64",
}  # fmt: skip


@pytest.mark.parametrize("form", SOUNDS)
def test_what_encoders_write_is_told(form: str) -> None:
    assert find_format(make_sound(form=form)) == SOUNDS[form]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_every_rate_are_followed(rate: int, channels: int) -> None:
    for form in ("mp3", "aac"):
        assert find_format(make_sound(form=form, rate=rate, channels=channels)) == form


@given(
    st.lists(st.integers(-32_768, 32_767), min_size=400, max_size=400),
    st.sampled_from([-1025, -1029, -3585, -14_593, 640, 9_000, 376, -8_106, 2_815, 0, 1, 256]),
)
def test_raw_samples_are_no_format_that_a_decoder_is_asked_for(
    samples: list[int], first: int
) -> None:
    media = np.array([first, *samples], "<i2").tobytes()
    assert find_format(media) not in {*READ["voice"], *READ["face"], "ico", "numpy", "compressed"}


def test_a_recording_from_any_byte_on_is_a_chunk() -> None:
    for form, name in (("webm opus", "webm_chunk"), ("ogg opus", "ogg_chunk")):
        media = make_sound(form=form)
        for start in range(len(media) // 20, len(media) // 2, 331):
            assert find_format(media[start:]) == name, (form, start)
    film = make_film("webm")
    assert find_format(film) == "webm"


def test_a_tag_before_a_file_is_passed_over() -> None:
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    for form in ("flac", "mp3", "aac"):
        assert find_format(2 * tag + bytes(99) + make_sound(form=form, rate=44_100)) == form
    assert find_format(tag) == "mp3"
