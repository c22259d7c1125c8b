"""The webhook against a real HTTP server: signed, in batches, asked again until it takes them."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipelines.serve.events import COLUMNS
from pipelines.serve.follow import AwayError, Changes, Position
from pipelines.serve.webhook_sink import WebhookSink
from schemas.errors import AffectstreamError
from schemas.settings import Feed
from schemas.tables import EXPRESSION_DECISIONS
from tests.support.served import BEGIN, LENGTH, VALID, decision, subject

SECRET = "only-for-this-test-and-long-enough"
NAME = "expression_decisions"


class Receiver(ThreadingHTTPServer):
    """Takes posts, or answers with the statuses that it was told to give first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.asked = 0

    def events(self) -> list[dict[str, Any]]:
        return [event for _, body in self.taken for event in json.loads(body)]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        status = self.server.answers.pop(0) if self.server.answers else 204
        if status < 300:
            self.server.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(status)
        if status == 302:
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def settings(receiver: Receiver, folder: Path) -> Feed:
    (folder / "secret").write_text(SECRET)
    place = f"http://127.0.0.1:{receiver.server_port}/"
    hook = {"url": f"{place}hook", "allowed": [place], "secret_file": folder / "secret"}
    return Feed(sinks=("webhook",), webhook=hook)


class Now:
    """A clock that a test moves."""

    at = BEGIN + LENGTH

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def sink(receiver: Receiver, tmp_path: Path, now: Now) -> WebhookSink:
    return WebhookSink(settings(receiver, tmp_path), tmp_path / "state", now)


def changes(*given: dict[str, Any], version: int = 3, erased: tuple[str, ...] = ()) -> Changes:
    schema = pa.schema([EXPRESSION_DECISIONS.field(name) for name in COLUMNS])
    whole = [{name: row.get(name) for name in COLUMNS} for row in given]
    rows = pa.Table.from_pylist(whole, schema=schema)
    return Changes(NAME, rows, erased, Position("t", version))


def test_a_batch_is_signed_as_standard_webhooks_are(receiver: Receiver, sink: WebhookSink) -> None:
    assert sink.write(changes(decision("a", 0), decision("b", 0))) == 2
    ((headers, body),) = receiver.taken
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert [event["id"] for event in receiver.events()] == [
        "d-a-0-recommendation",
        "d-b-0-recommendation",
    ]


def test_many_events_go_in_batches_with_ids_that_a_repetition_has_too(
    receiver: Receiver, sink: WebhookSink
) -> None:
    given = changes(*(decision(f"s{number}", 0) for number in range(450)))
    receiver.answers = [200, 500]
    with pytest.raises(AwayError, match="answers 500"):
        sink.write(given)
    assert sink.positions() == {}
    assert sink.write(given) == 450
    ids = [headers["webhook-id"] for headers, _ in receiver.taken]
    assert ids == [f"{NAME}-3-0", *(f"{NAME}-3-{number}" for number in range(3))]
    assert len({event["id"] for event in receiver.events()}) == 450


@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500, 503])
def test_whatever_is_no_2xx_is_asked_again_and_no_redirect_is_followed(
    receiver: Receiver, sink: WebhookSink, status: int
) -> None:
    receiver.answers = [status]
    with pytest.raises(AwayError, match=f"answers {status}"):
        sink.write(changes(decision("a", 0)))
    sink.write(changes(decision("a", 0)))
    assert (receiver.asked, len(receiver.events())) == (2, 1)


def test_what_expires_while_it_is_away_is_left_out_but_no_erasure(
    receiver: Receiver, sink: WebhookSink, now: Now
) -> None:
    receiver.answers = [500]
    given = changes(decision("a", 0), decision("b", 60), erased=(subject("c"),))
    with pytest.raises(AwayError):
        sink.write(given)
    now.at = BEGIN + LENGTH + VALID + timedelta(seconds=1)
    assert sink.write(given) == 2
    kinds = [(event["type"], event["subject"]) for event in receiver.events()]
    assert kinds == [
        ("affectstream.erasure.v1", subject("c")),
        ("affectstream.decision.v1", subject("b")),
    ]
    assert sink.expired == 1


def test_the_position_is_found_again(receiver: Receiver, tmp_path: Path, now: Now) -> None:
    given = settings(receiver, tmp_path)
    WebhookSink(given, tmp_path, now).write(changes(version=12))
    assert WebhookSink(given, tmp_path, now).positions() == {NAME: Position("t", 12)}
    assert receiver.asked == 0
    for broken in ("{", "[]", "null", '{"expression_decisions": [null, null]}'):
        (tmp_path / "webhook-main.json").write_text(broken)
        with pytest.raises(AffectstreamError, match=r"does not say how far .* --from latest"):
            WebhookSink(given, tmp_path, now).positions()


def test_a_receiver_that_is_away_is_said_without_a_trace(
    receiver: Receiver, tmp_path: Path, now: Now
) -> None:
    given = settings(receiver, tmp_path)
    receiver.shutdown()
    receiver.server_close()
    with pytest.raises(AwayError, match="does not answer: ConnectionError"):
        WebhookSink(given, tmp_path, now).write(changes(decision("a", 0)))


def test_a_short_secret_is_refused(receiver: Receiver, tmp_path: Path, now: Now) -> None:
    given = settings(receiver, tmp_path)
    (tmp_path / "secret").write_text("short")
    with pytest.raises(AffectstreamError, match="has under 24 characters"):
        WebhookSink(given, tmp_path, now)


HOOK = {"url": "https://r.example/hooks/1", "secret_file": "s", "allowed": ["https://r.example/"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"allowed": []}, "begins with none of `allowed`"),
        ({"allowed": ["https://r.example"]}, "ends in a slash"),
        ({"url": "https://r.example.evil.org/x"}, "begins with none"),
        ({"allowed": ["http://r.example/"]}, "an https URI"),
        ({"secret_file": None}, "`secret_file` is missing"),
        ({"url": None}, "needs `webhook.url`"),
        ({"url": "https://r.example/hooks/../admin"}, "dots for steps"),
        ({"url": "https://r.example/hooks/%2e%2e/admin"}, "dots for steps"),
        ({"url": "https://user:word@r.example/hooks/"}, "has a user"),
        ({"allowed": ["http://localhost:pw@evil.example/"]}, "cannot be allowed"),
        ({"allowed": ["http://localhost.evil.example/"]}, "cannot be allowed"),
        ({"allowed": ["https://r.example/a/../"]}, "cannot be allowed"),
    ],
)
def test_an_address_that_may_not_be_posted_to_is_refused(change: dict[str, Any], said: str) -> None:
    Feed(sinks=("webhook",), webhook=HOOK)
    with pytest.raises(ValidationError, match=said):
        Feed(sinks=("webhook",), webhook=HOOK | change)
