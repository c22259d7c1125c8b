"""Errors of the API as problem+json (RFC 9457): a stable code, a status and what to do."""

from enum import StrEnum
from typing import Any, Self

import msgspec
from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class Problem(StrEnum):
    """A stable code with its HTTP status and what it means."""

    status: int
    meaning: str

    def __new__(cls, code: str, status: int, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.meaning = meaning
        return member

    TOKEN_MISSING = ("token_missing", 401, "Send the header Authorization: Bearer TOKEN.")
    TOKEN_INVALID = ("token_invalid", 401, "No such token: ask the operator for one.")
    TOKEN_EXPIRED = ("token_expired", 401, "The token has expired: ask the operator for a new one.")
    ROLE_REFUSED = ("role_refused", 403, "The token's role may not ask for this.")
    PURPOSE_REFUSED = ("purpose_refused", 403, "The token's role may not see this purpose.")
    NOT_FOUND = ("not_found", 404, "There is no such page.")
    SUBJECT_UNKNOWN = (
        "subject_unknown",
        404,
        "Nothing is held of this subject that this role may see and that has not expired.",
    )
    DECISION_UNKNOWN = ("decision_unknown", 404, "This subject has no such decision.")
    METHOD_REFUSED = ("method_refused", 405, "Only GET is answered.")
    QUERY_WRONG = ("query_wrong", 422, "A parameter is wrong: correct what `detail` names.")
    RANGE_TOO_LONG = ("range_too_long", 422, "The range is too long: ask for less at a time.")
    RATE_LIMITED = ("rate_limited", 429, "Too many requests with this token: wait a moment.")
    INTERNAL = ("internal", 500, "The server failed; its log says where.")
    STORE_AWAY = ("store_away", 503, "The online store does not answer: try again soon.")
    AUDIT_AWAY = (
        "audit_away",
        503,
        "It cannot be logged who reads what, so nothing is answered: see the server's own log.",
    )
    TABLES_AWAY = ("tables_away", 503, "The tables cannot be read: try again soon.")
    BUSY = ("busy", 503, "Too many questions to the tables at once: try again soon.")
    TIME_OUT = ("time_out", 504, "The answer took too long: ask for less at a time.")


class ProblemError(Exception):
    """What ends a request with a problem."""

    def __init__(self, problem: Problem, detail: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.detail = problem, detail


class ProblemBody(BaseModel):
    """The body of every error."""

    type: str = Field(description="urn:affectstream:problem: and the code")
    title: str
    status: int
    code: str = Field(description="Stable: programs may depend on it")
    detail: str | None = None


def answer(problem: Problem, detail: str | None = None) -> Response:
    """Return the response of a problem; it holds nothing of what was asked for."""
    body: dict[str, Any] = {
        "type": f"urn:affectstream:problem:{problem}",
        "title": problem.meaning,
        "status": problem.status,
        "code": str(problem),
    }
    if detail:
        body["detail"] = detail
    headers = {"Cache-Control": "no-store"}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status == 405:
        headers["Allow"] = "GET"
    if problem.status in (429, 503):
        headers["Retry-After"] = "1"
    return Response(msgspec.json.encode(body), problem.status, headers, MEDIA_TYPE)
