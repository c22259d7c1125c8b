"""A tiny training that a test can kill: ``python tiny_training.py FOLDER SECONDS_A_STEP``."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model_serving.training.harness import Problem, Run, fit, is_main
from model_serving.training.heads import DEFAULT_HEADS, HeadLoss, blank_targets
from model_serving.training.recipe import Recipe, Schedule

ROWS = 256


class Tiny(nn.Module):
    """One hidden layer with dropout, so that a run hangs on the random state too."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3))
        self.classifier = nn.Linear(16, 9)
        self._wait = wait
        self.seen: list[float] = []

    def forward(self, values: Tensor) -> SimpleNamespace:
        if self.training:
            time.sleep(self._wait)
            self.seen += values[:, 0].tolist()
        return SimpleNamespace(logits=self.classifier(self.body(values)))


def recipe(**schedule: Any) -> Recipe:
    settings = {"epochs": 4, "batch": 16, "learning_rate": 0.03, "evaluations": 4, "patience": 4}
    return Recipe(
        name="tiny", modality="motion", licence="open", schedule=Schedule(**settings | schedule)
    )


def problem(wait: float = 0.0) -> tuple[Problem, np.ndarray]:
    """The sign of the first of four values decides between the first two expressions."""
    torch.manual_seed(1)
    values = torch.randn(ROWS, 4).numpy()
    truth = (values[:, 0] > 0).astype(int)
    targets = blank_targets(ROWS, DEFAULT_HEADS)
    targets[:, :7] = np.eye(7)[truth]
    items = [{"values": row, "labels": target} for row, target in zip(values, targets, strict=True)]

    def collate(rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.stack([r[name] for r in rows])) for name in rows[0]}

    def score(logits: Any) -> float:
        return float((logits["dev"][:, :7].argmax(axis=1) == truth).mean())

    net = Tiny(wait)
    loss = HeadLoss(DEFAULT_HEADS)
    return Problem(net, items, {"dev": items}, collate, loss, score), truth  # type: ignore[arg-type]


def main(folder: Path, wait: float) -> None:
    found, _ = problem(wait)
    best = fit(found, recipe(), Run(folder=folder, quiet=True))
    np.save(folder / f"rows-{os.environ.get('RANK', '0')}.npy", found.net.seen)
    if is_main():
        save_file(found.net.state_dict(), folder / "final.safetensors")
        (folder / "score.txt").write_text(str(best))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
