"""What governance records say, wherever in their JSON they say it.

Gateways put an event into an object of their own, as text, in base64, or many into one record.
Each object of the JSON is looked at, and so is JSON within its strings: what is overlooked in a
withdrawal costs a person's right.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pyarrow as pa

from transforms.decoding.aliases import fold_spelling
from transforms.decoding.media import decode_base64
from transforms.decoding.messages.wrappings import LARGEST, unwrap

LISTS: Final = ("purposes", "modalities")
"""What a consent lists."""
_LONGEST_NAME: Final = 24  # of a member or a header
MOST_EVENTS: Final = 1_000
"""Events that are read of one record; as many records cost as much."""
_MOST_BYTES: Final = 4 << 20
"""Bytes of JSON within strings that are read of one record; a string may inflate to 64 KiB."""
_LEAST_ENCODED: Final = 16  # characters: base64 of less holds no object that names somebody
_EVENT: Final = frozenset({"granted", "subject", "data", "database64", *LISTS})
"""Members by which an object is an event or a payload, and no envelope around a list of them."""
_OF_CHANGES: Final = (*LISTS, "before")
"""Members that say nothing in a record of Debezium's: what a row was before it was changed."""
_SUBJECT: Final = re.compile(rb'"subject"\s*:\s*("(?:[^"\\]|\\.){1,512}")', re.IGNORECASE)


class Members(list[tuple[str, Any]]):
    """A JSON object with all of its members, repeated ones too, which a dict would hide."""

    def named(self, *names: str) -> list[Any]:
        """Return the values of these members, in any case and with any separators."""
        return [value for name, value in self if letters(name) in names]

    @property
    def repeated(self) -> bool:
        """Whether a member that counts stands twice, in whatever spelling."""
        return any(len(self.named(name)) > 1 for name in ("granted", "givenby", *LISTS))


class Statement(NamedTuple):
    """One event of a governance record.

    ``stated`` are the event and its data, where granting is said; ``objects`` are all objects.
    """

    stated: list[Members]
    objects: list[Members]


class Statements(NamedTuple):
    """The events of a record, at least one, which may say nothing.

    ``complete`` is false where something was not read, since it is damaged or ``crowded``: more
    than the bounds allow.
    """

    events: list[Statement]
    complete: bool
    crowded: bool


def read_statements(value: bytes | None) -> Statements:
    """Return what a value says whose outer wrappings are taken off."""
    documents, complete = _parse_all(value or b"")
    items = [item for document in documents for item in _split(document)]
    reader = _Reader()
    events = [reader.read(item) for item in items[:MOST_EVENTS]]
    crowded = reader.left < 0 or len(items) > MOST_EVENTS
    return Statements(events or [Statement([], [])], complete and not crowded, crowded)


def parse_one(value: bytes | None) -> Any:
    """Return JSON of any encoding with all members, None where it is none."""
    try:
        return json.loads(value or b"", object_pairs_hook=Members)
    except (ValueError, RecursionError):
        return None


def _split(document: Any) -> list[Any]:
    """Return the events of a batch: of an array, or of one within an object that is no event."""
    if type(document) is list:
        return document
    if isinstance(document, Members) and not document.named(*_EVENT):
        batches = [value for _, value in document if type(value) is list and _has_object(value)]
        if len(batches) == 1:
            return batches[0]
    return [document]


def _has_object(items: list[Any]) -> bool:
    return any(isinstance(item, Members) for item in items)


