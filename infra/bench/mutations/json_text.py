"""JSON as it is written: members that stand twice keep their places, and a value may be no JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class Members(list[tuple[str, Any]]):
    """A JSON object by its members, in order."""


@dataclass(frozen=True, slots=True)
class Token:
    """A text that is written in the place of a value as it is."""

    text: str


def parse(text: bytes | None) -> Any:
    """Return JSON with objects as Members, None where it is none or holds nothing."""
    try:
        return json.loads(text or b"", object_pairs_hook=Members)
    except (ValueError, RecursionError):
        return None


def write(value: Any, *, escape: bool = False) -> str:
    """Return the JSON text; ``escape`` writes what is not ASCII as escapes."""
    if isinstance(value, Token):
        return value.text
    if isinstance(value, Members):
        pairs = (
            f"{write(name, escape=escape)}:{write(item, escape=escape)}" for name, item in value
        )
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write(item, escape=escape) for item in value) + "]"
    return json.dumps(value, ensure_ascii=escape)


def objects(value: Any) -> Iterator[Members]:
    """Yield each object in a value, from the outside in."""
    if isinstance(value, Members):
        yield value
        for _, item in value:
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)
