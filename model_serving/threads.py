"""How many threads torch computes with while a model answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

THREADS: Final = 1
"""Threads of each worker: the nets are too small to share one among cores, so workers scale."""


@contextmanager
def model_threads() -> Iterator[None]:
    """Let torch compute with ``THREADS`` in this thread, and as before afterwards.

    It is set around each batch and not once a process, which costs 0.1 µs: a thread that has
    computed keeps its own number, whatever another one sets, and some packages set it when they are
    imported (``silero_vad``).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
