"""Records whose header names are not UTF-8, which kafka-python refuses to read past.

The protocol says UTF-8, and brokers accept any bytes: one such record would end every reading of
its topic, consents included. Java's consumer replaces what it cannot decode; so does this module.
"""

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint


class _AnyHeaderName(DefaultRecordBatch):
    """A batch in which each byte beyond ASCII of an unreadable header name is a question mark."""

    _pos: int

    def _read_msg(self) -> Any:
        start = self._pos
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            _replace_unreadable(self._buffer, start)
            self._pos = start
            return super()._read_msg()


def _replace_unreadable(buffer: bytearray, pos: int) -> None:
    """Replace bytes in the header names of the record at ``pos``; its length stays."""
    for _ in ("length", "attributes", "timestamp", "offset"):
        _, pos = decode_varint(buffer, pos)
    for _ in ("key", "value"):
        pos = _skip_sized(buffer, pos)
    count, pos = decode_varint(buffer, pos)
    for _ in range(count):
        size, pos = decode_varint(buffer, pos)
        name = bytes(buffer[pos : pos + size])
        try:
            name.decode()
        except UnicodeDecodeError:
            buffer[pos : pos + size] = bytes(b if b < 128 else ord("?") for b in name)
        pos = _skip_sized(buffer, pos + size)


def _skip_sized(buffer: bytearray, pos: int) -> int:
    """Return the position after the length-prefixed bytes at ``pos``; length -1 is null."""
    size, pos = decode_varint(buffer, pos)
    return int(pos + max(size, 0))


def read_any_header_name() -> None:
    """Patch kafka-python to read such records; it has no setting for it."""
    memory_records.DefaultRecordBatch = _AnyHeaderName
