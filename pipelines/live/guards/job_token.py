"""The token without which a job's gRPC services answer nobody.

Beam's job server hands the graph to whoever asks, and runs what anybody submits, with the rights
of its own user: on loopback that is every user of the machine. ``affectstream.TokenGuard`` in its
JVM lets in only who shows what stands in a file of the state folder; driver and workers do.
"""

import functools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from schemas.strict import read_secret, write_private

TOKEN_FILE = "token"
"""In the state folder; each start of the job makes a new one."""
_HEADER = "affectstream-token"  # as in TokenGuard.java


def write_token(state: Path) -> Path:
    """Make a new token (256 random bits) and return its file, which its owner alone may read."""
    path = state / TOKEN_FILE
    write_private(path, secrets.token_hex(32).encode())
    return path


def show_token(path: Path) -> None:
    """Let each gRPC channel that this process opens from now on show the token in this file; once.

    Beam opens channels in nine places and takes no interceptor in any, but all call these two.
    """
    token = read_secret(path, "the state folder's token")
    grpc.insecure_channel = functools.partial(_open_channel, grpc.insecure_channel, token)
    grpc.secure_channel = functools.partial(_open_channel, grpc.secure_channel, token)


def _open_channel(open_: Callable[..., Any], token: str, *args: Any, **kwargs: Any) -> Any:
    return with_token(open_(*args, **kwargs), token)


def with_token(channel: Any, token: str) -> Any:
    """Return a channel that shows this token with each call."""
    return grpc.intercept_channel(channel, _Token(token))


class _Token(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to the metadata of each call."""

    def __init__(self, token: str) -> None:
        self._token = token

    def _call(self, go_on: Callable[..., Any], details: Any, request: Any) -> Any:
        shown = [*(details.metadata or ()), (_HEADER, self._token)]
        return go_on(details._replace(metadata=shown), request)

    intercept_unary_unary = intercept_unary_stream = _call
    intercept_stream_unary = intercept_stream_stream = _call
