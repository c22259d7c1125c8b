"""Decoding of still images: what would take long, or much memory, is refused first."""

import re
import struct
from io import BytesIO
from typing import Any, Final, NoReturn

import numpy as np
from PIL import AvifImagePlugin, Image, PngImagePlugin, UnidentifiedImageError

from schemas.errors import DeadLetterCode, UndecodableError
from schemas.media.formats import find_format

MAX_PIXELS: Final = 4096 * 4096
_MOST_PER_BYTE = 1032  # bytes of pixels a byte of file: the most that deflate, so a PNG, packs
_FREE = 2**20  # bytes of pixels whatever the size of the file: black WebP has 1,700 for 1280 x 720
_LARGE = 1024  # pixels of a side: more shows no more of a face than is used
_BEHIND = (128, 128, 128)  # what is seen through a transparent picture
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
_MOST_SCANS = 16  # of a progressive JPEG; encoders write about ten, and each goes over all blocks
_MOST_SEGMENTS = 1_000
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # in coded data only 00 and RST follow FF
_EXIF = b"Exif\0\0"
_EXIF_MARKS: Final = {
    b"\xff\xd8": _EXIF,
    b"\x89P": b"eXIf",
    b"RI": b"EXIF",
}  # by a file's beginning
_MOST_EXIF = 65_536
_WEBP_ANIMATED = 0x02
_ORIENTATION = 0x112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PngImagePlugin.MAX_TEXT_MEMORY = 1024 * 1024  # of all text chunks, inflated; 64 times that before
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # rows are decoded side by side


def decode_image(media: bytes) -> Image.Image:
    """Decode a still JPEG, PNG, WebP, GIF, AVIF or HEIC file of at most 4096 x 4096 pixels.

    It comes upright, in grey or RGB. HEIC takes the extra ``media``. Raises UndecodableError.
    """
    try:
        image = _decode_heic(media) if find_format(media) == "heic" else _decode(media)
    except (UnidentifiedImageError, SyntaxError):
        _refuse("the head of the file is broken")
    except OSError as error:
        if "truncated" not in str(error).lower():
            raise
        _refuse("the file ends before its last pixel: it was cut off")
    if max(image.size) > _LARGE:
        image.thumbnail((_LARGE, _LARGE), Image.Resampling.BOX)
    return image


def _decode(media: bytes) -> Image.Image:
    if media[:4] == b"RIFF":
        _check_webp(media)
    orientation = _read_orientation(media)
    if media.count(b"iCCP") > 1:  # each inflates to a megabyte
        _refuse("the PNG has more than one colour profile")
    with Image.open(BytesIO(_without_exif(media)), formats=_FORMATS) as image:
        # The header gives the size: a bomb is refused before anything is inflated.
        _check_size(image, media)
        # A camera's MPO is a JPEG with others behind it: the first is a still.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            _refuse("the image is animated: send one frame")
        if image.format in {"JPEG", "MPO"} and _count_scans(media) > _MOST_SCANS:
            _refuse(f"the JPEG has more than {_MOST_SCANS} scans")
        if image.format == "AVIF":  # which has a box of its own for it
            orientation = image.getexif().get(_ORIENTATION, 1)
        image.draft(None, (_LARGE, _LARGE))  # a JPEG is decoded at a half, quarter or eighth
        image.load()
        found = _to_grey_or_colour(image)
    return found.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else found


def _decode_heic(media: bytes) -> Image.Image:
    """Decode the main picture of a HEIC file, which libheif turns upright."""
    try:
        import pi_heif  # noqa: PLC0415 - an extra, whose absence it explains
    except ImportError as error:
        detail = "to read HEIC install the extra: pip install affectstream[media]"
        raise UndecodableError(DeadLetterCode.DECODER_MISSING, detail) from error
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = False
    try:
        file = pi_heif.open_heif(BytesIO(_without_exif(media)), convert_hdr_to_8bit=True)
        _check_size(file, media)
        return _to_grey_or_colour(file.to_pillow())
    except (ValueError, EOFError, RuntimeError) as error:  # libheif's, of what is broken
        detail = "libheif finds the HEIC broken or cut off"
        raise UndecodableError(DeadLetterCode.IMAGE_UNDECODABLE, detail) from error


