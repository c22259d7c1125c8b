"""A host that means harm: what holds a reader that only its socket's time limit protects."""

import ssl
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter

from pipelines.live.guards.rest_tls import make_certificate
from schemas.errors import DeadLetterCode
from schemas.settings import Media
from tests.support.hosts import served
from transforms.fetch import fetch
from transforms.fetching import web
from transforms.fetching.failure import FetchError

LIMIT, TIMEOUT_S = 10_000, 0.4
DRIPS, EACH_S = 60, 0.05
"""All of them take 3 s."""
CONTINUES = 8_000  # 200 kB of them
CLIP = b"RIFF1234WAVE"

SENT: Counter[str] = Counter()
"""How many pieces a path's reader took, or left in the socket's buffer."""


class Hostile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            for piece, pause in _pieces(self.path):
                self.wfile.write(piece)
                SENT[self.path] += 1
                time.sleep(pause)
        except OSError:  # the reader left
            return

    def log_message(self, *_: object) -> None:
        return


def _pieces(path: str) -> Iterator[tuple[bytes, float]]:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CLIP)
    if "status" in path:
        yield from ((b"H", EACH_S) for _ in range(DRIPS))
    elif "headers" in path:
        yield b"HTTP/1.1 200 OK\r\nX-Long: ", EACH_S
        yield from ((b"x", EACH_S) for _ in range(DRIPS))
    elif "continue" in path:
        yield from ((b"HTTP/1.1 100 Continue\r\n\r\n", EACH_S) for _ in range(DRIPS))
    elif "flood" in path:
        yield from ((b"HTTP/1.1 100 Continue\r\n\r\n", 0) for _ in range(CONTINUES))
    elif "body" in path:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", EACH_S
        yield from ((b"x", EACH_S) for _ in range(DRIPS))
    elif "chunks" in path:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", EACH_S
        yield from ((b"1;%s\r\nx\r\n" % (b"e" * 900), 0) for _ in range(100))
        yield b"0\r\n\r\n", 0
        return
    yield answer + CLIP, 0


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with served(Hostile) as address:
        yield address


def ask(host: str, path: str) -> bytes | FetchError:
    SENT.clear()
    try:
        return fetch(host + path, Media(places=(f"{host}/",), max_bytes=LIMIT, timeout_s=TIMEOUT_S))
    except FetchError as error:
        return error


def without_bounds(_end: float, _most: int) -> HTTPAdapter:
    return HTTPAdapter()


@pytest.mark.parametrize("path", ["/status", "/headers", "/continue", "/body"])
def test_what_is_dripped_is_left_at_the_deadline(
    host: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ask(host, path)
    assert isinstance(found, FetchError)
    assert found.code == DeadLetterCode.MEDIA_UNREACHABLE
    assert SENT[path] < DRIPS // 2
    monkeypatch.setattr(web, "_Adapter", without_bounds)
    ask(host, path)
    assert SENT[path] >= DRIPS, "without the bounds it holds for as long as it likes"


@pytest.mark.parametrize("path", ["/flood", "/chunks"])
def test_what_stands_beside_the_media_is_bounded_too(
    host: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ask(host, path)
    assert isinstance(found, FetchError)
    assert found.code == DeadLetterCode.MEDIA_UNREACHABLE
    monkeypatch.setattr(web, "_Adapter", without_bounds)
    assert isinstance(ask(host, path), bytes), "without the bounds all of it is read"


def test_a_sound_answer_is_read_by_the_same_way(host: str) -> None:
    assert ask(host, "/clip.wav") == CLIP


def test_a_place_that_is_reached_by_tls_is_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path)
    pem = next(tmp_path.glob("*.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with served(Hostile, context) as host:
        assert ask(host, "/clip.wav") == CLIP
        found = ask(host, "/headers")
    assert isinstance(found, FetchError)
    assert SENT["/headers"] < DRIPS // 2
