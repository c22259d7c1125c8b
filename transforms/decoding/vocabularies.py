"""Motion vocabularies: what the shapes of other trackers and avatars mean as ARKit's 52.

The tables are ``schemas/motion/*.yaml``. A shape of ARKit has *sources* there: a name, a name with
the values between which it moves (``EyeOpenLeft 1:0`` is shut at 0), or names of which it is the
weighted mean. Of several sources the largest counts. ``*`` stands for Left and Right.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, reduce
from operator import and_
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
from pydantic import Field

from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml

FOLDER: Final = Path(__file__).parents[2] / "schemas" / "motion"
NO_SHAPE: Final = -1
"""Column of a name that a vocabulary knows and that is no shape, such as a time code."""

_LONGEST: Final = 100  # characters; no longer name is known
_RANGE: Final = re.compile(r"(\S+)\s+(-?[\d.]+):(-?[\d.]+)")
_BETWEEN: Final = re.compile(r"[\W_]+")
_SIDE: Final = re.compile(r"(?<=.)(l|r)(?:eft|ight)$")
_SIDE_FIRST: Final = re.compile(r"^(l|r)(?:eft|ight)(.+)$")
_PATH: Final = re.compile(r"^.*[/.](?!(?:left|right)$)(?=\w{3})")


class Table(Frozen):
    """One file: a vocabulary, where its names are published, and what they mean.

    ``exact`` vocabularies are told from others by spelling alone. Whole numbers in a whole frame
    are in the unit ``whole``. ``strip`` are regular expressions for what stands around the names.
    """

    title: str
    source: tuple[str, ...] = Field(min_length=1)
    exact: bool = False
    whole: Literal["percent"] | None = None
    top: float = 1.0
    strip: tuple[str, ...] = ()
    extends: str | None = None
    shapes: Mapping[str, tuple[str | dict[str, float], ...]] = Field(default_factory=dict)
    untracked: tuple[str, ...] = ()
    head: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    ignored: tuple[str, ...] = ()


class Term(NamedTuple):
    """A column of a frame, its weight in a mean, and its values at rest and in full."""

    column: int
    weight: float
    rest: float
    full: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A compiled table: columns of names, and sources (ARKit shape, terms) made of columns.

    Columns of shapes come first, the head's pitch, yaw and roll last. ``low``, ``high`` and
    ``rest`` are of the columns of shapes, as fractions; ``reach`` (52,) says which shapes of ARKit
    the vocabulary can show.
    """

    name: str
    table: Table
    columns: Mapping[str, int]
    sources: tuple[tuple[int, tuple[Term, ...]], ...]
    low: np.ndarray
    high: np.ndarray
    rest: np.ndarray
    reach: np.ndarray

    def column(self, name: str) -> int | None:
        """Return the column of a name as it was sent, None where it is not of this vocabulary."""
        return self.columns.get(name if self.table.exact else fold(name, self.table.strip))


def fold(name: str, strip: tuple[str, ...] = ()) -> str:
    """Return a name without case, separators, path and what is stripped; a side as ``l`` or ``r``.

    ``/avatar/v2/EyeClosedLeft``, ``leftEyeClosed``, ``eye_closed_L``, ``Face.EyeClosed.L`` are one.
    """
    folded = _PATH.sub("", unicodedata.normalize("NFKC", name).casefold())
    folded = _BETWEEN.sub("", folded)
    for pattern in strip:
        folded = re.sub(pattern, "", folded)
    return _SIDE.sub(r"\1", _SIDE_FIRST.sub(r"\2\1", folded))


@cache
def vocabularies() -> tuple[Vocabulary, ...]:
    """Return all vocabularies: exact ones first, then ARKit, then by name."""
    tables = {
        path.stem: read_yaml(path, Table, "a motion vocabulary")
        for path in sorted(FOLDER.glob("*.yaml"))
    }
    found = [_compile(name, tables) for name in tables]
    return tuple(sorted(found, key=lambda each: not each.table.exact))


