"""Images come upright and as bright as they are; what would take long is refused."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from model_serving.images import picture
from schemas.errors import UndecodableError

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _slope() -> Image.Image:
    """Darker to the right, and a little to the bottom."""
    down, right = np.mgrid[0:48, 0:64]
    return Image.fromarray((250 - 3 * right - down).astype(np.uint8))


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif.tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_chunks(chunk: bytes, count: int) -> bytes:
    plain = _file(_slope(), "PNG")
    end = plain.index(b"IDAT") - 4
    return plain[:end] + chunk * count + plain[end:]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
        (9, None),
    ],
)
def test_an_image_comes_upright(
    form: str, orientation: int, stored: Image.Transpose | None
) -> None:
    upright = _slope()
    turned = upright if stored is None else upright.transpose(stored)
    found = picture(_file(turned, form, exif=_exif(orientation))).convert("L")
    assert found.size == upright.size
    assert np.abs(np.asarray(found, int) - np.asarray(upright, int)).mean() < 6


@pytest.mark.parametrize("block", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"])
def test_a_broken_exif_block_is_none(block: bytes) -> None:
    assert picture(_with_chunks(_chunk(b"eXIf", block), 1)).size == (64, 48)


def test_what_exif_fields_point_at_is_not_copied() -> None:
    """Pillow joins all segments, and copies for each field what it points at: half a gigabyte."""
    size, fields = 60_000, 1_500
    entries = b"".join(struct.pack("<HHII", 1000 + i, 1, size, 8) for i in range(fields))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", fields) + entries
    body = b"Exif\0\0" + block + bytes(65_000 - len(block))
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    plain = _file(_slope(), "JPEG")
    end = plain.index(b"\xff\xdb")  # in place of JFIF's header, which would tell the resolution
    tracemalloc.start()
    assert picture(plain[:2] + segment * 5 + plain[end:]).size == (64, 48)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_sixteen_bits_of_grey_are_as_bright_as_eight() -> None:
    eight = np.asarray(_slope())
    sixteen = Image.fromarray(eight.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(picture(_file(sixteen, "PNG"))), eight)
    large = picture(_file(Image.fromarray(np.full((4096, 4096), 40_000, np.uint16)), "PNG"))
    assert large.size == (1024, 1024)
    assert np.asarray(large).mean() == 40_000 // 256


def test_of_a_camera_s_two_pictures_the_first_is_a_still() -> None:
    both = _file(_slope(), "MPO", save_all=True, append_images=[Image.new("L", (64, 48))])
    assert np.asarray(picture(both)).mean() > 100


@pytest.mark.parametrize(("kind", "told"), [(b"iCCP", "colour profile"), (b"zTXt", "text chunks")])
def test_chunks_that_inflate_again_and_again_are_refused(kind: bytes, told: str) -> None:
    bomb = _chunk(kind, b"name\0\0" + zlib.compress(bytes(900_000), 9))
    assert picture(_with_chunks(bomb, 1)).size == (64, 48)
    with pytest.raises((UndecodableError, ValueError), match=told):
        picture(_with_chunks(bomb, 60))


def test_a_jpeg_of_many_scans_is_refused() -> None:
    plain = _file(_slope(), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    with pytest.raises(UndecodableError, match="more than 16 scans"):
        picture(plain[:-2] + last * 16 + plain[-2:])
    assert picture(plain).size == (64, 48)
