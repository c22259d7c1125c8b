"""What the motion events of a log are made of, by source: names, vocabulary and unit."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.console import Console
from rich.text import Text

from pipelines.show.escapes import escape_controls
from schemas.errors import AffectstreamError, DeadLetterCode
from schemas.modalities import MODALITIES
from transforms.decode import read_sources
from transforms.decoding.motion import read_frame, read_motion
from transforms.decoding.motion_forms import Frame
from transforms.decoding.units import (
    BYTE,
    FRACTION,
    OVERSHOOT,
    PERCENT,
    UNDECLARED,
    unit_name,
)
from transforms.decoding.vocabularies import NO_SHAPE, Part, place_names, vocabularies
from transforms.sources.recorded import read_topics

_TOPIC: Final = MODALITIES["motion"].topic
_SHOWN: Final = 8  # unknown names of a source
_NOT_SAID: Final = "not said"
_UNSURE: Final = "?"
_FEW: Final = 0.05
"""Share of the frames that may be broken: so many outliers decide nothing."""
_MOST: Final = 0.5


@dataclass(slots=True)
class SourceShapes:
    """The frames of one source: counts, the range of the weights, and names that are not known.

    ``fits`` counts frames by the smallest unit that all their weights fit. ``contradicted`` are
    frames whose weights do not look like the unit that they or the configuration say.
    """

    frames: int = 0
    unreadable: int = 0
    contradicted: int = 0
    lowest: float = 0.0
    highest: float = 0.0
    units: Counter[str] = field(default_factory=Counter)
    fits: Counter[str] = field(default_factory=Counter)
    vocabularies: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, frame: Frame) -> None:
        """Count one frame."""
        self.units[_said(frame.unit)] += 1
        names = tuple(frame.weights)
        parts = place_names(names).parts
        self.vocabularies.update([vocabularies()[parts[0].vocabulary].name] if parts else [])
        self.unknown.update(name for name in names if not place_names((name,)).parts)
        numbers = list(_weights(frame, parts))
        if numbers:
            self.fits[_fit(min(numbers), max(numbers))] += 1
            self.lowest = min(self.lowest, *numbers)
            self.highest = max(self.highest, *numbers)

    @property
    def likely_unit(self) -> str:
        """The unit that most frames bear out, ``?`` where none is sure.

        A face at rest in percent looks like a fraction, so that a larger unit has to be that of
        more than half of the frames; one that fewer than a twentieth need is that of outliers.
        """
        total = self.fits.total()
        beyond = total - self.fits["fraction"]
        if beyond <= _FEW * total:
            return "fraction" if total else _UNSURE
        for unit in ("signed", "byte", "percent"):
            if self.fits[unit] > _FEW * total:
                units = ("fraction", unit) if unit != "byte" else ("fraction", "percent", unit)
                misfits = total - sum(self.fits[each] for each in units)
                sure = beyond > _MOST * total and misfits <= _FEW * total
                return unit if sure else _UNSURE
        return _UNSURE


def _said(unit: float | None) -> str:
    if unit is None:
        return "not known"
    return _NOT_SAID if unit == UNDECLARED else unit_name(unit)


def _fit(lowest: float, highest: float) -> str:
    """Return the smallest unit that weights from lowest to highest fit."""
    if lowest < -OVERSHOOT * max(1.0, highest):
        return "signed" if max(-lowest, highest) <= 1 + OVERSHOOT else _UNSURE
    units = (FRACTION, PERCENT, BYTE)
    fits = (unit_name(unit) for unit in units if highest <= unit * (1 + OVERSHOOT))
    return next(fits, _UNSURE)


def _weights(frame: Frame, parts: tuple[Part, ...]) -> Iterator[float]:
    """Yield the values of shapes: a time code or an angle says nothing of their unit."""
    for part in parts:
        width = len(vocabularies()[part.vocabulary].low)
        for value, column in zip(frame.weights.values(), part.columns.tolist(), strict=True):
            if value is not None and NO_SHAPE < column < width:
                yield value


def count_shapes(log: Path, units: Mapping[str, str]) -> dict[str, SourceShapes]:
    """Return what the motion events of a recorded log are made of, by CloudEvents source.

    ``units`` is the unit by source that is configured.

    Raises:
        AffectstreamError: the log has no motion event.
    """
    found: dict[str, SourceShapes] = {}
    for batch in read_topics(log, [_TOPIC]):
        rows = [(source or "", data) for source, data in read_sources("motion", batch)]
        contradicted = _find_contradicted(rows, units)
        for (source, data), torn in zip(rows, contradicted.tolist(), strict=True):
            shapes = found.setdefault(source, SourceShapes())
            shapes.frames += 1
            frame = read_frame(data)
            if isinstance(frame, Frame):
                shapes.add(frame)
                shapes.contradicted += torn
            else:
                shapes.unreadable += 1
    if not found:
        message = f"{log} has no event of {_TOPIC}: name a log that has some"
        raise AffectstreamError(message)
    return found


def _find_contradicted(rows: list[tuple[str, bytes]], units: Mapping[str, str]) -> np.ndarray:
    """Return which rows are refused for their unit, or contradict it, as a run finds them."""
    configured = [units.get(source) for source, _ in rows]
    columns, problems = read_motion([data for _, data in rows], configured)
    width = columns["weights"].type.list_size
    known = np.asarray(columns["weights"].flatten().is_valid()).reshape(-1, width)
    given = np.asarray(columns["weights_given"]) > 0
    nothing = given & ~known[:, : width - 3].any(axis=1)
    return np.asarray((problems == DeadLetterCode.UNKNOWN_UNIT) | nothing)


def print_shapes(
    found: Mapping[str, SourceShapes], units: Mapping[str, str], console: Console
) -> None:
    """Print a block for each source; names of shapes stand as they were sent."""
    for source, each in sorted(found.items()):
        console.print(Text(escape_controls(source or "(no source)")), soft_wrap=True)
        for name, words in _lines(each, units.get(source)):
            console.print(Text(f"  {name:<11} {escape_controls(words)}"), soft_wrap=True)
    advised = {
        source: each
        for source, each in sorted(found.items())
        if source not in units
        and each.units[_NOT_SAID] > _MOST * each.units.total()
        and each.likely_unit not in {"fraction", _UNSURE}
    }
    if advised:
        console.print("\nSay their unit in the configuration, if the device can't:")
        console.print("motion:\n  units:", highlight=False)
        for source, each in advised.items():
            name = msgspec.json.encode(source).decode()
            beyond = each.fits.total() - each.fits["fraction"]
            bear = f"{beyond:,} of {each.fits.total():,} frames are beyond a fraction"
            line = f"    {name}: {each.likely_unit}  # {bear}"
            console.print(Text(escape_controls(line)), soft_wrap=True)


def _lines(each: SourceShapes, configured: str | None) -> Iterator[tuple[str, str]]:
    unread = f", {each.unreadable:,} unread" if each.unreadable else ""
    yield "frames", f"{each.frames:,}{unread}"
    yield "vocabulary", _counts(each.vocabularies) or "none known"
    yield "weights", f"{each.lowest:.3g} to {each.highest:.3g}"
    by = f", {configured} by the configuration" if configured else ""
    yield "unit", f"{_counts(each.units) or _NOT_SAID}{by}"
    yield "fits", _counts(each.fits) or _UNSURE
    if each.contradicted > _FEW * each.frames:
        yield "wrong unit?", f"{each.contradicted:,} frames do not fit the one that holds for them"
    if each.unknown:
        more = len(each.unknown) - _SHOWN
        rest = f", and {more:,} more" if more > 0 else ""
        yield "unknown", f"{_counts(each.unknown)}{rest}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counter.most_common(_SHOWN))
