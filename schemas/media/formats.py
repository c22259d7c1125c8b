"""Formats of media by their first bytes, and the dead-letter code of each that is not read.

Signatures are those of the formats' own specifications. Nothing here decodes anything.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.errors import Code
from schemas.media.heads import CHECKS, skip_tags
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

_HEAD_TOO: Final = "Send the file with its head; raw samples need a WAV's head, raw pixels a PNG's."


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
    FOUND_AC3 = _found("ac3", "An AC-3 or E-AC-3 stream", _VOICE)
    FOUND_MP2 = _found("mp2", "An MP2 stream", _VOICE)
    FOUND_LATM = _found("latm", "An AAC stream in LATM", _VOICE)
    FOUND_WAVPACK = _found("wavpack", "A WavPack file", _VOICE)
    FOUND_TTA = _found("tta", "A True Audio file", _VOICE)
    FOUND_VOC = _found("voc", "A Creative VOC file", _VOICE)
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
    FOUND_PPM = _found("ppm", "A PPM, PGM or PBM picture", _FACE)
    FOUND_TGA = _found("tga", "A TGA picture", _FACE)
    FOUND_QOI = _found("qoi", "A QOI picture", _FACE)
    FOUND_EXR = _found("exr", "An OpenEXR picture", _FACE)
    FOUND_DDS = _found("dds", "A DDS texture", _FACE)
    FOUND_PSD = _found("psd", "A Photoshop file", _FACE)
    FOUND_PDF = _found("pdf", "A PDF file")
    FOUND_ZIP = _found("zip", "A ZIP archive")
    FOUND_GZIP = _found("gzip", "Gzipped data")
    FOUND_COMPRESSED = _found("compressed", "Data of zlib, Zstandard, LZ4, xz or bzip2")
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
    FOUND_BASE64 = _found("base64", "Base64 or hexadecimal text of no known media", _HEAD_TOO)
    FOUND_TEXT = _found("text", "Plain text")
    FOUND_ZEROS = _found("zeros", "Nothing but zero bytes")
    FOUND_UNKNOWN = _found(
        "unknown",
        "Data of no known format",
        _HEAD_TOO,
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
    "mp3": rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]",
    "mp2": rb"\xff[\xf4\xf5\xfc\xfd]",
    "aac": rb"\xff[\xf0\xf1\xf8\xf9]",
    "aiff": rb"FORM....AIF[FC]",
    "ogg_chunk": rb"OggS",
    "webm_chunk": rb"\x1f\x43\xb6\x75|\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x81..[\x00\x80]",
    "mp4_fragment": rb"....(?:styp|moof|sidx|emsg)",
    "latm": rb"\x56[\xe0-\xff]",
    "ac3": rb"\x0b\x77(?:..[\0-\x25\x40-\x65\x80-\xa5][\x30-\x57]|.{3}[\x58-\x87])",
    "wavpack": rb"wvpk",
    "tta": rb"TTA[12]",
    "voc": rb"Creative Voice File\x1a",
    "amr": rb"#!AMR",
    "caf": rb"caff\0",
    "au": rb"\.snd|dns\.",
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "silk": rb"\x02?#!SILK",
    "w64": rb"riff\x2e\x91\xcf\x11",
    "midi": rb"MThd|RIFF....RMID",
    "avi": rb"RIFF....AVI ",
    "flv": rb"FLV\x01",
    "mpeg": rb"\x00\x00\x01[\xb3\xba]|G.{187}G|.{4}G.{191}G",
    "bmp": rb"BM.{4}\0\0\0\0",
    "tiff": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "svg": rb"(?:\xef\xbb\xbf)?\s*(?:(?:<\?xml|<!DOCTYPE svg|<!--)[^>]*>\s*)*<svg",
    "jxl": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "jp2": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    # Behind the number of icons: no reserved byte, depths that there are, and where the first is.
    "ico": rb"\0\0[\1\2]\0[^\0]\0..[^\xff]\0.{8}[\x06\x16\x26\x36\x46\x56\x66\x76\x86\x96\xa6\xb6"
    rb"\xc6\xd6\xe6\xf6][\0-\x10]\0\0",
    "ppm": rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s|P7\n",
    "qoi": rb"qoif",
    "exr": rb"\x76\x2f\x31\x01",
    "dds": rb"DDS \x7c\0\0\0",
    "psd": rb"8BPS",
    "pdf": rb"%PDF",
    "zip": rb"PK\x03\x04|PK\x05\x06|7z\xbc\xaf|Rar!",
    "gzip": rb"\x1f\x8b\x08",
    "compressed": rb"\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\xfd7zXZ\0|BZh[1-9]1AY",
    "zlib": rb"x[\x01\x5e\x9c\xda]",
    "numpy": rb"\x93NUMPY|\x80[\x04\x05]\x95|\x80[\x02\x03][(c\]}]",
    "multipart": rb"\s*--[^\r\n]{1,100}\r?\n(?:[A-Za-z-]{1,40}:[^\r\n]{0,99}\r?\n){0,8}Content-",
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
    behind = skip_tags(media)
    head = behind[:HEAD]
    for name, pattern in _PATTERNS.items():
        if pattern.match(head) and (name not in CHECKS or CHECKS[name](behind)):
            return "compressed" if name == "zlib" else name
    if behind is not media:
        return "mp3"
    if LOST in head:
        return "mangled"
    if media and not media.strip(b"\0"):
        return "zeros"
    return _find_inside(media)


def _find_inside(media: bytes) -> str:
    """Return what a part of a file is of, by what stands within or at its end."""
    if media.endswith(b"TRUEVISION-XFILE.\0"):
        return "tga"
    if b"OggS\0" in media and not _OGG_HEAD.search(media):
        return "ogg_chunk"
    if _MP4_FRAGMENT in media:
        return "mp4_fragment"
    some = media[:_SEARCHED]
    for found in _BLOCK.finditer(some):
        place = found.start()
        for _ in range(_BLOCKS):
            block = _BLOCK.match(some, place)
            if block is None:
                break
            size = int.from_bytes(block[1]) & (0x7F if len(block[1]) == 1 else 0x3FFF)
            place += 1 + len(block[1]) + size
        else:
            return "webm_chunk"
    return "unknown"


_OGG_HEAD: Final = re.compile(rb"OggS\0[\x02\x03\x06\x07]")
_MP4_FRAGMENT: Final = b"moof\0\0\0\x10mfhd"
_BLOCK: Final = re.compile(rb"\xa3([\x85-\xfe]|[\x40-\x7f].)\x81..[\x00\x80]", re.DOTALL)
"""A block of the first track of WebM, by its size."""
_BLOCKS: Final = 3
"""Blocks that stand one behind the other in a chunk; by chance one in 10^20 bytes does so."""
_SEARCHED: Final = 1 << 12
