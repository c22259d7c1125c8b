"""What the motion events of a log are made of, by source: names, vocabulary and unit."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.show.escapes import escape_controls
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from transforms.decoding.motion_forms import Frame, UnreadableError, read_payload
from transforms.decoding.units import OVERSHOOT
from transforms.decoding.vocabularies import NO_SHAPE, Part, place_names, vocabularies
from transforms.sources.recorded import read_topics

_TOPIC: Final = MODALITIES["motion"].topic
_SHOWN: Final = 8  # unknown names of a source
_TOPS: Final = {"fraction": 1.0, "percent": 100.0, "byte": 255.0}


@dataclass(slots=True)
class SourceShapes:
    """The frames of one source: counts, the range of the weights, and names that are not known."""

    frames: int = 0
    unreadable: int = 0
    lowest: float = 0.0
    highest: float = 0.0
    units: Counter[str] = field(default_factory=Counter)
    vocabularies: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, frame: Frame) -> None:
        """Count one frame."""
        self.units.update([frame.unit or "not said"])
        names = tuple(frame.weights)
        parts = place_names(names).parts
        self.vocabularies.update([vocabularies()[parts[0].vocabulary].name] if parts else [])
        self.unknown.update(name for name in names if not place_names((name,)).parts)
        numbers = list(_weights(frame, parts))
        self.lowest = min([self.lowest, *numbers])
        self.highest = max([self.highest, *numbers])

    @property
    def likely_unit(self) -> str:
        """The smallest unit that all weights fit, ``?`` where there is none."""
        if self.lowest < -OVERSHOOT * max(1.0, self.highest):
            return "signed" if max(-self.lowest, self.highest) <= 1 + OVERSHOOT else "?"
        fits = (unit for unit, top in _TOPS.items() if self.highest <= top * (1 + OVERSHOOT))
        return next(fits, "?")


def _weights(frame: Frame, parts: tuple[Part, ...]) -> Iterator[float]:
    """Yield the values of shapes: a time code or an angle says nothing of their unit."""
    for part in parts:
        width = len(vocabularies()[part.vocabulary].low)
        for value, column in zip(frame.weights.values(), part.columns.tolist(), strict=True):
            if value is not None and NO_SHAPE < column < width:
                yield value


def count_shapes(log: Path) -> dict[str, SourceShapes]:
    """Return what the motion events of a recorded log are made of, by CloudEvents source.

    Raises AffectstreamError where the log has no motion event.
    """
    found: dict[str, SourceShapes] = {}
    for source, payload in _payloads(log):
        shapes = found.setdefault(source, SourceShapes())
        shapes.frames += 1
        try:
            shapes.add(read_payload(payload))
        except UnreadableError:
            shapes.unreadable += 1
    if not found:
        message = f"{log} has no event of {_TOPIC}: name a log that has some"
        raise AffectstreamError(message)
    return found


def _payloads(log: Path) -> Iterator[tuple[str, Any]]:
    for batch in read_topics(log, [_TOPIC]):
        for headers, value in zip(
            batch["headers"].to_pylist(), batch["value"].to_pylist(), strict=True
        ):
            named = {header["key"]: header["value"] for header in headers or ()}
            source = (named.get("ce_source") or b"").decode(errors="replace")
            try:
                payload = msgspec.json.decode(value or b"")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                payload = None
            if isinstance(payload, Mapping) and "specversion" in payload:
                source, payload = str(payload.get("source", source)), payload.get("data")
            yield source, payload


def print_shapes(found: Mapping[str, SourceShapes], console: Console) -> None:
    """Print a line for each source; names of shapes stand as they were sent."""
    names = ("source", "frames", "unread", "vocabulary", "from", "to", "unit", "fits", "unknown")
    grid = Table(*names, title="Motion events by source")
    for source, each in sorted(found.items()):
        unknown = [f"{name} ({count:,})" for name, count in each.unknown.most_common(_SHOWN)]
        cells = (
            source, f"{each.frames:,}", f"{each.unreadable:,}", ", ".join(each.vocabularies),
            f"{each.lowest:.3g}", f"{each.highest:.3g}", ", ".join(each.units),
            each.likely_unit, ", ".join(unknown),
        )  # fmt: skip
        grid.add_row(*(Text(escape_controls(cell)) for cell in cells))
    console.print(grid)
    unsaid = [
        source
        for source, each in sorted(found.items())
        if "not said" in each.units and each.likely_unit not in ("fraction", "?")
    ]
    if unsaid:
        console.print("Say their unit in the configuration, if the device can't:")
        console.print("motion:\n  units:", highlight=False)
        for source in unsaid:
            line = f"    {msgspec.json.encode(source).decode()}: {found[source].likely_unit}"
            console.print(Text(escape_controls(line)))
