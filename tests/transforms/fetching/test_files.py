"""Files that are none: what waits, never ends or leads elsewhere is not read."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from schemas.errors import DeadLetterCode
from transforms.fetching.failure import FetchError
from transforms.fetching.files import read_file

LIMIT = 10_000


def refusal(path: Path) -> str:
    with pytest.raises(FetchError) as caught:
        read_file(path, LIMIT)
    return str(caught.value.code)


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "clip.wav"
    os.mkfifo(fifo)
    assert refusal(fifo) == DeadLetterCode.MEDIA_UNREACHABLE


def test_a_fifo_holds_who_opens_it_like_a_file(tmp_path: Path) -> None:
    """So did the reader before: it went on only when somebody opened the other end."""
    fifo = tmp_path / "clip.wav"
    os.mkfifo(fifo)
    reader = threading.Thread(target=fifo.read_bytes)
    reader.start()
    writer = None
    while writer is None:  # that nobody reads is an error as long as the thread has not come so far
        with suppress(OSError):
            writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.01)
    assert reader.is_alive()
    os.close(writer)
    reader.join()


def test_a_device_never_ends_and_is_refused() -> None:
    assert refusal(Path("/dev/zero")) == DeadLetterCode.MEDIA_UNREACHABLE


def test_a_link_that_was_put_there_since_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "clip.wav").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        read_file(tmp_path / "clip.wav", LIMIT)


def test_a_file_of_a_terabyte_without_data_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "clip.wav").open("wb") as file:
        file.truncate(10**12)
    assert refusal(tmp_path / "clip.wav") == DeadLetterCode.MEDIA_TOO_LARGE


def test_files_up_to_the_limit_are_read_whole(tmp_path: Path) -> None:
    for size in (0, 1, LIMIT):
        (tmp_path / "clip.wav").write_bytes(b"x" * size)
        assert read_file(tmp_path / "clip.wav", LIMIT) == b"x" * size
    (tmp_path / "clip.wav").write_bytes(b"x" * (LIMIT + 1))
    assert refusal(tmp_path / "clip.wav") == DeadLetterCode.MEDIA_TOO_LARGE
