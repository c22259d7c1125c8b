"""Decoding of sound files: what would take long, or much memory, is refused first.

libsndfile reads WAV, FLAC, Ogg, MP3 and AIFF. WebM, MP4 and AAC, which browsers and telephones
record, are read by FFmpeg through PyAV, of the extra ``media``.
"""

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from types import ModuleType
from typing import Any, Final, NoReturn

import numpy as np
import soundfile

from model_serving.voice.joined import split_files
from model_serving.voice.mp3 import add_frame_count
from model_serving.voice.wav import check_length, explain_wav
from schemas.errors import DeadLetterCode, UndecodableError
from schemas.media.formats import find_format

MAX_SECONDS: Final = 15.0
RATES: Final = range(1_000, 384_001)
MAX_CHANNELS: Final = 8
_UNKNOWN_LENGTH = 2**62  # frames: libsndfile says more of a FLAC that was written to a pipe
_MOST_SAMPLES = int(MAX_SECONDS) * RATES[-1]
_READ_BY_SNDFILE: Final = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"}
_CONTAINERS: Final = {"webm": "matroska", "mp4": "mov", "aac": "aac"}
"""Format → FFmpeg's demuxer, which is named to it: no other is tried on the bytes."""
_CODECS: Final = ("opus", "vorbis", "aac", "mp3", "mp3float", "flac", "alac", "amrnb", "amrwb",
           "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le",
           "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_mulaw",
           "pcm_alaw")  # fmt: skip
_LIMITS: Final = {
    "codec_whitelist": ",".join((*_CODECS, "libopus", "libvorbis")),
    "format_whitelist": ",".join(_CONTAINERS.values()),
    "protocol_whitelist": "",
    "probesize": "65536",
    "max_streams": "8",
}
_MOST_FILES: Final = 64
"""Files that are read one behind the other: each is opened anew."""
_COUNTS: Final = re.compile(rb"(stsz|stz2|trun)(.{12})", re.DOTALL)
_CHUNKS: Final = re.compile(rb"(?:stco|co64).{4}(.{4})", re.DOTALL)
_CHUNK_SIZES: Final = re.compile(rb"stsc.{4}(.{4})", re.DOTALL)
_MOST_PACKETS: Final = 20_000  # of 15 s: AAC at 96 kHz has 1,400, Opus of 2.5 ms 6,000
_MOST_ALIKE: Final = 1_440_000
"""Samples of one size, as PCM has them: 15 s at 96 kHz. FFmpeg sets aside 24 bytes for each."""
_AT_ONCE: Final = 1_024
"""Samples of PCM that FFmpeg makes one packet of."""


def read_sound(media: bytes) -> tuple[np.ndarray, int]:
    """Return the sound (samples, channels) as float32, and its rate; 15 s at most.

    Files that stand one behind the other are read as one. Raises UndecodableError.
    """
    name = find_format(media)
    files = split_files(media, name)
    if len(files) > _MOST_FILES:
        detail = f"{len(files)} files stand one behind the other, {_MOST_FILES} are allowed"
        _refuse(DeadLetterCode.AUDIO_UNDECODABLE, detail)
    sound, rate = _read_files(files, name)
    if not len(sound):
        _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the file holds no sound")
    if not np.isfinite(sound).all():
        _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "a sample is not a finite number")
    return sound, rate


def _read_files(files: list[bytes], name: str) -> tuple[np.ndarray, int]:
    parts: list[np.ndarray] = []
    count, rate = 0, 0
    for file in files:
        part, found = _read_file(file, name)
        if not len(part):  # an initialisation segment, which comes before each of its fragments
            continue
        if parts and (found, part.shape[1]) != (rate, parts[0].shape[1]):
            detail = "the joined files differ in rate or layout: send each in an event of its own"
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, detail)
        rate = found
        count += len(part)
        _check_length(count, rate, part.shape[1])
        parts.append(part)
    if len(parts) == 1:
        return parts[0], rate
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), rate