class _Reader:
    """Reads the events of one record; ``left`` is below 0 once its strings hold too much."""

    def __init__(self) -> None:
        self.left = _MOST_BYTES

    def read(self, item: Any) -> Statement:
        """Return what one event says."""
        item = self._opened(item)
        stated = [item] if isinstance(item, Members) else []
        for outer in tuple(stated):
            for found in outer.named("data", "database64"):
                data = self._beside_schema(self._opened(found))
                stated += [data] if isinstance(data, Members) else []
        return Statement(stated, self._find_objects(item))

    def _find_objects(self, item: Any) -> list[Members]:
        """Return each object within a value, also of JSON in strings."""
        nodes = [item]
        for node in nodes:  # which grows
            if isinstance(node, Members):
                passed = _OF_CHANGES if node.named("after") else LISTS
                values = [value for name, value in node if letters(name) not in passed]
                nodes += [each for each in map(self._opened, values) if isinstance(each, list)]
            elif type(node) is list:
                nodes += [each for each in node if isinstance(each, list)]
        return [node for node in nodes if isinstance(node, Members)]

    def _beside_schema(self, value: Any) -> Any:
        """Return what Kafka Connect put beside a schema, any other value as it is."""
        if isinstance(value, Members) and {name for name, _ in value} == {"schema", "payload"}:
            return self._opened(value.named("payload")[0])
        return value

    def _opened(self, value: Any) -> Any:
        """Return the JSON object or array that a string is, written out or in base64."""
        if not isinstance(value, str) or self.left < 0:
            return value
        text = value.encode("utf-8", "replace").strip()
        if text[:1] not in {b"{", b"[", b'"', b"\xef"}:
            text = (decode_base64(text) or b"") if len(text) >= _LEAST_ENCODED else b""
        text = _bare(text)
        self.left -= len(text)
        documents = _parse_all(text)[0] if text else []
        if len(documents) > 1:
            return documents
        return documents[0] if documents and isinstance(documents[0], list) else value


def _bare(value: bytes) -> bytes:
    found = unwrap(value)
    return found if isinstance(found, bytes) else value


def _parse_all(value: bytes) -> tuple[list[Any], bool]:
    """Return the JSON values that stand one behind the other, and whether they are all there is.

    Where one is damaged, the subjects that can be seen behind it are read as objects. Plain text
    holds no more than it says.
    """
    value = _decompress(value)
    if not value.strip():
        return [], True
    if (whole := parse_one(value)) is not None:
        return [whole], True
    try:
        text = value.decode(json.detect_encoding(value))
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    found: list[Any] = []
    place = _next(text, 0)
    try:
        while place < len(text):
            document, place = _decoder.raw_decode(text, place)
            found.append(document)
            place = _next(text, place)
    except (ValueError, RecursionError):
        rest = text[place:]
        names = map(parse_one, _SUBJECT.findall(rest.encode("utf-8", "replace")))
        found += [Members([("subject", name)]) for name in names if name]
        return found, rest.isprintable() and not _BRACKETS & {*rest}
    return found, True


def _next(text: str, place: int) -> int:
    """Return where the next value begins: NDJSON has line ends between them, others a mark."""
    found = _BETWEEN.match(text, place)
    return found.end() if found else place


_BRACKETS: Final = frozenset('{["')
_BETWEEN: Final = re.compile(r"[\s\x00\x1e\ufeff]*")
_decoder: Final = json.JSONDecoder(object_pairs_hook=Members)


def _decompress(value: bytes) -> bytes:
    """Return what is in a value that is compressed otherwise than by gzip, as far as it is read."""
    for magic, read in _CODECS.items():
        if value.startswith(magic):
            try:
                found = read(value)
            except (OSError, ValueError):
                return value
            return _bare(found) if len(found) <= LARGEST else value
    return value


def _stream(codec: str) -> Callable[[bytes], bytes]:
    return lambda value: pa.input_stream(pa.py_buffer(value), compression=codec).read(LARGEST + 1)


_CODECS: Final[Mapping[bytes, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        b"\x28\xb5\x2f\xfd": _stream("zstd"),
        b"\x04\x22\x4d\x18": _stream("lz4"),
        b"BZh": _stream("bz2"),
    }
)


def letters(name: str) -> str:
    """Return the letters and digits of a short name, in lower case; of a long one nothing."""
    return _bare_name(name) if len(name) <= _LONGEST_NAME else ""


@lru_cache(maxsize=1024)
def _bare_name(name: str) -> str:
    return fold_spelling(name).replace("-", "")