def _compile(name: str, tables: Mapping[str, Table]) -> Vocabulary:
    table = tables[name]
    lineage = [table] if table.extends is None else [tables[table.extends], table]
    strip = tuple(pattern for each in lineage for pattern in each.strip)
    table = table.model_copy(update={"strip": strip})
    ranges: dict[str, tuple[float, float]] = {}
    columns: dict[str, int] = {}
    sources: list[tuple[int, tuple[Term, ...]]] = []

    def term(text: str, weight: float) -> Term:
        span = _RANGE.fullmatch(text)
        said, rest, full = (span[1], float(span[2]), float(span[3])) if span else (text, 0.0, 1.0)
        key = said if table.exact else fold(said, strip)
        ranges.setdefault(key, (rest, min(0.0, rest, full)))
        ranges[key] = (ranges[key][0], min(ranges[key][1], full))
        return Term(columns.setdefault(key, len(columns)), weight, rest, full)

    for shape, source in _sources(lineage, table.untracked):
        parts = {source: 1.0} if isinstance(source, str) else source
        terms = tuple(term(text, weight) for text, weight in parts.items())
        sources.append((BLENDSHAPES.index(shape), terms))
    width = len(columns)
    for each in lineage:
        for axis, names in each.head.items():
            place = width + HEAD_POSE.index(axis)
            columns |= {fold(said, strip): place for said in names}
        columns |= {said if table.exact else fold(said, strip): NO_SHAPE for said in each.ignored}
    reach = np.zeros(len(BLENDSHAPES), bool)
    reach[[target for target, _ in sources]] = True
    rest, low = np.array(list(ranges.values()), np.float32).T
    high = np.full(width, table.top, np.float32)
    found = MappingProxyType(columns)
    return Vocabulary(name, table, found, tuple(sources), low, high, rest, reach)


def _sources(
    lineage: list[Table], untracked: tuple[str, ...]
) -> Iterator[tuple[str, str | dict[str, float]]]:
    """Yield each ARKit shape with each of its sources, ``*`` written out as Left and Right."""
    for table in lineage:
        for shape, sources in table.shapes.items():
            for side in ("Left", "Right") if "*" in shape else ("",):
                target = shape.replace("*", side)
                if target not in BLENDSHAPES:
                    message = f"motion vocabulary {table.title}: {target} is no shape of ARKit"
                    raise AffectstreamError(message)
                for source in sources if target not in untracked else ():
                    yield target, _of_side(source, side)


def _of_side(source: str | dict[str, float], side: str) -> str | dict[str, float]:
    if isinstance(source, str):
        return source.replace("*", side)
    return {name.replace("*", side): weight for name, weight in source.items()}


class Part(NamedTuple):
    """The columns of a frame's names in one vocabulary; NO_SHAPE for what is none in it."""

    vocabulary: int
    columns: np.ndarray


class Placing(NamedTuple):
    """Where the values of a frame belong: parts by vocabulary, and how many names nobody knows.

    ``twice`` are pairs of places whose names are two spellings of one.
    """

    parts: tuple[Part, ...]
    unknown: int
    twice: tuple[tuple[int, int], ...]


@lru_cache(maxsize=256)
def place_names(names: tuple[str, ...]) -> Placing:
    """Return where the values of these names belong.

    The vocabulary that knows most names reads them, the first of those that know as many; what it
    does not know is read by the next.
    """
    known = list(map(_known, names))
    together = reduce(and_, (by for by, _ in known), -1)
    if names and together:  # the lowest bit is the first vocabulary that knows all
        first = (together & -together).bit_length() - 1
        parts: tuple[Part, ...] = (Part(first, np.array([at[first] for _, at in known], np.int64)),)
    else:
        parts = tuple(_part_by_vocabulary([columns for _, columns in known]))
    unknown = sum(not by for by, _ in known)
    return Placing(parts, unknown, tuple(_find_twice(parts)))


def _part_by_vocabulary(known: list[tuple[int | None, ...]]) -> Iterator[Part]:
    """Yield the part of each vocabulary in turn, the one that knows most of the rest first."""
    unread = {place for place, columns in enumerate(known) if set(columns) != {None}}
    while unread:
        counts = [
            sum(known[place][number] is not None for place in unread)
            for number in range(len(vocabularies()))
        ]
        best = counts.index(max(counts))
        mine = {place: known[place][best] for place in unread}
        columns = {place: column for place, column in mine.items() if column is not None}
        unread -= columns.keys()
        whole = [columns.get(place, NO_SHAPE) for place in range(len(known))]
        yield Part(best, np.array(whole, np.int64))


def _find_twice(parts: tuple[Part, ...]) -> Iterator[tuple[int, int]]:
    for part in parts:
        columns = part.columns.tolist()
        shaped = [column for column in columns if column != NO_SHAPE]
        if len(set(shaped)) == len(shaped):
            continue
        first: dict[int, int] = {}
        for place, column in enumerate(columns):
            if column != NO_SHAPE and first.setdefault(column, place) != place:
                yield first[column], place


@lru_cache(maxsize=8192)
def _known(name: str) -> tuple[int, tuple[int | None, ...]]:
    """Return which vocabularies know a name, a bit for each, and its column in each."""
    if len(name) > _LONGEST:
        return 0, (None,) * len(vocabularies())
    columns = tuple(each.column(name) for each in vocabularies())
    return sum(1 << number for number, at in enumerate(columns) if at is not None), columns
