"""Data sets of whole batches: drawn anew each time, or drawn once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from model_serving.training.harness import Batch, rank


@dataclass(frozen=True, slots=True)
class DrawnItems(Dataset[Batch]):
    """``count`` items an epoch; ``draw(rows, generator)`` makes each batch anew.

    What is drawn depends on torch's generator, whose state a checkpoint holds, and on the process.
    ``draw`` must pickle: a function of a module, or ``functools.partial`` of one.
    """

    count: int
    draw: Callable[[int, np.random.Generator], Batch]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Return a whole batch of so many items, for ``harness.pass_batch_through``."""
        rng = np.random.default_rng([rank(), int(torch.randint(2**62, ()))])
        return self.draw(len(rows), rng)


@dataclass(frozen=True, slots=True)
class FixedItems(Dataset[Batch]):
    """The items of one batch, which are the same in every epoch."""

    batch: Batch

    def __len__(self) -> int:
        return len(next(iter(self.batch.values())))

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        """Return these items as a whole batch, for ``harness.pass_batch_through``."""
        return {name: values[rows] for name, values in self.batch.items()}
