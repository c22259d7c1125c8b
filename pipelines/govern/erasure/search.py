"""The proof by bytes: in which files references or row ids still stand."""

import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler

from pipelines.tables.arrow_types import flat_columns, is_text
from schemas.table import Root

_ID = 32  # hex digits
_RUNS = re.compile(rb"[0-9a-f]{%d,}" % _ID)


def filesystem(place: str) -> pa_fs.FileSystem:
    """Return the files under a folder, or under an object store's URI, by their relative paths."""
    return pa_fs.PyFileSystem(DeltaStorageHandler(place))


def files_under(files: pa_fs.FileSystem) -> list[pa_fs.FileInfo]:
    """List all files, those of the log too."""
    found = files.get_file_info(pa_fs.FileSelector("", recursive=True))
    return [info for info in found if info.type == pa_fs.FileType.File]


def files_that_name(root: Root, ids: Iterable[str], but: Iterable[str] = ()) -> list[str]:
    """Return the files under a root that hold one of these ids, each of 32 hex digits.

    Parquet is read in its bytes, statistics and page index included, and in its decoded texts.
    ``but`` are folders under the root that are left out.
    """
    out = tuple(f"{folder}/" for folder in but)
    wanted = frozenset(ids)
    files = filesystem(str(root))
    return [
        place
        for info in files_under(files)
        if not (place := f"{root}/{info.path}").startswith(out)
        and holds_one(files, info.path, wanted)
    ]


def holds_one(files: pa_fs.FileSystem, path: str, ids: Set[str]) -> bool:
    """Tell whether a file holds one of these ids; one that is gone meanwhile does not."""
    if not ids:
        return False
    try:
        with files.open_input_file(path) as file:
            data = file.read_buffer()
    except FileNotFoundError:
        return False
    return _holds(data, ids) or (path.endswith(".parquet") and _decoded(data, ids))


def local_files_that_name(places: Iterable[Path], ids: Iterable[str]) -> list[str]:
    """Return the files, of these or under these folders, that hold one of these ids.

    Files of a running job may vanish meanwhile.
    """
    wanted = frozenset(ids)
    found = []
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            try:
                data = path.read_bytes() if path.is_file() else b""
            except FileNotFoundError:
                continue
            if _holds(pa.py_buffer(data), wanted):
                found.append(str(path))
    return found


def _holds(data: pa.Buffer, wanted: Set[str]) -> bool:
    return any(each in wanted for run in _RUNS.finditer(memoryview(data)) for each in _ids(run[0]))


def _ids(run: bytes) -> Iterator[str]:
    """Yield every 32 digits in a row: ids may stand one behind the other, or behind a digit."""
    text = run.decode()
    for start in range(len(text) - _ID + 1):
        yield text[start : start + _ID]


def _decoded(data: pa.Buffer, wanted: Set[str]) -> bool:
    file = pq.ParquetFile(pa.BufferReader(data))
    known = pa.array([each.encode() for each in sorted(wanted)], pa.binary())
    for batch in file.iter_batches():
        for column in batch.columns:
            for texts in map(_bytes, flat_columns(column)):
                if pc.any(pc.is_in(texts, known)).as_py():
                    return True
                longer = texts.filter(pc.greater(pc.binary_length(texts), _ID))
                for text in pc.unique(longer).to_pylist():
                    if _holds(pa.py_buffer(text), wanted):
                        return True
    return False


def _bytes(column: pa.Array) -> pa.Array:
    """Return texts and bytes as bytes; of anything else nothing."""
    kind = column.type
    if is_text(kind):
        return column.cast(pa.string()).cast(pa.binary())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or kind == pa.binary_view():
        return column.cast(pa.binary())
    return pa.nulls(0, pa.binary())
