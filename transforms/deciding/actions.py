"""Kinds of actions that a rule may not ask for, or only of adults: read by the words of a name."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

from schemas.strict import Frozen, parse_yaml

_FILE: Final = Path(__file__).parents[2] / "schemas" / "policies" / "actions.yaml"
_BETWEEN: Final = re.compile(r"[^a-z]+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

Kind = Literal["forbidden", "revealing", "nudging"]


class ActionKind(Frozen):
    """A kind of action: the words by which a name reads as it, why it is refused, and the cure."""

    why: str
    cure: str
    words: frozenset[str]


@cache
def action_kinds() -> Mapping[Kind, ActionKind]:
    """Return the kinds of actions.yaml by name."""
    table = parse_yaml(_FILE.read_text(encoding="utf-8"))
    return {name: ActionKind.model_validate(given) for name, given in table.items()}


def read_as(action: str, kind: Kind) -> str | None:
    """Return the first word by which an action's name reads as this kind, None where none does."""
    words = _BETWEEN.split(_HUMP.sub(" ", action).lower())
    return next((word for word in words if word in action_kinds()[kind].words), None)
