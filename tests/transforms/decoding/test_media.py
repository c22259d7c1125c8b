"""Values of media: whatever they hold gives a file, or a code of what was found."""

import base64
import io

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import DeadLetterCode
from schemas.media.formats import READ, FormatCode, explain, find_format
from transforms.decoding.media import read_media

WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(500)


def read(kind: str, value: bytes) -> tuple[bytes | None, str, object]:
    files, columns, problems = read_media(kind, pa.array([value], pa.binary()))
    return files[0], columns["media_format"][0].as_py(), problems[0]


@given(st.binary(max_size=600), st.sampled_from(sorted(READ)))
@example(b'"', "voice")
@example(b"data:", "face")
@example(b"data:;base64,", "face")
@example(b"\\x", "face")
@example(b'"\\ud800"', "voice")
@example(b"=" * 20, "voice")
@example(b"\xc3", "voice")
def test_any_value_is_a_file_of_a_known_format_or_has_a_code(value: bytes, kind: str) -> None:
    _, name, problem = read(kind, value)
    if problem is None:
        assert name in READ[kind]
    else:
        assert problem in {*FormatCode, DeadLetterCode.NULL_VALUE}


@pytest.mark.parametrize("kind", READ)
def test_files_that_need_nothing_are_the_same_objects(kind: str) -> None:
    values = pa.array([WAV if kind == "voice" else b"\xff\xd8\xff\xe0" + bytes(20)] * 3)
    files, columns, problems = read_media(kind, values.cast(pa.binary()))
    assert files == values.to_pylist()
    assert columns["media"].equals(values)
    assert list(problems) == [None] * 3


def test_an_odd_value_leaves_its_neighbours_as_they_are() -> None:
    rows = [WAV, base64.b64encode(WAV), b"hello", None, WAV]
    files, columns, problems = read_media("voice", pa.array(rows, pa.binary()))
    assert files[0] == files[1] == files[4] == WAV
    assert columns["media_bytes"].to_pylist() == [len(WAV), len(WAV), 5, None, len(WAV)]
    assert list(problems) == [
        None,
        None,
        FormatCode.FOUND_TEXT,
        DeadLetterCode.NULL_VALUE,
        None,
    ]


def test_what_pillow_writes_is_told() -> None:
    names = {name.upper(): name for name in ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff")}
    names |= {"JPEG2000": "jp2", "ICO": "ico", "PDF": "pdf"}
    for form, name in names.items():
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (200, 90, 40)).save(file, form)
        assert find_format(file.getvalue()) == name, form


@pytest.mark.parametrize("code", FormatCode)
def test_a_code_says_what_to_send_in_one_line(code: FormatCode) -> None:
    said = explain(code)
    assert " was found: send " in said
    assert not said.endswith(".")
