"""Arrays that take long to make, cached in a folder by a hash of all that they depend on."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from model_serving.card import CARD_FILE


def load_or_make(
    folder: Path, parts: Iterable[str | bytes], make: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return what ``make`` returns, from ``folder`` where it was made from the same parts before.

    It is written under another name and renamed: after a kill it is complete or absent.
    """
    key = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        key.update(len(data).to_bytes(8, "little") + data)
    path = folder / f"{key.hexdigest()}.npy"
    if not path.is_file():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            np.save(file, made)
        Path(file.name).replace(path)
    return np.asarray(np.load(path))


def model_files(folder: Path) -> list[bytes]:
    """Return what a model's logits depend on: all files of its folder but the card."""
    return [
        path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.suffix in {".json", ".safetensors", ".txt"} and path.name != CARD_FILE
    ]
