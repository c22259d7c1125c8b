"""A million mutated records through the graph: none may stop it, and each must end as a row.

In chunks, each with tables and keys of its own: most with constant models, where volume counts, and
some with the models that ship, which have to bear damaged media.
"""

import shutil
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from infra.bench.mutations.account import Account, account_for
from infra.bench.mutations.stream import BULK, MEDIA, write_mutated
from model_serving.card import CONSTANT
from pipelines.config import Config, load_config
from pipelines.run.replay import Stages, replay
from schemas.errors import DeadLetterCode
from schemas.keys import write_keys
from schemas.modalities import MODALITIES

CHUNK: Final = 20_000
_BULK_CHUNKS: Final = 49
_MEDIA_CHUNKS: Final = 1
"""With constant models, and with those that ship: a million records in all."""
SEED: Final = "affectstream"


@dataclass(slots=True)
class Found:
    """What came of the chunks so far; a crash is a run that ended by an exception."""

    mutated: int = 0
    crashes: int = 0
    lost: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def add(self, mutated: int, account: Account, *, crashed: bool) -> None:
        """Add what came of another chunk."""
        self.mutated += mutated
        self.crashes += crashed
        self.lost += len(account.lost) + account.lost_contexts
        self.ends.update(account.ends.values())

    def figures(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield the figures under their names; records that were left as they are count in ends."""
        dead = [count for end, count in self.ends.items() if end.startswith("dead letter")]
        yield f"{name}_records", self.mutated
        yield f"{name}_crashes", self.crashes
        yield f"{name}_poison", self.ends[f"dead letter {DeadLetterCode.POISON}"]
        yield f"{name}_lost", self.lost
        yield f"{name}_dead", sum(dead)
        yield f"{name}_refused", self.ends["refusals"]
        yield f"{name}_recognised", self.ends["observations"]


def measure(folder: Path) -> dict[str, float]:
    """Return how many mutated records were sent, stopped a run or a stage, and ended nowhere.

    ``poison`` are those that made a stage raise, and cost themselves alone.
    """
    bulk = run_chunks(folder, range(_BULK_CHUNKS))
    media = run_chunks(folder, range(_MEDIA_CHUNKS), media=True)
    return dict([*bulk.figures("mutated"), *media.figures("mutated_media")])


def run_chunks(
    folder: Path, chunks: range, *, media: bool = False, count: int = CHUNK, seed: str = SEED
) -> Found:
    """Run these chunks of ``count`` mutated records each, and tell on stderr how it goes."""
    found, console = Found(), Console(stderr=True)
    for chunk in chunks:
        name = f"{seed}-{'media' if media else 'bulk'}-{chunk}"
        mutated, account, crashed = run_chunk(folder / name, count, name, media=media)
        found.add(mutated, account, crashed=crashed)
        console.print(
            f"{name}: {found.mutated:,} mutated, {found.crashes} crashes, lost {account.lost[:9]} "
            f"and {account.lost_contexts} contexts; {dict(found.ends.most_common())}"
        )
        shutil.rmtree(folder / name)
    return found


def run_chunk(folder: Path, count: int, seed: str, *, media: bool) -> tuple[int, Account, bool]:
    """Return how many mutated records went through the graph, their account, and if it crashed."""
    mutated = write_mutated(folder / "log", count, seed, MEDIA if media else BULK)
    config = chunk_config(folder, media=media)
    stages: Stages = {}
    try:
        stages = replay(config, Console(quiet=True)).stages
    except Exception:  # whatever a record makes it raise is a finding
        Console(stderr=True).print(traceback.format_exc(), markup=False)
    return mutated, account_for(config, stages), not stages


def chunk_config(folder: Path, *, media: bool) -> Config:
    """Return the settings to run the folder's log with, under new keys."""
    write_keys(folder / "keys.yaml")
    settings: dict[str, Any] = {"log": folder / "log", "tables": folder / "tables"}
    if not media:
        settings["models"] = {name: {"model": CONSTANT} for name in MODALITIES}
    return load_config(None, keys=folder / "keys.yaml", **settings)
