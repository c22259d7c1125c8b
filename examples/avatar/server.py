"""Serves the page on this machine: its files, the decisions, the live feed and a model."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kafka import KafkaConsumer

from examples.avatar.decisions import PURPOSE
from examples.avatar.packages import HERE, MODULES
from pipelines.kafka.topics import FEED

HOST: Final = "127.0.0.1"
_OWN_NAMES: Final = frozenset({HOST, "localhost", "::1"})
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".vrm": "model/gltf-binary",
}
_BEAT_MS: Final = 2_000

Message = tuple[bytes, bytes | None]
"""Key and value of a record of the feed."""


class Page(ThreadingHTTPServer):
    """A server of the page on loopback.

    ``data`` is what the page reads at its start. ``feed`` is called for each viewer of a live page
    and yields messages, None where there was none for a while; without it there is no live page.
    """

    daemon_threads = True

    def __init__(
        self,
        port: int,
        data: dict[str, Any],
        *,
        model: Path | None = None,
        feed: Callable[[], Iterator[Message | None]] | None = None,
    ) -> None:
        super().__init__((HOST, port), _Handler)
        self.data = json.dumps(data).encode()
        self.model, self.feed = model, feed


class _Handler(BaseHTTPRequestHandler):
    server: Page

    def do_GET(self) -> None:
        """Answer with a file, the decisions, or the feed."""
        path = self.path.partition("?")[0]
        if not _names_this_machine(self.headers.get_all("Host", [])):
            self.send_error(421)
        elif path == "/decisions.json":
            self._send(self.server.data, "application/json")
        elif path == "/live" and self.server.feed is not None:
            self._stream(self.server.feed())
        elif (found := self._file(path)) is not None:
            self._send(found.read_bytes(), _TYPES[found.suffix])
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""

    def _file(self, path: str) -> Path | None:
        """Return the file of a path, None where the page has none there."""
        if path == "/model.vrm":
            return self.server.model
        root = MODULES.parent if path.startswith("/node_modules/") else HERE
        found = (root / (path.strip("/") or "index.html")).resolve()
        mine = found.is_relative_to(root) and found.suffix in _TYPES and found.is_file()
        return found if mine else None

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, messages: Iterator[Message | None]) -> None:
        """Send decisions as server-sent events until the viewer has gone."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with closing(messages):
            for message in messages:
                try:
                    self.wfile.write(b": nothing\n\n" if message is None else _event(*message))
                    self.wfile.flush()
                except OSError:
                    return


def _names_this_machine(hosts: list[str]) -> bool:
    """Tell whether a request was for this machine by a name of its own.

    A page from elsewhere whose name was made to lead here asks by that name, and would read what
    it is answered (DNS rebinding).
    """
    try:
        return [urlsplit(f"//{host}").hostname in _OWN_NAMES for host in hosts] == [True]
    except ValueError:
        return False


def _event(key: bytes, value: bytes | None) -> bytes:
    """Return a message as a server-sent event; without a value it asks to forget its subject."""
    if value is None:
        return b"event: forget\ndata: %s\n\n" % key
    return b"data: %s\n\n" % value


def read_feed(bootstrap: str, subject_ref: str) -> Iterator[Message | None]:
    """Yield the messages about a subject's own avatar, from now on."""
    consumer = KafkaConsumer(
        FEED,
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="latest",
        isolation_level="read_committed",
    )
    with closing(consumer):
        while True:
            for records in consumer.poll(_BEAT_MS).values():
                for record in records:
                    if record.key == subject_ref.encode() and _for_avatars(record.value):
                        yield record.key, record.value
            yield None


def _for_avatars(value: bytes | None) -> bool:
    return value is None or json.loads(value)["data"]["purpose"] == PURPOSE
