"""Actions that a rule may ask for: those that ship, and those that a policy declares."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from schemas.strict import Frozen, parse_yaml, suggest
from transforms.gating.classes import readings

_FILE: Final = Path(__file__).parents[2] / "schemas" / "policies" / "actions.yaml"
_ENDINGS: Final = frozenset({"", "s", "es", "ed", "ing", "er", "ers", "ned", "ning", "ting"})
_LONG: Final = 5
"""Letters from which on a word is found at the beginning of a longer one, whatever follows."""

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _check_code(given: str) -> str:
    if not _CODE.fullmatch(given):
        message = f"{given!r} is no code: write up to 64 letters, digits, `_`, `.` or `-`"
        raise ValueError(message)
    return given


Code = Annotated[str, AfterValidator(_check_code)]
"""The name of an action, or the id of a reply."""
Kind = Literal["forbidden", "revealing", "nudging"]
SPEAKS: Final = "speaks_to_person"
MIRRORS: Final = "mirrors"


class Effect(Frozen):
    """What an action does, and who sees it; ``declarable`` says whether a policy may declare it."""

    does: str
    seen_by: Literal["the person", "staff", "others", "nobody"]
    adults_only: bool = False
    declarable: bool = True


class Words(Frozen):
    """Words by which a name says that it does what no effect does; ``cure`` says what to do.

    One of ``words`` is enough; of ``acts`` and ``about`` it takes one each.
    """

    why: str
    cure: str
    words: frozenset[str]
    acts: frozenset[str]
    about: frozenset[str]


class ActionTable(Frozen):
    """The tables of actions.yaml: effects by name, the effect of each action, words by kind."""

    effects: Mapping[str, Effect]
    actions: Mapping[str, str]
    words: Mapping[Kind, Words]


@cache
def action_table() -> ActionTable:
    """Return what actions.yaml holds."""
    return ActionTable.model_validate(parse_yaml(_FILE.read_text(encoding="utf-8")))


def read_as(name: str, kind: Kind) -> str | None:
    """Return the words by which a name reads as this kind, None where it does not."""
    listed = action_table().words[kind]
    for reading in readings(name):
        words = reading.split()
        for word in words:
            if any(_is_form(word, each, listed.about) for each in listed.words):
                return word
        for act, about in permutations(words, 2):
            if any(_is_form(act, each) for each in listed.acts) and any(
                _is_form(about, each) for each in listed.about
            ):
                return f"{act} {about}"
    return None


def _is_form(word: str, listed: str, joined: frozenset[str] = frozenset()) -> bool:
    """Return whether a word is a form of a listed one, or that with a ``joined`` one behind it."""
    if not word.startswith(listed):
        return False
    rest = word.removeprefix(listed)
    return len(listed) >= _LONG or rest in _ENDINGS or rest in joined


def explain_action(action: str, declared: Mapping[str, str]) -> str | None:
    """Say why a policy that declares these actions may not ask for one, None where it may."""
    table = action_table()
    if action in table.actions or action in declared:
        return None
    near = suggest(action, {*table.actions, *declared})
    near = f"{near} If not, " if near.startswith("did you mean") else ""
    effects = ", ".join(name for name, effect in table.effects.items() if effect.declarable)
    return (
        f"{action!r}, which is no known action: {near}declare it as "
        f"`actions: {{{action}: EFFECT}}` with one of {effects}"
    )


def effect_of(action: str, declared: Mapping[str, str]) -> Effect:
    """Return the effect of a known action."""
    table = action_table()
    return table.effects[table.actions.get(action) or declared[action]]


def find_declaration_problems(declared: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the actions that a policy declares, and with which of them."""
    table = action_table()
    effects = {name for name, effect in table.effects.items() if effect.declarable}
    for action, effect in declared.items():
        if action in table.actions:
            yield f"{action} is an action that ships: leave it out, or give another name", action
        elif effect not in effects:
            yield f"{effect!r} is no effect to declare: {suggest(effect, effects)}", action
        else:
            yield from ((said, action) for said in _word_problems(action, table.effects[effect]))


def _word_problems(action: str, effect: Effect) -> Iterator[str]:
    words = action_table().words
    for kind in words:
        if kind == "nudging" and effect.adults_only:
            continue
        if found := read_as(action, kind):
            cure = words[kind].cure
            if kind == "nudging":
                cure = "declare it as `offers_content`, which is for adults, or give another name"
            yield f"{action} is refused: its `{found}` says that it {words[kind].why}: {cure}"
