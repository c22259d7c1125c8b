"""Which versions of CloudEvents and of the payloads' schemas are read: those of major version 1."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SPEC: Final = re.compile(r"\s*1(\.0(\.\d+)?)?\s*")
_MAJOR: Final = re.compile(
    r"(?:^|[/:._#?=-])(?:v(\d+)(?:[.-]\d+)*|(\d+)(?:[.-]\d+)+)", re.IGNORECASE
)
"""A version in a URI: `v2`, `2.1`, `2-0-0`. A lone number is a schema's id or a revision."""
_LONGEST: Final = 512


def find_other_specs(versions: pa.Array) -> np.ndarray:
    """Return which events are of another version of CloudEvents than 1.0; absent ones are not."""
    return _rows_of(versions, lambda version: not _SPEC.fullmatch(version))


def find_other_schemas(kind: str, schemas: pa.Array) -> np.ndarray:
    """Return which events name another major version of their kind's schema.

    Only a URI that names the kind or this product counts: what others number is not known.
    """
    return _rows_of(schemas, lambda uri: _is_other(kind, uri))


def _rows_of(column: pa.Array, test: Callable[[str], bool]) -> np.ndarray:
    coded = column.dictionary_encode()
    passed = [test(value) for value in coded.dictionary.to_pylist()]
    if not any(passed):
        return np.zeros(len(column), bool)
    return pc.fill_null(pa.array(passed).take(coded.indices), False).to_numpy(zero_copy_only=False)


@lru_cache(maxsize=1024)
def _is_other(kind: str, uri: str) -> bool:
    if len(uri) > _LONGEST:
        return False
    path = uri.partition("//")[2].partition("/")[2] if "//" in uri else uri
    named = re.split(r"[/:._#?=-]", path.lower())
    numbers = (one or other for one, other in _MAJOR.findall(path.lower()))
    versions = [int(number) for number in numbers if len(number) < 4]  # else it is a date
    return bool(versions) and versions[-1] != 1 and (kind in named or "affectstream" in named)
