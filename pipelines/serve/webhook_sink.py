"""The webhook: batches of decisions and erasures posted to one address, signed, until it took them.

Signed as https://www.standardwebhooks.com asks: HMAC-SHA256 over id, time and body. A batch is
sent again until the receiver answers 2xx, so it may come twice: its id is the same then.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import requests

from pipelines.serve.events import (
    COLUMNS,
    MEDIA_TYPE,
    START_ANEW,
    Event,
    decision_events,
    erasure_event,
    lasting,
)
from pipelines.serve.follow import AwayError, Changes, Position
from schemas.errors import AffectstreamError
from schemas.settings import Feed
from schemas.strict import read_secret, write_private

_AT_ONCE = 200
_SHORTEST_SECRET = 24


class WebhookSink:
    """Posts batches of at most 200 events; how far it came stands in a file."""

    name = "webhook"
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"expression_decisions": COLUMNS}

    def __init__(self, feed: Feed, state: Path, now: Callable[[], datetime]) -> None:
        """Read the secret and the position.

        Raises:
            AffectstreamError: the secret or the position cannot be read.
        """
        hook = feed.webhook
        if hook.url is None or hook.secret_file is None:
            message = "the webhook needs `feed.webhook.url` and its `secret_file`"
            raise AffectstreamError(message)
        self._url, self._timeout_s = hook.url, hook.timeout_s
        self._purposes, self._now = feed.purposes, now
        secret = read_secret(hook.secret_file, "feed.webhook.secret_file")
        if len(secret) < _SHORTEST_SECRET:
            message = f"the secret in {hook.secret_file} has under {_SHORTEST_SECRET} characters"
            raise AffectstreamError(message)
        self._secret = secret.encode()
        self._file = state / f"webhook-{feed.name}.json"
        self._positions: dict[str, Position] = {}
        self.expired = 0

    def positions(self) -> dict[str, Position]:
        """Return how far each table was posted.

        Raises:
            AffectstreamError: the file that says so cannot be read.
        """
        self._positions = self._read()
        return self._positions

    def write(self, changes: Changes) -> int:
        """Post what is new and whom to forget, then note the position; return how many events.

        What expired while the receiver did not answer is left out, an erasure never.

        Raises:
            AwayError: the receiver did not take a batch; all of it is posted again next time.
        """
        rows = lasting(changes.rows, self._purposes, self._now())
        sent = 0
        for number, batch in enumerate(_batches(self._events(changes, rows))):
            self._post(f"{changes.table}-{changes.position.version}-{number}", batch)
            sent += len(batch)
        self.expired += changes.rows.num_rows - rows.num_rows
        self._positions = self._positions | {changes.table: changes.position}
        self._note()
        return sent

    def close(self) -> None:
        """Do nothing: no connection is held."""

    def _events(self, changes: Changes, rows: pa.Table) -> Iterator[Event]:
        for subject in changes.erased:
            event_id = f"{changes.table}-{changes.position.version}-{subject}"
            yield erasure_event(subject, event_id, datetime.now(UTC))
        yield from decision_events(rows)

    def _post(self, batch_id: str, events: tuple[Event, ...]) -> None:
        body = b"[" + b",".join(event.json for event in events) + b"]"
        sent_at = str(int(datetime.now(UTC).timestamp()))
        signed = b".".join((batch_id.encode(), sent_at.encode(), body))
        digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
        headers = {
            "content-type": f"{MEDIA_TYPE.replace('+', '-batch+')}; charset=utf-8",
            "webhook-id": batch_id,
            "webhook-timestamp": sent_at,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        try:
            answer = requests.post(
                self._url,
                data=body,
                headers=headers,
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,  # the answer's body is never read
            )
            answer.close()
        except requests.RequestException as error:
            message = f"the webhook {self._url} does not answer: {type(error).__name__}"
            raise AwayError(message) from error
        if not 200 <= answer.status_code < 300:
            message = f"the webhook {self._url} answers {answer.status_code}: it is asked again"
            raise AwayError(message)

    def _read(self) -> dict[str, Position]:
        if not self._file.exists():
            return {}
        try:
            held = json.loads(self._file.read_text(encoding="utf-8"))
            return {table: Position(str(id_), int(at)) for table, (id_, at) in held.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            message = f"{self._file} does not say how far the webhook came; {START_ANEW}"
            raise AffectstreamError(message) from error

    def _note(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._file, json.dumps(self._positions).encode())


def _batches(events: Iterator[Event]) -> Iterator[tuple[Event, ...]]:
    while batch := tuple(islice(events, _AT_ONCE)):
        yield batch
