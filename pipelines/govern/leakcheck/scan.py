"""The search: every byte under a folder, and what Parquet files hold once they are decompressed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.govern.leakcheck.encodings import find_tokens

_AT_ONCE = 16 << 20
_OVERLAP = 4096
"""Bytes that two pieces of a large file share: no token in any encoding is longer."""


def scan(folder: Path) -> Mapping[str, set[str]]:
    """Return token → the files under a folder that hold it in any encoding."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        for piece in (name.encode(), *_pieces(path)):
            for token in find_tokens(piece):
                found.setdefault(token, set()).add(name)
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        before = b""
        while piece := file.read(_AT_ONCE):
            yield before + piece
            before = piece[-_OVERLAP:]
    if path.suffix == ".parquet":
        yield from _columns(path)


def _columns(path: Path) -> Iterator[bytes]:
    """Yield the values of each column of texts or bytes, and the file's statistics."""
    file = pq.ParquetFile(path)
    yield str(file.metadata.to_dict()).encode()
    for batch in file.iter_batches():
        for column in batch.columns:
            yield "\n".join(map(_shown, column.to_pylist())).encode()


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