def _read_file(media: bytes, name: str) -> tuple[np.ndarray, int]:
    if name in _CONTAINERS:
        return _read_by_ffmpeg(media, name)
    if name == "wav":
        return _read_wav(media)
    return _read_by_sndfile(add_frame_count(media) if name == "mp3" else media)


def _read_wav(media: bytes) -> tuple[np.ndarray, int]:
    try:
        sound, rate = _read_by_sndfile(media)
    except UndecodableError as error:
        why = explain_wav(media)
        if why is None or error.code is not DeadLetterCode.AUDIO_UNDECODABLE:
            raise
        raise UndecodableError(DeadLetterCode.AUDIO_UNDECODABLE, why) from error
    if why := check_length(media) if len(sound) else explain_wav(media):
        _refuse(DeadLetterCode.AUDIO_UNDECODABLE, why)
    return sound, rate


def _read_by_sndfile(media: bytes) -> tuple[np.ndarray, int]:
    try:
        with soundfile.SoundFile(BytesIO(media)) as audio:
            if audio.format not in _READ_BY_SNDFILE:
                _refuse(
                    DeadLetterCode.AUDIO_UNDECODABLE, "the file is not WAV, AIFF, FLAC, Ogg or MP3"
                )
            _check_layout(audio.samplerate, audio.channels)
            if audio.frames >= _UNKNOWN_LENGTH:
                detail = "the header gives no length: an encoder that writes to a pipe can't know"
                _refuse(DeadLetterCode.AUDIO_UNDECODABLE, detail)
            _check_length(audio.frames, audio.samplerate, audio.channels)
            most = -1 if audio.format == "MP3" else audio.frames  # GSM can't be sought for the end
            sound = audio.read(most, dtype="float32", always_2d=True)
            if len(sound) < audio.frames and audio.format != "MP3":  # of which that is a guess
                detail = "the audio ends before its header says: the file was cut off"
                _refuse(DeadLetterCode.AUDIO_UNDECODABLE, detail)
            return sound, audio.samplerate
    except soundfile.LibsndfileError as error:  # its words are fixed, without what is in the file
        words = error.error_string.removeprefix("Error : ").rstrip(". ")
        detail = f"libsndfile says: {words}: the file is broken or was cut off"
        raise UndecodableError(DeadLetterCode.AUDIO_UNDECODABLE, detail) from error


def _read_by_ffmpeg(media: bytes, name: str) -> tuple[np.ndarray, int]:
    av = _import_av(name)
    _check_counts(media, name)
    try:
        return _decode_track(av, media, _CONTAINERS[name])
    except av.FFmpegError as error:  # its words are fixed, too, but the file's name
        detail = f"FFmpeg says: {error.strerror}: the {name} file is broken or was cut off"
        raise UndecodableError(DeadLetterCode.AUDIO_UNDECODABLE, detail) from error


def _import_av(name: str) -> ModuleType:
    try:
        import av  # noqa: PLC0415 - an extra, whose absence it explains
    except ImportError as error:
        detail = f"to read {name} install the extra: pip install affectstream[media]"
        raise UndecodableError(DeadLetterCode.DECODER_MISSING, detail) from error
    av.logging.set_level(None)
    return av


def _decode_track(av: Any, media: bytes, container: str) -> tuple[np.ndarray, int]:
    """Decode the first sound track, packet by packet, up to the limit."""
    with av.open(
        BytesIO(media), format=container, options=_LIMITS, metadata_errors="ignore"
    ) as file:
        if not file.streams.audio:
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the file has no sound track")
        track = file.streams.audio[0]
        if track.codec_context is None or track.codec_context.name not in _CODECS:
            detail = "the sound is of an unusual codec: encode it as Opus or AAC"
            _refuse(DeadLetterCode.AUDIO_UNDECODABLE, detail)
        track.codec_context.thread_count = 1
        parts: list[np.ndarray] = []
        count, rate, channels = 0, 0, 0
        for frame in _decode_packets(file, track):
            part = _samples(frame)
            if not parts:
                rate, channels = frame.sample_rate, part.shape[1]
                _check_layout(rate, channels)
            elif (frame.sample_rate, part.shape[1]) != (rate, channels):
                _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the rate or layout changes on the way")
            count += len(part)
            _check_length(count, rate, channels)
            parts.append(part)
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32), rate


