"""The file of the API's tokens: random, kept as hashes, each with a role and an end."""

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.errors import AffectstreamError
from schemas.strict import check_regular

PREFIX = "affectstream"


class Token(msgspec.Struct, frozen=True):
    """One token as it is stored: 256 random bits need no slow hash."""

    id: str
    name: str
    role: Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,63}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    expires: Annotated[datetime, Meta(tz=True)]


class _File(msgspec.Struct):
    tokens: list[Token] = []


def read_tokens(path: Path) -> list[Token]:
    """Return the tokens of a file, none where it is not there.

    Raises:
        AffectstreamError: it is no such file, or others than its owner may read it.
    """
    try:
        check_regular(path)
        if path.stat().st_mode & 0o077:
            message = f"others may read {path}: chmod 600 {path}"
            raise AffectstreamError(message)
        return msgspec.json.decode(path.read_bytes(), type=_File).tokens
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"{path} is not a file of tokens: make one with `affectstream tokens add`"
        raise AffectstreamError(message) from error


def add_token(path: Path, name: str, role: str, valid: timedelta) -> str:
    """Add a token to the file and return it; nobody can read it there.

    Raises:
        AffectstreamError: the file is not one of tokens, or cannot be written.
    """
    secret, identity = secrets.token_urlsafe(32), secrets.token_hex(4)
    expires = datetime.now(UTC) + valid
    made = Token(identity, name, role, hashlib.sha256(secret.encode()).hexdigest(), expires)
    with _only_writer(path):
        _replace(path, [*read_tokens(path), made])
    return f"{PREFIX}_{identity}_{secret}"


def revoke_token(path: Path, identity: str) -> Token:
    """Remove a token from the file and return it.

    Raises:
        AffectstreamError: it has no such token, is not a file of tokens, or cannot be written.
    """
    with _only_writer(path):
        known = read_tokens(path)
        found = [token for token in known if token.id == identity]
        if not found:
            message = f"{path} has no token {identity!r}: `affectstream tokens list` shows them"
            raise AffectstreamError(message)
        _replace(path, [token for token in known if token.id != identity])
    return found[0]


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Wait for other writers, so that a token revoked beside them does not come back.

    The lock is a file of its own, since the file of tokens is replaced by each writer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        message = f"cannot write {path} ({error.strerror}): name another file with `--file`"
        raise AffectstreamError(message) from error


def _replace(path: Path, tokens: list[Token]) -> None:
    """Replace the file at once, a server may be reading it; the new one is its owner's alone."""
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(tokens))))
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
