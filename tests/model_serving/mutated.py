"""Files that were damaged on their way."""

from collections.abc import Sequence

import numpy as np

_PIECES = [b"\0" * 8, b"\xff" * 8, b"RIFF", b"OggS", b"IEND", b"moov", b"stsz"]


def mutated(seeds: Sequence[bytes], count: int, seed: int = 20_261_123) -> list[bytes]:
    """Return copies of seeds with bytes changed, cut out, doubled, cut off or put in."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(data) or 1))
            size = int(rng.integers(1, 32))
            kind = rng.integers(5)
            if kind == 0:
                data[at : at + size] = rng.bytes(size)
            elif kind == 1:
                del data[at : at + size]
            elif kind == 2:
                data[at:at] = data[at : at + size]
            elif kind == 3 and number % 4 == 0:  # else most would lose their end
                del data[at:]
            else:
                data[at:at] = _PIECES[rng.integers(len(_PIECES))]
        found.append(bytes(data))
    return found
