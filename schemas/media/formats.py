"""Formats of media by their first bytes, and the dead-letter code of each that is not read.

Signatures are those of the formats' own specifications. Nothing here decodes anything.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.errors import Code
from schemas.media.mangled import LOST

HEAD: Final = 256
"""Bytes that a format is told by."""

READ: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "voice": ("wav", "flac", "ogg", "mp3", "aiff", "webm", "mp4", "aac"),
        "face": ("jpeg", "png", "webp", "gif", "avif", "heic"),
    }
)
"""Kind of event → the formats that its recogniser decodes."""

_VOICE: Final = "Send WAV, FLAC, Ogg, MP3, AIFF, WebM with Opus or MP4 with AAC to `session.voice`."
_FACE: Final = "Send one JPEG, PNG, WebP, GIF, AVIF or HEIC picture to `session.face`."
_FILE: Final = "Send the media file itself, base64 of it or a `data:` URL."
_WHOLE: Final = "Send a whole file in each event: stop the recorder and start it anew for the next."


def _found(name: str, title: str, cure: str = _FILE) -> tuple[str, str, str]:
    return f"found_{name}", f"{title} was found in place of the topic's media.", cure


class FormatCode(Code):
    """What was found in place of media that a recogniser reads.

    Formats that one topic takes are here for the other topic.
    """

    FOUND_WAV = _found("wav", "A WAV file", _FACE)
    FOUND_FLAC = _found("flac", "A FLAC file", _FACE)
    FOUND_OGG = _found("ogg", "An Ogg file", _FACE)
    FOUND_MP3 = _found("mp3", "An MP3 file", _FACE)
    FOUND_AIFF = _found("aiff", "An AIFF file", _FACE)
    FOUND_WEBM = _found("webm", "A WebM or Matroska file", _FACE)
    FOUND_MP4 = _found("mp4", "An MP4, M4A, 3GP or QuickTime file", _FACE)
    FOUND_AAC = _found("aac", "An AAC stream", _FACE)
    FOUND_JPEG = _found("jpeg", "A JPEG picture", _VOICE)
    FOUND_PNG = _found("png", "A PNG picture", _VOICE)
    FOUND_WEBP = _found("webp", "A WebP picture", _VOICE)
    FOUND_GIF = _found("gif", "A GIF picture", _VOICE)
    FOUND_AVIF = _found("avif", "An AVIF picture", _VOICE)
    FOUND_HEIC = _found("heic", "A HEIC picture", _VOICE)
    FOUND_AMR = _found("amr", "An AMR file", _VOICE)
    FOUND_CAF = _found("caf", "A CAF file", _VOICE)
    FOUND_AU = _found("au", "An AU file", _VOICE)
    FOUND_ASF = _found("asf", "A WMA, WMV or ASF file", _VOICE)
    FOUND_SILK = _found("silk", "A SILK voice message", _VOICE)
    FOUND_W64 = _found("w64", "A Wave64 file", _VOICE)
    FOUND_MIDI = _found("midi", "A MIDI file", _VOICE)
    FOUND_AVI = _found("avi", "An AVI film", _VOICE)
    FOUND_FLV = _found("flv", "An FLV film", _VOICE)
    FOUND_MPEG = _found("mpeg", "An MPEG transport or programme stream", _VOICE)
    FOUND_WEBM_CHUNK = _found("webm_chunk", "A chunk of a WebM recording without its head", _WHOLE)
    FOUND_MP4_FRAGMENT = _found("mp4_fragment", "A fragment of an MP4 without its head", _WHOLE)
    FOUND_OGG_CHUNK = _found("ogg_chunk", "A chunk of an Ogg stream without its head", _WHOLE)
    FOUND_BMP = _found("bmp", "A BMP picture", _FACE)
    FOUND_TIFF = _found("tiff", "A TIFF or raw camera picture", _FACE)
    FOUND_SVG = _found("svg", "An SVG drawing", _FACE)
    FOUND_JXL = _found("jxl", "A JPEG XL picture", _FACE)
    FOUND_JP2 = _found("jp2", "A JPEG 2000 picture", _FACE)
    FOUND_ICO = _found("ico", "An icon file", _FACE)
    FOUND_PSD = _found("psd", "A Photoshop file", _FACE)
    FOUND_PDF = _found("pdf", "A PDF file")
    FOUND_ZIP = _found("zip", "A ZIP archive")
    FOUND_GZIP = _found("gzip", "Gzipped data")
    FOUND_NUMPY = _found("numpy", "A NumPy array or a pickle")
    FOUND_MULTIPART = _found("multipart", "The body of a multipart HTTP request")
    FOUND_HTML = _found("html", "An HTML or XML page")
    FOUND_JSON = _found("json", "JSON")
    FOUND_URL = _found("url", "A URL", "Send it as the attribute `dataref`, with no value.")
    FOUND_BLOB_URL = _found("blob_url", "A browser's own `blob:` URL")
    FOUND_OBJECT_NAME = _found("object_name", "The printed name or form of an object")
    FOUND_MANGLED = _found(
        "mangled",
        "A file whose bytes went through a text encoding, which loses them,",
        "Send bytes with a byte serializer, or base64 of them.",
    )
    FOUND_BASE64 = _found("base64", "Base64 or hexadecimal text of no known media")
    FOUND_TEXT = _found("text", "Plain text")
    FOUND_ZEROS = _found("zeros", "Nothing but zero bytes")
    FOUND_UNKNOWN = _found(
        "unknown",
        "Data of no known format",
        "Send the file with its head; raw samples need a WAV's head, raw pixels a PNG's.",
    )


def explain(code: FormatCode) -> str:
    """Return the detail of a dead letter: what was found, and what to send."""
    what = code.meaning.removesuffix(" in place of the topic's media.")
    return f"{what}: {code.cure[0].lower()}{code.cure[1:-1]}"


_SIGNATURES: Final = {
    "wav": rb"RIF[FX]....WAVE|RF64....WAVE",
    "flac": rb"fLaC",
    "ogg": rb"OggS.[\x02\x03\x06\x07]",
    "jpeg": rb"\xff\xd8\xff",
    "png": rb"\x89PNG\r\n\x1a\n",
    "webp": rb"RIFF....WEBP",
    "gif": rb"GIF8[79]a",
    # A brand that stands for any picture: the compatible brands behind it say which it is.
    "avif": rb"....ftyp(?:avi[fs]|(?:mif1|msf1|miaf).{4}(?:.{4}){0,8}avi[fs])",
    "heic": rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1|miaf)",
    "mp4": rb"....(?:ftyp|moov|mdat|wide|free|skip|pnot)",
    "webm": rb"\x1aE\xdf\xa3",
    "mp3": rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]",
    "aac": rb"\xff[\xf0\xf1\xf8\xf9]",
    "aiff": rb"FORM....AIF[FC]",
    "ogg_chunk": rb"OggS",
    "webm_chunk": rb"\x1f\x43\xb6\x75|\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x81..[\x00\x80]",
    "mp4_fragment": rb"....(?:styp|moof|sidx|emsg)",
    "amr": rb"#!AMR",
    "caf": rb"caff\0",
    "au": rb"\.snd|dns\.",
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "silk": rb"\x02?#!SILK",
    "w64": rb"riff\x2e\x91\xcf\x11",
    "midi": rb"MThd|RIFF....RMID",
    "avi": rb"RIFF....AVI ",
    "flv": rb"FLV\x01",
    "mpeg": rb"\x00\x00\x01[\xb3\xba]|G.{187}G",
    "bmp": rb"BM.{4}\0\0\0\0",
    "tiff": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "svg": rb"(?:\xef\xbb\xbf)?\s*(?:(?:<\?xml|<!DOCTYPE svg|<!--)[^>]*>\s*)*<svg",
    "jxl": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "jp2": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "ico": rb"\0\0[\1\2]\0[^\0]\0",
    "psd": rb"8BPS",
    "pdf": rb"%PDF",
    "zip": rb"PK\x03\x04|PK\x05\x06|7z\xbc\xaf|Rar!",
    "gzip": rb"\x1f\x8b",
    "numpy": rb"\x93NUMPY|\x80[\x02-\x05]",
    "multipart": rb"\s*--[^\r\n]{1,200}\r?\nContent-",
    "html": rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|<\?xml|<error|<!--)",
    "json": rb"(?:\xef\xbb\xbf)?\s*[{\[]\s*[\"\[{\]}0-9tfn-]",
    "url": rb"\s*\"?(?:https?|s3|gs|ftp|file)://",
    "blob_url": rb"\s*\"?blob:",
    "object_name": rb"\s*\"?(?:\[object |(?:undefined|null|None|NaN)\b|b['\"]|<[A-Za-z_.]+ object)",
}
_ANY_CASE: Final = ("svg", "html", "url", "blob_url", "multipart")
_PATTERNS: Final = {
    name: re.compile(signature, re.DOTALL | (re.IGNORECASE if name in _ANY_CASE else re.NOFLAG))
    for name, signature in _SIGNATURES.items()
}


def find_format(media: bytes) -> str:
    """Return the name of the format that media begin as: one of READ or of a FormatCode."""
    head = media[:HEAD]
    for name, pattern in _PATTERNS.items():
        if pattern.match(head):
            return name
    if LOST in head:
        return "mangled"
    if media and not media.strip(b"\0"):
        return "zeros"
    return "unknown"
