"""Images come upright and as bright as they are; what would take long is refused."""

import contextlib
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from model_serving.face.images import decode_image
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
    found = decode_image(_file(turned, form, exif=_exif(orientation))).convert("L")
    assert found.size == upright.size
    assert np.abs(np.asarray(found, int) - np.asarray(upright, int)).mean() < 6


@pytest.mark.parametrize("block", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"])
def test_a_broken_exif_block_is_none(block: bytes) -> None:
    assert decode_image(_with_chunks(_chunk(b"eXIf", block), 1)).size == (64, 48)


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
    assert decode_image(plain[:2] + segment * 5 + plain[end:]).size == (64, 48)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_sixteen_bits_of_grey_are_as_bright_as_eight() -> None:
    eight = np.asarray(_slope())
    sixteen = Image.fromarray(eight.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(decode_image(_file(sixteen, "PNG"))), eight)
    large = decode_image(_file(Image.fromarray(np.full((4096, 4096), 40_000, np.uint16)), "PNG"))
    assert large.size == (1024, 1024)
    assert np.asarray(large).mean() == 40_000 // 256


@pytest.mark.parametrize("size", [(40, 30), (2000, 1500)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_not_seen(mode: str, size: tuple[int, int]) -> None:
    hidden = Image.new("RGBA", size, (250, 10, 10, 0))
    hidden.paste((10, 250, 10, 255), (0, 0, size[0] // 2, size[1]))
    picture = hidden.convert(mode)
    if mode == "P":
        picture.info["transparency"] = picture.getpixel((size[0] - 1, 0))
    file = io.BytesIO()
    picture.save(file, "PNG")
    seen = decode_image(file.getvalue()).convert("RGB")
    right = seen.getpixel((seen.width - 1, seen.height // 2))
    assert right == (128, 128, 128)
    assert seen.getpixel((0, 0)) != right


def test_of_a_camera_s_two_pictures_the_first_is_a_still() -> None:
    both = _file(_slope(), "MPO", save_all=True, append_images=[Image.new("L", (64, 48))])
    assert np.asarray(decode_image(both)).mean() > 100


@pytest.mark.parametrize(("kind", "told"), [(b"iCCP", "colour profile"), (b"zTXt", "text chunks")])
def test_chunks_that_inflate_again_and_again_are_refused(kind: bytes, told: str) -> None:
    bomb = _chunk(kind, b"name\0\0" + zlib.compress(bytes(900_000), 9))
    assert decode_image(_with_chunks(bomb, 1)).size == (64, 48)
    with pytest.raises((UndecodableError, ValueError), match=told):
        decode_image(_with_chunks(bomb, 60))


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _first_chunk(webp: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack_from("<I", webp, 16)
    return webp[12:16], webp[20 : 20 + size]


def _canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    sides = [(side - 1).to_bytes(3, "little") for side in (width, height)]
    return b"VP8X", bytes([flags, 0, 0, 0]) + b"".join(sides)


def _claims(jpeg: bytes, side: int) -> bytes:
    """Return a JPEG whose frame header tells of another size."""
    found = bytearray(jpeg)
    frame = next(at for at in (jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) if at > 0)
    found[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(found)


def _png_head(side: int, depth: int, colour: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    data = zlib.compress(bytes(1000), 9)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _tiny() -> dict[str, bytes]:
    """Return small files that claim large canvases: whole ones, cut ones, and bare claims."""
    flat = Image.new("RGB", (4096, 4096), (9, 9, 9))
    lossless, lossy = _file(flat, "WEBP", lossless=True), _file(flat, "WEBP", quality=1)
    small = _first_chunk(_file(_slope(), "WEBP", lossless=True))
    moving = [Image.new("RGB", (2048, 2048), shade) for shade in ("red", "blue", "green")]
    plain = {"": _file(_slope(), "JPEG"), " progressive": _file(_slope(), "JPEG", progressive=True)}
    found = {
        "lossless WebP": lossless,
        "lossy WebP": lossy,
        "lossy WebP cut off": lossy[:200],
        "WebP canvas": _riff(_canvas(4096, 4096), small),
        "WebP canvas of 24 bits": _riff(_canvas(1 << 24, 1 << 24), small),
        "WebP frame above its canvas": _riff(_canvas(64, 48), _first_chunk(lossless)),
        "animated WebP": _file(moving[0], "WEBP", save_all=True, append_images=moving[1:]),
        "WebP frames without their flag": _riff(
            _canvas(64, 48),
            (b"ANIM", bytes(6)),
            (b"ANMF", bytes(16) + b"".join((small[0], b"\x10\0\0\0", small[1][:16]))),
        ),
        "WebP of nothing": _riff((b"EXIF", bytes(20)), _first_chunk(lossless)),
        "1-bit PNG": _file(Image.new("1", (4096, 4096)), "PNG"),
        "palette PNG": _file(Image.new("P", (4096, 4096)), "PNG", bits=1),
        "PNG of 16 bits": _png_head(4000, 16, 6),
        "PNG of grey": _png_head(4096, 8, 0),
    }
    jpegs = {f"JPEG{kind}": _claims(file, 4096) for kind, file in plain.items()}
    return found | jpegs | {"lossless WebP of 1,000 pixels": _file(
        Image.new("L", (1000, 1000)), "WEBP", lossless=True)}  # fmt: skip


def _cost(media: bytes) -> float:
    best = float("inf")
    for _ in range(7):
        start = time.process_time_ns()
        with contextlib.suppress(UndecodableError, OSError, ValueError):
            decode_image(media)
        best = min(best, time.process_time_ns() - start)
    return best


TINY = _tiny()


@pytest.mark.parametrize("kind", TINY)
def test_a_small_file_with_a_large_canvas_costs_less_than_a_face_to_refuse(kind: str) -> None:
    """Each took up to a hundred times as long as the photo, and some 134 MB."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    photo = _file(Image.fromarray(noise).resize((640, 480)), "JPEG")
    with pytest.raises((UndecodableError, OSError)):
        decode_image(TINY[kind])
    assert _cost(TINY[kind]) < _cost(photo)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(48, 48), (640, 480), (1280, 720), (4096, 3072)])
@pytest.mark.parametrize("flat", [False, True])
def test_pixels_are_bounded_by_the_file_that_they_come_from(
    form: str, size: tuple[int, int], flat: bool
) -> None:
    """Faces come through at the worst quality; of what is flat, all but a large WebP."""
    noise = np.random.default_rng(1).integers(0, 255, (12, 16, 3), np.uint8)
    image = Image.new("RGB", size) if flat else Image.fromarray(noise).resize(size)
    media = _file(image, form, quality=1)
    if flat and form == "WEBP" and size[0] > 1280:
        with pytest.raises(UndecodableError, match="no face is packed so"):
            decode_image(media)
    else:
        assert max(decode_image(media).size) == min(1024, max(size))
        assert size[0] * size[1] * 3 <= 2**20 + 1032 * len(media)


def test_a_jpeg_of_many_scans_is_refused() -> None:
    plain = _file(_slope(), "JPEG", progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    with pytest.raises(UndecodableError, match="more than 16 scans"):
        decode_image(plain[:-2] + last * 16 + plain[-2:])
    assert decode_image(plain).size == (64, 48)
