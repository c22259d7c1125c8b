"""Motion vocabularies: what the shapes of other trackers and avatars mean as ARKit's 52.

The tables are ``schemas/motion/*.yaml``. A shape of ARKit has *sources* there: a name, a name with
the values between which it moves (``EyeOpenLeft 1:0`` is shut at 0), or names of which it is the
weighted mean. ``*`` stands for Left and Right. Of several sources the largest counts; those of both
sides count where none of the one side is given.
"""

import re
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
from transforms.decoding.shape_names import fold, may_be_of_a_face, spellings

FOLDER: Final = Path(__file__).parents[2] / "schemas" / "motion"
NO_SHAPE: Final = -1
"""Column of a name that a vocabulary knows and that is no shape, such as a time code."""

_LONGEST: Final = 100  # characters; no longer name is known
_RANGE: Final = re.compile(r"(\S+)\s+(-?[\d.]+):(-?[\d.]+)")


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
    sparse: bool = True
    head: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    opposed: tuple[tuple[str, ...], ...] = ()


class Term(NamedTuple):
    """A column of a frame, its weight in a mean, and its values at rest and in full."""

    column: int
    weight: float
    rest: float
    full: float


class Source(NamedTuple):
    """What moves a shape of ARKit: the weighted mean of terms, one for ``both`` sides or not."""

    target: int
    terms: tuple[Term, ...]
    both: bool


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A compiled table: columns of names, and sources of shapes made of columns.

    Columns of shapes come first, the head's pitch, yaw and roll last; ``names`` are the shapes' as
    their table spells them. ``low``, ``high`` and
    ``rest`` are of the columns of shapes, as fractions; ``reach`` (52,) says which shapes of ARKit
    the vocabulary can show. ``opposed`` are columns, see ``Table``.
    """

    name: str
    table: Table
    columns: Mapping[str, int]
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    low: np.ndarray
    high: np.ndarray
    rest: np.ndarray
    reach: np.ndarray
    opposed: tuple[tuple[int, ...], ...]

    def column(self, name: str) -> int | None:
        """Return the column of a name as it was sent, None where it is not of this vocabulary."""
        return self.columns.get(name if self.table.exact else _fold(name, self.table.strip))


_fold = lru_cache(maxsize=64)(fold)  # most vocabularies strip nothing, and ask in turn


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
    names: list[str] = []
    sources: list[Source] = []

    def term(text: str, weight: float) -> Term:
        span = _RANGE.fullmatch(text)
        said, rest, full = (span[1], float(span[2]), float(span[3])) if span else (text, 0.0, 1.0)
        key = said if table.exact else fold(said, strip)
        ranges.setdefault(key, (rest, min(0.0, rest, full)))
        ranges[key] = (ranges[key][0], min(ranges[key][1], full))
        if key not in columns:
            names.append(said)
        return Term(columns.setdefault(key, len(columns)), weight, rest, full)

    for shape, source, both in _sources(lineage, table.untracked):
        parts = {source: 1.0} if isinstance(source, str) else source
        terms = tuple(term(text, weight) for text, weight in parts.items())
        sources.append(Source(BLENDSHAPES.index(shape), terms, both))
    width = len(columns)
    for each in lineage:
        for axis, angles in each.head.items():
            place = width + HEAD_POSE.index(axis)
            columns |= {fold(said, strip): place for said in angles}
        columns |= {said if table.exact else fold(said, strip): NO_SHAPE for said in each.ignored}
    reach = np.zeros(len(BLENDSHAPES), bool)
    reach[[source.target for source in sources]] = True
    rest, low = np.array(list(ranges.values()), np.float32).T
    high = np.full(width, table.top, np.float32)
    found = MappingProxyType(columns)
    opposed = tuple(tuple(columns[fold(each, strip)] for each in group) for group in table.opposed)
    return Vocabulary(
        name, table, found, tuple(names), tuple(sources), low, high, rest, reach, opposed
    )


def _sources(
    lineage: list[Table], untracked: tuple[str, ...]
) -> Iterator[tuple[str, str | dict[str, float], bool]]:
    """Yield each ARKit shape with each of its sources, and whether one moves both sides.

    ``*`` is written out as Left and Right. A name that the last table gives another range is not
    read as the one before has it.
    """
    own = {fold(name.split()[0]) for name in _names(lineage[-1])}
    for table in lineage:
        for shape, sources in table.shapes.items():
            for side in ("Left", "Right") if "*" in shape else ("",):
                target = shape.replace("*", side)
                if target not in BLENDSHAPES:
                    message = f"motion vocabulary {table.title}: {target} is no shape of ARKit"
                    raise AffectstreamError(message)
                for source in sources if target not in untracked else ():
                    if table is not lineage[-1] and fold(str(source)) in own:
                        continue
                    yield target, _of_side(source, side), bool(side) and "*" not in str(source)


def _names(table: Table) -> Iterator[str]:
    """Yield the sources of a table that are names, not means."""
    for sources in table.shapes.values():
        yield from (source for source in sources if isinstance(source, str))


def _of_side(source: str | dict[str, float], side: str) -> str | dict[str, float]:
    if isinstance(source, str):
        return source.replace("*", side)
    return {name.replace("*", side): weight for name, weight in source.items()}


def read_weights(vocabulary: Vocabulary, fractions: np.ndarray) -> np.ndarray:
    """Return weights (n, 52) of columns (n, k): the largest source of each shape of ARKit.

    A source of both sides counts where none of the shape's own side is given.
    """
    weights = np.full((2, len(fractions), len(BLENDSHAPES)), np.nan, np.float32)
    for target, terms, both in vocabulary.sources:
        parts = [_moved(fractions, term) for term in terms]
        found = parts[0] if len(parts) == 1 else _mean(parts, [term.weight for term in terms])
        column = weights[int(both), :, target]
        np.fmax(column, found, out=column)
    return np.where(np.isnan(weights[0]), weights[1], weights[0])


def _mean(parts: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """Return the weighted mean of those that are given, NaN where none is.

    Sums go one by one: a product of matrices would round by the size of the batch.
    """
    total, share = np.zeros_like(parts[0]), np.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        there = ~np.isnan(part)
        total += np.where(there, part * np.float32(weight), np.float32(0))
        share += np.where(there, np.float32(weight), np.float32(0))
    with np.errstate(invalid="ignore"):
        return np.asarray(total / share)


def _moved(fractions: np.ndarray, term: Term) -> np.ndarray:
    column = fractions[:, term.column]
    if (term.rest, term.full) != (0.0, 1.0):
        column = (column - np.float32(term.rest)) / np.float32(term.full - term.rest)
    return np.clip(column, np.float32(0), np.float32(1))


class Part(NamedTuple):
    """The columns of a frame's names in one vocabulary; NO_SHAPE for what is none in it."""

    vocabulary: int
    columns: np.ndarray


class Placing(NamedTuple):
    """Where the values of a frame belong: parts by vocabulary, and how many names nobody knows.

    ``unsure`` are the places of unknown names that may be shapes of a face. ``twice`` are pairs of
    places whose names are two spellings of one.
    """

    parts: tuple[Part, ...]
    unknown: int
    unsure: tuple[int, ...]
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
    unknown = [place for place, (by, _) in enumerate(known) if not by]
    unsure = tuple(place for place in unknown if may_be_of_a_face(names[place]))
    return Placing(parts, len(unknown), unsure, tuple(_find_twice(parts)))


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
    if len(name) <= _LONGEST:
        for spelling in spellings(name):
            columns = tuple(each.column(spelling) for each in vocabularies())
            by = sum(1 << number for number, at in enumerate(columns) if at is not None)
            if by:
                return by, columns
    return 0, (None,) * len(vocabularies())
