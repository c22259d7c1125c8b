"""In which of the modes of CloudEvents a record carries its event: binary, structured, or another.

The header ``content-type`` says it, whatever its case and parameters are. Without one, as the
official SDK for Python sends it, a JSON object with ``specversion`` is a structured event where no
header is an attribute.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DeadLetterCode
from schemas.events import GOVERNANCE_KINDS, MEDIA_KINDS
from transforms.decoding.messages.wrappings import in_other_encodings, unwrap_values

_EVENTS: Final = "application/cloudevents"
NAMES: Final = ("ce_id", "ce_source", "ce_type", "ce_specversion")
"""Attributes of which every event in binary mode has one."""
_OTHER_FORMATS: Final = ("avro", "protobuf", "xml", "cbor", "msgpack", "thrift")


class Modes(NamedTuple):
    """Values that nothing is around, which of them are structured, and each row's problem."""

    values: pa.Array
    structured: np.ndarray
    problems: np.ndarray


class _Version(msgspec.Struct, gc=False):
    specversion: msgspec.Raw = msgspec.Raw()


_read_version = msgspec.json.Decoder(_Version).decode


def read_modes(kind: str, values: pa.Array, headers: dict[str, pa.Array]) -> Modes:
    """Tell how the events of one kind are carried, and take off what is around their JSON.

    Media in binary mode stay as they are.
    """
    types = headers["content-type"].dictionary_encode()
    structured = _rows_of(types, _is_structured)
    bare = np.logical_and.reduce(
        [headers[name].is_null().to_numpy(zero_copy_only=False) for name in NAMES]
    )
    is_json = structured | bare if kind in MEDIA_KINDS else np.ones(len(values), bool)
    if kind in GOVERNANCE_KINDS:  # a grant is read strictly
        is_json &= ~in_other_encodings(values)
    values, problems = unwrap_values(values, is_json)
    for row in np.flatnonzero(bare & ~structured):
        structured[row] = _has_version(values[row].as_py())
    unread = is_json & _rows_of(types, _is_unread)
    if unread.any():
        objects = pc.fill_null(pc.starts_with(values, b"{"), True)
        unread &= ~objects.to_numpy(zero_copy_only=False)
        unread &= problems == None  # noqa: E711  element-wise
        problems[unread] = DeadLetterCode.FORMAT_UNSUPPORTED
    problems[_rows_of(types, _is_batch) & ~structured] = DeadLetterCode.BATCHED_EVENTS
    return Modes(values, structured, problems)


def _rows_of(types: pa.DictionaryArray, test: Callable[[str], bool]) -> np.ndarray:
    """Return which rows have a content type that passes a test."""
    passed = [test(name) for name in types.dictionary.to_pylist()]
    if not any(passed):
        return np.zeros(len(types), bool)
    rows = pc.fill_null(pa.array(passed).take(types.indices), False)
    return rows.to_numpy(zero_copy_only=False).copy()


@lru_cache(maxsize=1024)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_structured(content_type: str) -> bool:
    return _media_type(content_type) in {_EVENTS, f"{_EVENTS}+json"}


def _is_batch(content_type: str) -> bool:
    return _media_type(content_type).startswith(f"{_EVENTS}-batch")


def _is_unread(content_type: str) -> bool:
    """Whether this is a format of events or data that is not JSON."""
    name = _media_type(content_type)
    events = name.startswith(_EVENTS) and not _is_structured(content_type)
    return events or any(each in name for each in _OTHER_FORMATS)


def _has_version(value: bytes | None) -> bool:
    """Whether a value is a JSON object with ``specversion``."""
    if not value or b"specversion" not in value:
        return False
    try:
        return bytes(_read_version(value).specversion) not in {b"", b"null"}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