def _check_size(image: Any, media: bytes) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        _refuse("the image has more than 4096 x 4096 pixels")
    _check_packing(
        width * height * (len(image.getbands()) if hasattr(image, "getbands") else 3), len(media)
    )


def _without_exif(media: bytes) -> bytes:
    """Return the file with its EXIF under another name.

    Pillow and libheif's wrapper would read, and copy, all that its fields point at: of a JPEG the
    fields of all its segments.
    """
    if media[:2] == b"\xff\xd8":
        return media.replace(_EXIF, b"None\0\0")
    return media.replace(b"Exif", b"None") if media[4:8] == b"ftyp" else media


def _check_webp(media: bytes) -> None:
    """Refuse what a WebP's first chunk tells: Pillow's opening sets aside two canvases of it.

    A frame that is larger than the canvas is libwebp's to refuse; it decodes none.
    """
    kind, body = media[12:16], media[20:30]
    if kind == b"VP8X" and len(body) == 10:
        if body[0] & _WEBP_ANIMATED:
            _refuse("the image is animated: send one frame")
        width, height = (1 + int.from_bytes(body[i : i + 3], "little") for i in (4, 7))
    elif kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and len(body) == 10:
        width, height = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    else:
        _refuse("the WebP does not begin with a picture")
    if width * height > MAX_PIXELS:
        _refuse("the image has more than 4096 x 4096 pixels")
    _check_packing(width * height * 3, len(media))


def _check_packing(decoded: int, size: int) -> None:
    """Refuse a file that would unpack to more than any PNG of its size: 34 bytes to 67 MB."""
    if decoded > _FREE + _MOST_PER_BYTE * size:
        _refuse(f"{size:,} bytes of file for {decoded:,} bytes of pixels: no face is packed so")


def _to_grey_or_colour(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow would cut them off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    kind = "L" if image.mode in {"1", "L", "LA"} else "RGB"
    if not image.has_transparency_data:
        return image.convert(kind)
    # Small first: at full size three copies of four bytes a pixel would stand beside one another.
    image.thumbnail((_LARGE, _LARGE), Image.Resampling.BOX)
    seen = Image.new("RGBA", image.size, _BEHIND)
    seen.alpha_composite(image.convert("RGBA"))
    return seen.convert(kind)


def _read_orientation(media: bytes) -> int:
    """Return how the camera was held, 1 to 8, by the first EXIF block; 1 where none says."""
    mark = _EXIF_MARKS.get(media[:2])
    place = media.find(mark) if mark else -1
    if mark is None or place < 0:
        return 1
    start = place + len(mark) + (4 if mark == b"EXIF" else 0)  # WebP's chunk tells its size first
    block = media[start : start + _MOST_EXIF].removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    field = struct.Struct(
        f"{order}HHIH"
    )  # tag, type, count, value: of a short, its first two bytes
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        fields = [field.unpack_from(block, start + 2 + 12 * i) for i in range(count)]
    except struct.error:  # it ends before it says
        return 1
    return next((int(value) for tag, _, _, value in fields if tag == _ORIENTATION), 1)


def _count_scans(media: bytes) -> int:
    """Count the scans of a JPEG up to its end, whatever its segments contain and follows it."""
    place, found = 2, 0
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.search(media, place)
        if marker is None or marker[1] == b"\xd9":
            return found
        found += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(media[marker.end() : marker.end() + 2], "big")
    return _MOST_SCANS + 1


def _refuse(detail: str) -> NoReturn:
    raise UndecodableError(DeadLetterCode.IMAGE_UNDECODABLE, detail)
