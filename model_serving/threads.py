"""How many threads torch computes with while a model is loaded and while it answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

THREADS: Final = 1
"""Threads of each worker: the nets are too small to share one among cores, so workers scale.

On two busy cores the shipped models took 3 to 11 times the CPU time with two threads as with one:
a thread spins while it waits for the other, which a neighbour keeps from running.
"""


@contextmanager
def model_threads() -> Iterator[None]:
    """Let torch compute with ``THREADS`` in this thread, and as before afterwards.

    It is set around each batch and not once a process, for less than 10 µs: a thread that has
    computed keeps its own number, whatever another one sets, and some packages set it when they
    are imported (``silero_vad``).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
