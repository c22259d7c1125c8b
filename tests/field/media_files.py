"""Files of media as clients make them, from the parameters of a row's ``send``."""

import base64
import gzip
import io
import json
import re
import zlib
from typing import Any
from urllib.parse import quote_from_bytes

import av
import numpy as np
import pyarrow as pa
import soundfile
from PIL import Image, ImageDraw, ImageFilter

from pipelines.sessionlogs.sample_data import SIDE, clips, head
from schemas.vocabularies import EXPRESSIONS

_SNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "float wav": ("WAV", "FLOAT"),
    "raw s16": ("RAW", "PCM_16"),
    "raw f32": ("RAW", "FLOAT"),
    "rf64": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg opus": ("OGG", "OPUS"),
    "ogg vorbis": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}
_BLOCK = (
    rb"(?s)\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x81..[\x00\x80]"  # a SimpleBlock of the first track
)
_PART = b"\r\n--frame\r\nX-Timestamp: 1\r\nContent-Type: image/jpeg\r\n\r\n"
_FFMPEG = {
    "webm opus": ("webm", "libopus"),
    "mkv mp3": ("matroska", "libmp3lame"),
    "mkv pcm": ("matroska", "pcm_s16le"),
    "mp4 aac": ("mp4", "aac"),
    "mov aac": ("mov", "aac"),
    "mov pcm": ("mov", "pcm_s16le"),
    "mov pcm of 24 bits": ("mov", "pcm_s24be"),
    "mov pcm of 8 bits": ("mov", "pcm_u8"),
    "mov pcm of floats": ("mov", "pcm_f32be"),
    "mov mu-law": ("mov", "pcm_mulaw"),
    "mov ac3": ("mov", "ac3"),
    "mp4 opus": ("mp4", "libopus"),
    "aac": ("adts", "aac"),
    "wav of mp3": ("wav", "libmp3lame"),
    "wav of aac": ("wav", "aac"),
    "wav of g722": ("wav", "g722"),
    "ac3": ("ac3", "ac3"),
    "eac3": ("eac3", "eac3"),
    "mp2": ("mp2", "mp2"),
    "latm": ("latm", "aac"),
    "wavpack": ("wv", "wavpack"),
    "tta": ("tta", "tta"),
    "voc": ("voc", "pcm_s16le"),
    "mpegts": ("mpegts", "aac"),
}


def build(send: dict[str, Any]) -> bytes:
    """The value of a record: a file of sound or a picture, or bytes as they are, and wrapped."""
    if "sound" in send:
        media = make_sound(**send["sound"])
    elif "picture" in send:
        media = make_picture(**send["picture"])
    elif "film" in send:
        media = make_film(send["film"])
    elif "joined" in send:
        media = b"".join(map(build, send["joined"]))
    elif "base64" in send:
        media = base64.b64decode(send["base64"])
    else:
        media = str(send["text"]).encode()
    for name in send.get("wrap", ()):
        media = _wrap(media, name)
    return media


def make_sound(
    *,
    form: str = "wav",
    clip: str = "en-joy-1.ogg",
    rate: int = 48_000,
    seconds: float | None = None,
    channels: int = 1,
    level: float = 1.0,
) -> bytes:
    """A clip of the sample, or so many seconds of it over and over, in this format."""
    media = next(each.media for each in clips() if each.name == clip)
    wave, found = soundfile.read(io.BytesIO(media), dtype="float32")
    places = np.arange(0, len(wave) - 1, found / rate)
    wave = np.interp(places, np.arange(len(wave)), wave).astype(np.float32)
    if seconds is not None:
        wave = np.resize(wave, int(seconds * rate))
    sound = np.repeat(level * wave[:, None], channels, axis=1)
    out = io.BytesIO()
    if form in _SNDFILE:
        kind, subtype = _SNDFILE[form]
        soundfile.write(out, sound, rate, format=kind, subtype=subtype)
    else:
        _mux(out, *_FFMPEG[form], sound, rate)
    return out.getvalue()


def _mux(out: io.BytesIO, container: str, codec: str, sound: np.ndarray, rate: int) -> None:
    layout = "mono" if sound.shape[1] == 1 else "stereo"
    whole = np.ascontiguousarray((sound * 32_767).astype(np.int16).reshape(1, -1))
    with av.open(out, "w", format=container) as file:
        track = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout=layout)
        frame.sample_rate = rate
        for packet in (*track.encode(frame), *track.encode(None)):
            file.mux(packet)


