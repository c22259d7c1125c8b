"""A CSV of labelled rows: the text or the path of each, its label, and groups of people."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from model_serving.card import ModelCard
from model_serving.corpora.groups import UNKNOWN
from model_serving.folders.names import fold_name, propose
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS

_PAYLOADS = {"text": "text", "voice": "path", "face": "path"}
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Payloads of n rows, the place (n,) of each label, and by column which group each is of."""

    batch: pa.RecordBatch
    labels: np.ndarray
    groups: dict[str, np.ndarray] = field(default_factory=dict)


def read_rows(path: Path, card: ModelCard) -> Rows:
    """Read labelled rows for a model of this card.

    A label is an expression, one of the model's own names, or a name that means an expression.
    Paths are those of files, from the folder of the CSV on. Every further column is a kind of
    group of people; an empty value of it is unknown.
    Raises AffectstreamError where the file is not such a CSV.
    """
    wanted = _PAYLOADS.get(card.modality)
    if wanted is None:
        message = f"a CSV can hold no rows of {card.modality}: measure text, voice or face"
        raise AffectstreamError(message)
    names, found = _read(path)
    lacking = [name for name in (wanted, "label") if name not in names]
    if lacking or not found:
        message = (
            f"{path} needs a header with the columns {wanted} and label, and rows below it: "
            f"it has {', '.join(names) or 'nothing'}"
        )
        raise AffectstreamError(message)
    labels = [_label(row["label"] or "", card) for row in found]
    unknown = sorted(
        {row["label"] or "" for row, label in zip(found, labels, strict=True) if not label}
    )
    if unknown:
        message = (
            f"{path} has labels that mean no expression ({', '.join(unknown[:_SHOWN])}): write one "
            f"of {', '.join(EXPRESSIONS)}, and leave out rows of other labels"
        )
        raise AffectstreamError(message)
    groups = {
        name: np.array([(row[name] or "").strip() or UNKNOWN for row in found])
        for name in names
        if name not in {wanted, "label"}
    }
    places = np.array([EXPRESSIONS.index(label) for label in labels if label])
    return Rows(_batch(path, card.modality, [row[wanted] or "" for row in found]), places, groups)


def _read(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            mark = max(",;\t", key=header.count)
            reader = csv.DictReader(file, delimiter=mark, restkey="")
            rows = [dict(row) for row in reader]
            return list(reader.fieldnames or []), rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} can't be read as CSV in UTF-8: {error}"
        raise AffectstreamError(message) from error


def _label(name: str, card: ModelCard) -> str | None:
    key = fold_name(name)
    own = {fold_name(each): target for each, target in card.labels.items()}
    found = own.get(key) or propose(name)
    return found if found in EXPRESSIONS else None


def _batch(path: Path, modality: str, values: list[str]) -> pa.RecordBatch:
    if modality == "text":
        return pa.record_batch({"text": pa.array(values, pa.string())})
    places = [path.parent / value for value in values]
    absent = [place for place in places if not place.is_file()]
    if absent:
        message = f"{path} names {absent[0]}, which is no file: write paths from its folder on"
        raise AffectstreamError(message)
    return pa.record_batch(
        {"media": pa.array([place.read_bytes() for place in places], pa.binary())}
    )
