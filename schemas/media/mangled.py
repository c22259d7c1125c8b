"""Media whose bytes were taken for text on their way, and what can be got back of them.

A string serialiser writes each byte of Latin-1 or Windows-1252 as the UTF-8 of a character, which
loses nothing. UTF-8 puts a mark where bytes are none, ASCII a question mark or nothing, and 7 bits
cut the highest off: then half of the bytes are lost, and what remains of a WAV still decodes.
"""

import re
from typing import Final

LOST: Final = "\ufffd".encode()
"""What a decoder of UTF-8 puts where bytes are none."""
_MARKED: Final = 1 / 64
"""Share of such marks from which on bytes were decoded as text; compressed media have 1 in 10^7."""
_CONTROL: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
"""What no text has that people write; ESC is in that of terminals."""
_LEAST_BYTES: Final = 32
"""Different bytes from which on data are samples or packets: digital silence has one."""
_JUDGED: Final = 1 << 16
"""Bytes that are looked at; a decoder reads 1 MB in 0.1 ms, but these are counted one by one."""
_LONGEST: Final = 4
"""Bytes of a character."""
_BYTE_OF: Final = {
    ord(bytes([byte]).decode("cp1252")): byte
    for byte in range(0x80, 0xA0)
    if byte not in b"\x81\x8d\x8f\x90\x9d"  # which browsers take for the control characters
}


def is_mangled(media: bytes) -> bool:
    """Tell whether media were text on their way: valid UTF-8, and yet nothing that people write.

    Digital silence behind a head of ASCII is valid too, but always the same: the second half tells,
    which holds samples or packets. Of most files a decoder stops within some bytes.
    """
    try:
        media.decode()
    except UnicodeDecodeError as error:
        if error.start < len(media) - _LONGEST:  # or it is cut within a character
            return False
    half = len(media) // 2
    behind = media[half : half + _JUDGED]
    if behind.count(LOST) > _MARKED * len(behind):
        return True
    return len(set(behind)) >= _LEAST_BYTES and _CONTROL.search(media) is not None


def restore_bytes(media: bytes) -> bytes | None:
    """Return media whose bytes were taken for Latin-1 or Windows-1252; None where they were not."""
    if media.isascii() or not is_mangled(media):
        return None
    try:
        return media.decode().translate(_BYTE_OF).encode("latin-1")
    except UnicodeError:
        return None
