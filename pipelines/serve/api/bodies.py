"""The bodies of the API's answers: bytes with an ETag, and their models for the documentation."""

import hashlib
from datetime import date, datetime
from typing import Any

import msgspec
import pyarrow as pa
from pydantic import Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from pipelines.access.roles import Grant
from pipelines.serve.api.landed import HISTORY, LONG, OBSERVED
from pipelines.serve.online import COLUMNS
from schemas.tables import TABLES

_DIGITS = 4
_encode = msgspec.json.Encoder().encode


def respond(request: Request, body: bytes) -> Response:
    """Return a body with its ETag, or 304 where the caller has just that."""
    tag = f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match")
    if known is not None and (
        known.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in known.split(",")]
    ):
        return Response(None, 304, headers)
    return Response(body, 200, headers, "application/json")


def encode(value: Any) -> bytes:
    """Return a value as JSON, numbers to four digits as in the online store."""
    return _encode(_rounded(value))


def without_hidden(grant: Grant, body: bytes) -> bytes:
    """Return the JSON of a row with null for what a grant does not show."""
    row: dict[str, Any] = msgspec.json.decode(body)
    return _encode({name: value if grant.shows(name) else None for name, value in row.items()})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _model(name: str, table: str, columns: tuple[str, ...]) -> Any:
    """Return a model of a table's row, with the meaning of each column."""
    fields: dict[str, Any] = {}
    for column in columns:
        field = TABLES[table].schema.field(column)
        kind = _python_type(field.type)
        fields[column] = (kind | None, Field(description=field.metadata[b"doc"].decode()))
    return create_model(name, **fields)


def _python_type(kind: pa.DataType) -> Any:
    if pa.types.is_fixed_size_list(kind):
        return list[_python_type(kind.value_type)]  # type: ignore[misc]
    for test, found in (
        (pa.types.is_boolean, bool),
        (pa.types.is_integer, int),
        (pa.types.is_floating, float),
        (pa.types.is_timestamp, datetime),
        (pa.types.is_date, date),
    ):
        if test(kind):
            return found
    return str


Features: Any = _model("Features", "emotion_features", COLUMNS["emotion_features"])
Decision: Any = _model("Decision", "expression_decisions", COLUMNS["expression_decisions"])
Observation: Any = _model("Observation", "observations", OBSERVED)
Row: Any = _model(
    "Row",
    HISTORY["decisions"],
    tuple(name for name in COLUMNS[HISTORY["decisions"]] if name not in LONG),
)
"""A decision as a history has it."""

History: Any = create_model(
    "History",
    rows=(list[Features | Row], Field(description="By the end of their window")),
    next=(str | None, Field(description="`after` of the next page; null behind the last")),
)
Explanation: Any = create_model(
    "Explanation",
    decision=(Decision, Field(description="What was decided, by which rule and policy")),
    window=(Features | None, Field(description="What it was decided on, with its attention")),
    observations=(list[Observation], Field(description="What the window is made of")),
)
