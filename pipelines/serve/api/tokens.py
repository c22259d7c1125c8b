"""Tokens of the API: random, kept as hashes in a file, each with a role and an end."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from pipelines.serve.api.access import Role
from pipelines.serve.api.problems import Problem, ProblemError
from schemas.errors import AffectstreamError

PREFIX = "affectstream"
_CHECK_EVERY_S = 1.0
"""A token that was revoked is refused within this time."""
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


class Token(msgspec.Struct, frozen=True):
    """One token as it is stored: 256 random bits need no slow hash."""

    id: str
    name: str
    role: Role
    sha256: str
    expires: datetime


class _File(msgspec.Struct):
    tokens: list[Token] = []


def read_tokens(path: Path) -> list[Token]:
    """Return the tokens of a file, none where it is not there.

    Raises:
        AffectstreamError: it is no such file, or others than its owner may read it.
    """
    try:
        if path.stat().st_mode & 0o077:
            message = f"others may read {path}: chmod 600 {path}"
            raise AffectstreamError(message)
        return msgspec.json.decode(path.read_bytes(), type=_File).tokens
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{path} is not a file of tokens: make one with `affectstream tokens add`"
        raise AffectstreamError(message) from error


def add_token(path: Path, name: str, role: Role, valid: timedelta) -> str:
    """Add a token to the file and return it; nobody can read it there."""
    known = read_tokens(path)
    secret, identity = secrets.token_urlsafe(32), secrets.token_hex(4)
    expires = datetime.now(UTC) + valid
    made = Token(identity, name, role, hashlib.sha256(secret.encode()).hexdigest(), expires)
    _write(path, [*known, made])
    return f"{PREFIX}_{identity}_{secret}"


def revoke_token(path: Path, identity: str) -> Token:
    """Remove a token from the file and return it.

    Raises:
        AffectstreamError: it has no such token.
    """
    known = read_tokens(path)
    found = [token for token in known if token.id == identity]
    if not found:
        message = f"{path} has no token {identity!r}: `affectstream tokens list` shows them"
        raise AffectstreamError(message)
    _write(path, [token for token in known if token.id != identity])
    return found[0]


def _write(path: Path, tokens: list[Token]) -> None:
    """Replace the file at once: a server may be reading it."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(_File(tokens))))
        fresh.replace(path)
    except OSError as error:
        message = f"cannot write {path} ({error.strerror}): name another file with `--file`"
        raise AffectstreamError(message) from error


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    token: str
    role: Role


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
        return Caller(token.id, token.role)

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
