"""Hostile records as patterns of pieces, and an evolutionary search for the dearest one.

What costs a program much is seldom one odd byte; it is a piece that comes again and again, each
time a little different. So a record is a head, a unit that is repeated up to a size, and a tail,
each of pieces out of an alphabet of what the stage looks for.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

COUNT: Final = b"#"
"""Stands in a piece for the number of the repetition, so that no two are alike."""
_PARTS: Final = ("head", "unit", "tail")
_LONGEST: Final = 12  # pieces of a part
_KEPT: Final = 8  # patterns that live on

Pieces = tuple[bytes, ...]
Cost = Callable[["Pattern"], float]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A family of records, one of each size."""

    unit: Pieces
    head: Pieces = ()
    tail: Pieces = ()

    def make(self, size: int, first: int = 0) -> bytes:
        """Return the record of about ``size`` bytes whose repetitions count from ``first``."""
        head, unit, tail = (b"".join(getattr(self, part)) for part in ("head", "unit", "tail"))
        room = size - len(head) - len(tail)
        parts, used = [], 0
        while unit and used < room:
            parts.append(unit.replace(COUNT, b"%x" % (first + len(parts))))
            used += len(parts[-1])
        return b"".join([head, *parts[: len(parts) - (used > room and len(parts) > 1)], tail])


def mutated(pattern: Pattern, other: Pattern, alphabet: Pieces, rng: random.Random) -> Pattern:
    """Return a pattern that differs in one place, or has one part of another."""
    part = rng.choice((*_PARTS, "unit", "unit", "unit"))
    pieces = list(getattr(pattern, part))
    at = rng.randint(0, len(pieces))
    match rng.randrange(5):
        case 0:
            pieces[at : at + 1] = [rng.choice(alphabet)]
        case 1:
            pieces[at : at + 1] = []
        case 2:
            pieces[at:at] = pieces[at : at + 2]
        case 3:
            pieces = list(getattr(other, part))
        case _:
            pieces.insert(at, rng.choice(alphabet))
    return replace(pattern, **{part: tuple(pieces[:_LONGEST])})


def search(
    seeds: Sequence[Pattern], alphabet: Pieces, cost: Cost, *, tries: int, seed: int
) -> list[tuple[float, Pattern]]:
    """Return the dearest patterns that were found, dearest first, with what each costs.

    The seeds are tried first, then ``tries`` descendants of the dearest so far.
    """
    rng = random.Random(seed)
    found = sorted(((cost(each), each) for each in seeds), key=_by_cost)[:_KEPT]
    seen = {each for _, each in found}
    for _ in range(tries):
        parent, other = (rng.choice(found)[1] for _ in range(2))
        child = mutated(parent, other, alphabet, rng)
        if child in seen:
            continue
        seen.add(child)
        found = sorted([*found, (cost(child), child)], key=_by_cost)[:_KEPT]
    return found


def _by_cost(item: tuple[float, Pattern]) -> float:
    return -item[0]
