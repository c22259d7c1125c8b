"""What stands before every page: who asks, how often, and what is counted of it."""

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.observe.catalogue import API_BUSY, API_REQUESTS
from pipelines.observe.exporter import Exporter
from pipelines.serve.api.access import RIGHTS, Purposes, Resource
from pipelines.serve.api.problems import Problem, ProblemError, answer
from pipelines.serve.api.tokens import Caller, Tokens

OPEN: Mapping[str, str] = MappingProxyType(
    {"/health": "health", "/ready": "ready", "/openapi.json": "openapi"}
)
"""Pages that need no token: they hold nothing of anybody."""
_FRAMES = 8
_LOG = logging.getLogger(__name__)


class RateLimit:
    """Lets each token ask so often in a second, and as many at once after a pause."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, token: str) -> bool:
        """Count a request of this token; tell whether it may be answered."""
        now = self._clock()
        left, at = self._left.get(token, (self._per_s, now))
        left = min(self._per_s, left + (now - at) * self._per_s)
        self._left[token] = (left - 1, now) if left >= 1 else (left, now)
        return left >= 1


class Guard:
    """ASGI middleware: finds the caller, limits the rate, counts, and answers what fails.

    It stands before the framework, whose dependencies would cost three times as much a request.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, limit: RateLimit, exporter: Exporter) -> None:
        self._app, self._tokens, self._limit, self._exporter = app, tokens, limit, exporter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on with its caller in the scope's state."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status: int | None = None

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["path"] not in OPEN:
                scope.setdefault("state", {})["caller"] = self._admit(scope)
            await self._app(scope, receive, note)
        except ProblemError as error:
            await answer(error.problem, error.detail)(scope, receive, note)
        except Exception as error:
            # Where it was raised, without the message, which may name a person.
            where = "".join(traceback.format_tb(error.__traceback__, -_FRAMES))
            _LOG.error("a request failed with %s at\n%s", type(error).__name__, where)
            if status is None:  # else the framework has answered
                await answer(Problem.INTERNAL)(scope, receive, note)
        route = scope.get("route")
        name = str(getattr(route, "name", OPEN.get(scope["path"], "none")))
        self._exporter.add(API_REQUESTS, 1, name, str(status))
        self._exporter.add(API_BUSY, time.perf_counter() - started, name)

    def _admit(self, scope: Scope) -> Caller:
        if scope["method"] != "GET":
            raise ProblemError(Problem.METHOD_REFUSED)
        caller = self._tokens.caller(Headers(scope=scope).get("authorization"))
        if not self._limit.take(caller.token):
            raise ProblemError(Problem.RATE_LIMITED)
        return caller


def purposes_for(caller: Caller, resource: Resource, asked: str | None) -> Purposes:
    """Return the purposes whose rows this caller gets of a resource; None for all.

    Raises:
        ProblemError: the role may not ask for it, or not for this purpose.
    """
    rights = RIGHTS[caller.role]
    if resource not in rights:
        raise ProblemError(Problem.ROLE_REFUSED)
    allowed = rights[resource]
    if asked is None:
        return allowed
    if allowed is not None and asked not in allowed:
        raise ProblemError(Problem.PURPOSE_REFUSED)
    return frozenset({asked})
