"""What stands before every page: who asks, how often, and what is counted and logged of it."""

import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.access.audit import Entry
from pipelines.access.audit_writer import AuditWriter
from pipelines.access.roles import Purposes, Role, Roles
from pipelines.observe.catalogue import API_BUSY, API_REQUESTS
from pipelines.observe.exporter import Exporter
from pipelines.serve.api.problems import Problem, ProblemError, answer
from pipelines.serve.api.tokens import Caller, Tokens

OPEN: Mapping[str, str] = MappingProxyType(
    {"/health": "health", "/ready": "ready", "/openapi.json": "openapi"}
)
"""Pages that need no token: they hold nothing of anybody."""
_PEOPLE = "/v1/"
"""How the paths of pages begin that hold something of somebody."""
_REF = re.compile(r"[0-9a-f]{32}")
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
    """ASGI middleware: finds the caller, limits the rate, counts, logs, and answers what fails.

    It stands before the framework, whose dependencies would cost three times as much a request.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        limit: RateLimit,
        exporter: Exporter,
        audit: AuditWriter,
    ) -> None:
        self._app, self._tokens, self._limit = app, tokens, limit
        self._exporter, self._audit = exporter, audit

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
        self._log(scope, name, status)

    def _admit(self, scope: Scope) -> Caller:
        if scope["method"] != "GET":
            raise ProblemError(Problem.METHOD_REFUSED)
        caller = self._tokens.caller(Headers(scope=scope).get("authorization"))
        if not self._limit.take(caller.token):
            raise ProblemError(Problem.RATE_LIMITED)
        if scope["path"].startswith(_PEOPLE) and not self._audit.ready:
            raise ProblemError(Problem.AUDIT_AWAY)
        return caller

    def _log(self, scope: Scope, page: str, status: int | None) -> None:
        """Log what somebody with a token asked about people, and how it ended."""
        state: dict[str, Any] = scope.get("state", {})
        caller: Caller | None = state.get("caller")
        if caller is None or not scope["path"].startswith(_PEOPLE):
            return
        # What is no pseudonym may be somebody's name: it was refused, and is not noted.
        subject = str(scope.get("path_params", {}).get("subject_ref"))
        self._audit.add(
            Entry(
                at=datetime.now(UTC),
                who=f"{caller.name} ({caller.token})",
                role=caller.role,
                via="api",
                what=page,
                subjects=(subject,) if _REF.fullmatch(subject) else (),
                rows=state.get("rows", 0),
                outcome=str(status),
            )
        )


def role_for(roles: Roles, caller: Caller, page: str) -> Role:
    """Return the caller's role.

    Raises:
        ProblemError: there is no such role, or it may not ask for this page.
    """
    role = roles.roles.get(caller.role)
    if role is None or page not in role.api:
        raise ProblemError(Problem.ROLE_REFUSED)
    return role


def purposes_for(role: Role, page: str, asked: str | None) -> Purposes:
    """Return the purposes whose rows a role gets of a page; None for all.

    Raises:
        ProblemError: it may not see the purpose that was asked for.
    """
    allowed = role.purposes(page)
    if asked is None:
        return allowed
    if allowed is not None and asked not in allowed:
        raise ProblemError(Problem.PURPOSE_REFUSED)
    return frozenset({asked})
