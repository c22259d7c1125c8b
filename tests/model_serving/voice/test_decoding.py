"""Sound in the containers of browsers and telephones: what it costs is bounded."""

import resource
import struct
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from model_serving.voice.decoding import read_sound
from model_serving.voice.joined import split_files
from schemas.errors import DeadLetterCode, UndecodableError
from schemas.media.heads import mp3_length
from tests.field.media_files import make_film, make_sound
from tests.model_serving.mutated import mutated

FORMATS = ["webm opus", "mp4 aac", "mp4 opus", "aac", "mp3", "aiff", "mov pcm"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_clip_is_as_long_and_loud_in_every_format(name: str) -> None:
    plain, _ = read_sound(make_sound(form="wav"))
    found, rate = read_sound(make_sound(form=name))
    assert rate == 48_000
    assert len(found) == pytest.approx(len(plain), abs=0.1 * rate)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1.5
    loud, quiet = (float(np.sqrt(np.square(sound).mean())) for sound in (plain, found))
    assert quiet == pytest.approx(loud, rel=0.2)


@pytest.mark.parametrize("name", ["webm opus", "mp4 aac"])
def test_two_channels_stay_two(name: str) -> None:
    assert read_sound(make_sound(form=name, channels=2))[0].shape[1] == 2


@pytest.mark.parametrize("name", [*FORMATS, "wav", "rf64", "flac", "ogg opus", "ogg vorbis"])
def test_joined_files_are_heard_one_after_the_other(name: str) -> None:
    first, second = (make_sound(form=name, clip=f"en-{clip}-1.ogg") for clip in ("joy", "anger"))
    heard = [read_sound(media)[0] for media in (first, second)]
    found, _ = read_sound(first + second + first)
    if name == "aac":  # a stream that goes on; its last frame flows into the next
        assert len(found) == 2 * len(heard[0]) + len(heard[1])
    else:
        assert np.array_equal(found, np.concatenate([*heard, heard[0]]))


def test_no_more_than_some_files_may_be_joined() -> None:
    short = make_sound(form="flac", seconds=0.05)
    assert len(read_sound(64 * short)[0]) == 64 * len(read_sound(short)[0])
    with pytest.raises(UndecodableError, match="65 files stand one behind the other"):
        read_sound(65 * short)


def _frames_of_mp3(rate: int) -> bytes:
    """The frames alone, without the first, which tells of their number."""
    media = make_sound(form="mp3", rate=rate)
    return media[mp3_length(media[:6]) :]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_of_mp3_are_heard_to_their_end(rate: int, channels: int) -> None:
    """The first frame of a file tells of its length; in a part of a stream it is not there."""
    media = make_sound(form="mp3", rate=rate, channels=channels)
    once, _ = read_sound(media)
    frames = media[mp3_length(media[:6]) :]
    found, found_rate = read_sound(b"ID3\3\0\0\0\0\0\5" + bytes(5) + frames)
    assert (found_rate, found.shape[1]) == (rate, channels)
    assert len(once) < len(found) < len(once) + 3 * 1_152  # a codec's delay at both ends


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_number_of_frames_that_was_not_written_is_counted(rate: int) -> None:
    """An encoder that writes to a pipe leaves it at 0."""
    media = make_sound(form="mp3", rate=rate)
    at = media.index(b"Xing") + 8
    unwritten = media[:at] + bytes(4) + media[at + 4 :]
    assert split_files(unwritten, "mp3") == [unwritten]
    once, found = (len(read_sound(each)[0]) for each in (media, unwritten))
    assert once - 1_152 < found < once + 3 * 1_152


def test_frames_of_mp3_that_follow_a_file_are_heard_or_told() -> None:
    whole, frames = make_sound(form="mp3", rate=44_100), _frames_of_mp3(44_100)
    once, alone = (len(read_sound(media)[0]) for media in (whole, frames))
    assert len(read_sound(whole + frames)[0]) == once + alone
    assert len(read_sound(frames + whole)[0]) == once + alone
    for other in (48_000, 22_050):
        for media in (whole + _frames_of_mp3(other), frames + _frames_of_mp3(other)):
            with pytest.raises(UndecodableError, match="differ in rate or layout"):
                read_sound(media)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_is_one_file(rate: int, channels: int) -> None:
    media = make_sound(form="mp3", rate=rate, channels=channels)
    assert split_files(media, "mp3") == [media]
    assert split_files(b"ID3\3\0\0\0\0\0\5" + bytes(5) + media, "mp3")[1:] == []


def test_tags_between_mp3_files_are_no_sound() -> None:
    media = make_sound(form="mp3", rate=44_100)
    before, behind = b"ID3\3\0\0\0\0\1\0" + bytes(128), b"TAG" + bytes(125)
    once, _ = read_sound(media)
    found, _ = read_sound(2 * (before + media + behind))
    assert np.array_equal(found, np.concatenate([once, once]))


def test_a_long_recording_is_left_after_fifteen_seconds() -> None:
    with pytest.raises(UndecodableError, match="15 s are allowed") as raised:
        read_sound(make_sound(form="webm opus", seconds=60, rate=48_000))
    assert raised.value.code is DeadLetterCode.AUDIO_TOO_LONG


def _set_stsz(media: bytearray) -> None:
    at = media.index(b"stsz") + 4
    media[at : at + 12] = struct.pack(">3I", 0, 1, 0xFFFF_FFF0)


def _set_stsz_of_many(media: bytearray) -> None:
    at = media.index(b"stsz") + 4
    media[at : at + 12] = struct.pack(">3I", 0, 0, 0xFFFF_FFF0)


def _set_stsc(media: bytearray) -> None:
    at = media.index(b"stsc") + 16
    media[at : at + 4] = struct.pack(">I", 0x7FFF_FFFF)


def _add_trun(media: bytearray) -> None:
    media += struct.pack(">I4s4I", 24, b"trun", 0, 0xFFFF_FFF0, 0, 0)


@pytest.mark.parametrize("form", ["mp4 aac", "mov pcm"])
@pytest.mark.parametrize("change", [_set_stsz, _set_stsz_of_many, _set_stsc, _add_trun])
def test_a_table_of_packets_without_end_is_refused_before_it_is_made(
    change: Callable[[bytearray], None], form: str
) -> None:
    media = bytearray(make_sound(form=form))
    change(media)
    tracemalloc.start()
    with pytest.raises(UndecodableError, match=r"packets|samples, 1,440,000 are allowed") as raised:
        read_sound(bytes(media))
    assert raised.value.code is DeadLetterCode.AUDIO_TOO_LONG
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_packets_of_one_sample_end_after_some() -> None:
    media = bytearray(make_sound(form="mov pcm"))
    at = media.index(b"stts") + 12
    media[at : at + 8] = struct.pack(">2I", 122_894, 2)
    with pytest.raises(UndecodableError, match="more than 20,000 packets") as raised:
        read_sound(bytes(media))
    assert raised.value.code is DeadLetterCode.AUDIO_TOO_LONG


FORMS_OF_PCM = ["mov pcm", "mov pcm of 24 bits", "mov pcm of 8 bits", "mov pcm of floats"]


@pytest.mark.parametrize("form", [*FORMS_OF_PCM, "mov mu-law", "mkv pcm"])
def test_pcm_in_a_container_is_the_sound_of_the_wav(form: str) -> None:
    rate = 8_000 if form == "mov mu-law" else 48_000
    plain, _ = read_sound(make_sound(form="wav", rate=rate))
    found, found_rate = read_sound(make_sound(form=form, rate=rate))
    assert found_rate == rate
    assert found.shape == plain.shape
    assert np.abs(found - plain).max() < (0.03 if form == "mov mu-law" else 0.01)


def test_a_film_has_no_sound() -> None:
    with pytest.raises(UndecodableError, match="no sound track"):
        read_sound(make_film("mp4"))


@pytest.mark.parametrize("name", ["webm opus", "mp4 aac", "aac"])
def test_what_lacks_its_package_says_how_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = make_sound(form=name)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UndecodableError, match=r"pip install affectstream\[media\]") as raised:
        read_sound(media)
    assert raised.value.code is DeadLetterCode.DECODER_MISSING


@pytest.mark.parametrize("name", ["webm opus", "mp4 aac", "mp4 opus", "aac", "mp3", "aiff"])
def test_mutated_recordings_give_sound_or_a_code(name: str) -> None:
    """Whatever the bytes, no more than the limits comes out, and no more than one error."""
    plain = make_sound(form=name, seconds=0.4)
    for media in mutated([plain], 300):
        try:
            sound, rate = read_sound(media)
        except UndecodableError:
            continue
        assert np.isfinite(sound).all()
        assert 0 < len(sound) <= 15 * rate
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000  # kB