def _decode_packets(file: Any, track: Any) -> Iterator[Any]:
    """Yield the frames of a track, up to a number of packets: some give no frame."""
    for number, packet in enumerate(file.demux(track)):
        if number > _MOST_PACKETS:
            detail = f"the file has more than {_MOST_PACKETS:,} packets"
            _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)
        yield from packet.decode()


def _samples(frame: Any) -> np.ndarray:
    """Return a frame's samples (n, channels) as float32 at most 1 in size."""
    found = frame.to_ndarray()
    if not frame.format.is_planar:
        found = found.reshape(-1, len(frame.layout.channels)).T
    if found.dtype.kind == "u":  # 8 bits, whose middle is 128
        found = found.astype(np.float32) / 128 - 1
    elif found.dtype.kind == "i":
        found = found / np.float32(-float(np.iinfo(found.dtype).min))
    return np.ascontiguousarray(found.T, np.float32)


def _check_counts(media: bytes, name: str) -> None:
    """Refuse an MP4 whose tables tell of packets without end.

    Tables of packets of one size, and of chunks, have few entries: FFmpeg would set aside 24 bytes
    for each of up to 4 billion packets.
    """
    if name != "mp4":
        return
    alike = 0
    for found in _COUNTS.finditer(media):
        _, second, third = struct.unpack(">3I", found[2])
        count = second if found[1] == b"trun" else third
        if found[1] == b"stsz" and second:
            alike += count
        elif count > _MOST_PACKETS:
            detail = f"a table tells of {count:,} packets, {_MOST_PACKETS:,} are allowed"
            _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)
    packets = _count_packets(media)
    if alike > _MOST_ALIKE or packets > _MOST_PACKETS:
        detail = (
            f"the tables tell of {max(alike, packets * _AT_ONCE):,} samples, {_MOST_ALIKE:,} are "
            "allowed: 15 s at 96 kHz"
        )
        _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)


def _count_packets(media: bytes) -> int:
    """Return the most packets that FFmpeg may make of the chunks of PCM that the tables name."""
    chunks = sum(int.from_bytes(found[1]) for found in _CHUNKS.finditer(media))
    largest = 0
    for found in _CHUNK_SIZES.finditer(media):
        entries = media[found.end() : found.end() + 12 * int.from_bytes(found[1])]
        sizes = np.frombuffer(entries[: len(entries) // 12 * 12], ">u4").reshape(-1, 3)[:, 1]
        largest = max(largest, int(sizes.max(initial=0)))
    return chunks * -(-largest // _AT_ONCE)


def _check_layout(rate: int, channels: int) -> None:
    if rate not in RATES or not 1 <= channels <= MAX_CHANNELS:
        _refuse(DeadLetterCode.AUDIO_UNDECODABLE, "the header names an absurd rate or layout")


def _check_length(frames: int, rate: int, channels: int) -> None:
    if frames > MAX_SECONDS * rate:
        detail = f"{frames / rate:.1f} s of audio, {MAX_SECONDS:.0f} s are allowed"
        _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)
    if frames * channels > _MOST_SAMPLES:  # silence packs 46 million in some kB
        detail = f"more than {_MOST_SAMPLES:,} samples in all its channels"
        _refuse(DeadLetterCode.AUDIO_TOO_LONG, detail)


def _refuse(code: DeadLetterCode, detail: str) -> NoReturn:
    raise UndecodableError(code, detail)