def make_film(container: str) -> bytes:
    """A film of ten frames without sound."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        track = file.add_stream("mpeg4" if container == "mp4" else "libvpx", rate=10)
        track.width, track.height, track.pix_fmt = 64, 64, "yuv420p"
        for shade in range(0, 200, 20):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), (shade, 90, 90)))
            file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return out.getvalue()


def make_picture(
    *,
    form: str = "PNG",
    shown: str = "joy",
    who: int = 0,
    size: int = SIDE,
    canvas: tuple[int, int] | None = None,
    beside: float = 0.0,
    light: float = 1.0,
    veil: float = 0.0,
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turned: int = 0,
    mask: tuple[int, int, int] | None = None,
    blur: float = 0.0,
    frames: int = 1,
    **options: Any,
) -> bytes:
    """A rendered head of the sample: tight in the picture, or on a canvas of (width, height).

    ``beside`` is the size of a second head on the canvas, as a share of the first's; ``light``
    multiplies all levels, ``veil`` mixes grey in, ``mask`` is the colour of a mask on the mouth.
    """
    face = _head(shown, who, size, mask)
    image = face
    if canvas is not None:
        image = Image.new("RGB", canvas, (120, 130, 140))
        image.paste(
            face, ((canvas[0] // (3 if beside else 2)) - size // 2, (canvas[1] - size) // 2)
        )
        if beside:
            other = _head("anger", (who + 1) % 13, int(size * beside), None)
            image.paste(other, (2 * canvas[0] // 3, (canvas[1] - other.height) // 2))
    levels = np.asarray(image, np.float32) * light * np.asarray(tint, np.float32)
    levels = levels * (1 - veil) + 150 * veil
    image = Image.fromarray(levels.clip(0, 255).round().astype(np.uint8)).rotate(
        turned, expand=True
    )
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    out = io.BytesIO()
    if frames > 1:
        moving = [image.point(lambda v, n=n: v * n // frames) for n in range(1, frames)]
        options |= {"save_all": True, "append_images": moving}
    image.save(out, format=form, **options)
    return out.getvalue()


def _head(shown: str, who: int, size: int, mask: tuple[int, int, int] | None) -> Image.Image:
    face = Image.fromarray(head(who)[EXPRESSIONS.index(shown), 0]).resize((size, size))
    if mask is not None:
        side = size / 100
        outline = [(22, 58), (50, 50), (78, 58), (76, 82), (50, 96), (24, 82)]
        ImageDraw.Draw(face).polygon([(x * side, y * side) for x, y in outline], fill=tuple(mask))
    return face


def _wrap(media: bytes, name: str) -> bytes:
    text = base64.b64encode(media)
    found = {
        "base64": lambda: text,
        "base64 in lines": lambda: base64.encodebytes(media),
        "base64 of URLs": lambda: base64.urlsafe_b64encode(media).rstrip(b"="),
        "quotes": lambda: json.dumps(media.decode("latin-1")).encode(),
        "image data URL": lambda: b"data:image/png;base64," + text,
        "audio data URL": lambda: b"data:audio/webm;codecs=opus;base64," + text,
        "DATA URL": lambda: b"DATA:;BASE64," + text,
        "hex": lambda: media.hex().encode(),
        "postgres": lambda: b"\\x" + media.hex().encode(),
        "as latin-1": lambda: media.decode("latin-1").encode(),
        "as windows-1252": lambda: media.decode("cp1252", "replace").encode(),
        "as browsers' windows-1252": lambda: _as_browsers(media),
        "as code page 437": lambda: media.decode("cp437").encode(),
        "as ascii": lambda: media.decode("ascii", "replace").encode("ascii", "replace"),
        "without what is not ascii": lambda: media.decode("ascii", "ignore").encode(),
        "in 7 bits": lambda: bytes(byte & 127 for byte in media),
        "as utf-8": lambda: media.decode("utf-8", "replace").encode(),
        "gzip": lambda: gzip.compress(media, mtime=0),
        "json": lambda: json.dumps({"data": text.decode()}).encode(),
        "node buffer": lambda: json.dumps({"type": "Buffer", "data": list(media)}).encode(),
        "python repr": lambda: repr(media[:400]).encode(),
        "half": lambda: media[: len(media) // 2],
        "a third": lambda: media[: len(media) // 3],
        "without the first frame": lambda: media[media.index(b"\xff\xfb", 4) :],
        "without the first page": lambda: media[media.index(b"OggS", 4) :],
        "type without scheme": lambda: b"audio/ogg;base64," + text,
        "no type": lambda: b"base64," + text,
        "no comma": lambda: b"data:audio/ogg;base64" + text,
        "percent signs": lambda: quote_from_bytes(text, safe="").encode(),
        "spaces for plus": lambda: text.replace(b"+", b" "),
        "single quotes": lambda: b"'" + text + b"'",
        "written ends of lines": lambda: base64.encodebytes(media).replace(b"\n", b"\\n"),
        "lines parted by spaces": lambda: base64.encodebytes(media).strip().replace(b"\n", b" "),
        "0X": lambda: b"0X" + media.hex().upper().encode(),
        "hex with spaces": lambda: media.hex(" ").encode(),
        "utf-16": lambda: text.decode().encode("utf-16"),
        "part of MJPEG": lambda: (
            b"\r\n--frame\r\nX-Timestamp: 1\r\nContent-Type: image/jpeg\r\n\r\n" + media
        ),
        "id3 tag": lambda: b"ID3\4\0\0\0\0\0\x20" + bytes(32) + media,
        "zlib": lambda: zlib.compress(media),
        "zstd": lambda: pa.Codec("zstd").compress(media).to_pybytes(),
        "from byte 3000": lambda: media[3000:],
        "half the length": lambda: (
            media[:40]
            + (int.from_bytes(media[40:44], "little") // 4 * 2).to_bytes(4, "little")
            + media[44:]
        ),
        "a tag and zeros behind": lambda: media + bytes(512) + b"TAG" + bytes(125),
        "length of 0": lambda: re.sub(rb"data.{4}", b"data" + bytes(4), media, count=1, flags=re.S),
        "without the head": lambda: media[media.index(b"\x1f\x43\xb6\x75") :],
        "from a block": lambda: media[re.search(_BLOCK, media[300:]).start() + 300 :],
        "no fmt": lambda: media[:12] + b"junk" + media[16:],
    }
    return found[name]()


def _as_browsers(media: bytes) -> bytes:
    """What TextDecoder("windows-1252") makes of bytes, written as UTF-8."""
    chars = (bytes([each]).decode("cp1252", "ignore") or chr(each) for each in media)
    return "".join(chars).encode()
