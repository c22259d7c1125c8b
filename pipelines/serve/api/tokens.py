"""Who a token belongs to: the file's tokens, as they stand now."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.serve.api.problems import Problem, ProblemError
from pipelines.serve.api.token_file import PREFIX, read_tokens
from schemas.errors import AffectstreamError

_CHECK_EVERY_S = 1.0
"""A token that was revoked is refused within this time."""
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: id and name of the token, and its role."""

    token: str
    name: str
    role: str


class Tokens:
    """The tokens of a file, which is read again when it has changed.

    A file that can no longer be read holds no token.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._now, self._clock = path, now, clock
        self._stamp = _stamp(path)
        self._tokens = {token.id: token for token in read_tokens(path)}
        self._checked_at = clock()

    def caller(self, header: str | None) -> Caller:
        """Return who sent this Authorization header.

        Raises:
            ProblemError: nobody who may ask for anything.
        """
        self._refresh()
        scheme, _, given = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise ProblemError(Problem.TOKEN_MISSING)
        prefix, identity, secret = [*given.split("_", 2), "", ""][:3]
        token = self._tokens.get(identity)
        # Compared in constant time, and also where no such token is known.
        digest = hashlib.sha256(secret.encode()).hexdigest()
        same = hmac.compare_digest(digest, token.sha256 if token else _NOBODY)
        if token is None or not same or prefix != PREFIX:
            raise ProblemError(Problem.TOKEN_INVALID)
        if token.expires <= self._now():
            raise ProblemError(Problem.TOKEN_EXPIRED)
        return Caller(token.id, token.name, token.role)

    def _refresh(self) -> None:
        if self._clock() - self._checked_at < _CHECK_EVERY_S:
            return
        self._checked_at = self._clock()
        if (stamp := _stamp(self._path)) == self._stamp:
            return
        try:
            self._tokens = {token.id: token for token in read_tokens(self._path)}
        except AffectstreamError:
            self._tokens = {}
        self._stamp = stamp


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_mode
