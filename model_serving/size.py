"""How large a model folder claims to be, looked at before anything of it is allocated.

A folder is what a stranger may hand in: 100,000 layers in ``config.json`` built layers for minutes
and gigabytes, and a sparse file of a terabyte, which takes no room on the disk, was read to check
its digest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from schemas.errors import AffectstreamError

MOST_BYTES: Final = 16 << 30
"""All files together; the largest model that ships here has 60 MB, BERT large 1.3 GB."""
_MOST_TEXT: Final = 64 << 20  # any file but weights: a tokenizer of 250,000 words has 17 MB
_MOST_SETTINGS: Final = 1 << 20  # config.json: those that ship have up to 4 kB
_MOST_HEADER: Final = 8 << 20
_MOST_TENSORS: Final = 10_000  # BERT large has 400
_MOST_LABELS: Final = 10_000
_LARGEST: Final = 1 << 20
"""A number in ``config.json`` that is larger has to be a dimension of the weights."""
_LAYERS: Final = re.compile(r"(layers?|depths?|blocks)$")
_FREE: Final = re.compile(r"theta|length|_id$")  # of rotary angles, a tokenizer's no limit, codes


class Held(NamedTuple):
    """What the weights of a folder hold: tensors, numbers in them, and the largest dimension."""

    tensors: int
    numbers: int
    largest: int


def check_bytes(folder: Path, files: Mapping[str, Path]) -> None:
    """Raise AffectstreamError where files, by name, are larger than those of any model here."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    if (total := sum(sizes.values())) > MOST_BYTES:
        _refuse(folder, f"its files have {total:,} bytes, more than the {MOST_BYTES:,} of a model")
    for name, size in sizes.items():
        most = _MOST_SETTINGS if name.endswith("config.json") else _MOST_TEXT
        if size > most and not name.endswith(".safetensors"):
            _refuse(folder, f"{name} has {size:,} bytes, more than the {most:,} of such a file")


def check_claims(folder: Path, files: Mapping[str, Path]) -> Held:
    """Compare what a folder claims with the bytes that it has; return what its weights hold.

    Raises:
        AffectstreamError: its weights are not what their header declares, or ``config.json`` asks
            for more than they can fill.
    """
    weights = [name for name in files if name.endswith(".safetensors")]
    shapes = [shape for name in weights for shape in _shapes(folder, name)]
    numbers = sum(_count(shape) for shape in shapes)
    largest = max((side for shape in shapes for side in shape), default=0)
    held = Held(len(shapes), numbers, largest)
    if weights and "config.json" in files:
        _check_settings(folder, files["config.json"], held)
    return held


def _shapes(folder: Path, name: str) -> list[list[int]]:
    """Return the shapes that the header of a safetensors file declares, which fill it exactly."""
    size = (folder / name).stat().st_size
    with (folder / name).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MOST_HEADER, size):
            _refuse(
                folder, f"{name} is not a whole safetensors file: its header has {length:,} bytes"
            )
        text = file.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        spans = [tensor["data_offsets"] for tensor in header.values()]
        shapes = [[int(side) for side in tensor["shape"]] for tensor in header.values()]
        end = max((int(end) for _, end in spans), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        _refuse(folder, f"{name} is not a whole safetensors file: its header is none")
    if len(shapes) > _MOST_TENSORS:
        _refuse(folder, f"{name} has {len(shapes):,} tensors, more than the {_MOST_TENSORS:,}")
    if end != size - 8 - length:
        held = f"it declares {end:,} bytes of tensors, and holds {size - 8 - length:,}"
        _refuse(folder, f"{name} is not a whole safetensors file: {held}")
    return shapes


def _count(shape: list[int]) -> int:
    found = 1
    for side in shape:
        found *= side
    return found


def _check_settings(folder: Path, path: Path, held: Held) -> None:
    try:
        settings = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return  # what reads it next says so
    if isinstance(settings, dict) and isinstance(settings.get("id2label"), dict):
        settings = settings | {"num_labels": len(settings["id2label"])}
    for name, number in _numbers(settings):
        most = max(_LARGEST, held.largest)
        if _LAYERS.search(name):
            most = held.tensors
        elif name == "num_labels":
            most = _MOST_LABELS
        elif _FREE.search(name):
            continue
        if number > most:
            _refuse(folder, f"config.json has {name} {number:,}, and its weights hold {most:,}")


def _numbers(settings: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield each whole number below with the name of its member."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _numbers(value, key)
    elif isinstance(settings, list):
        for value in settings:
            yield from _numbers(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool):
        yield name, settings


def _refuse(folder: Path, reason: str) -> NoReturn:
    message = f"model folder {folder} is not loaded: {reason}; fetch or train the model again"
    raise AffectstreamError(message)
