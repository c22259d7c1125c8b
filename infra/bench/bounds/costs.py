"""What records cost a stage: processor time in this process, peak memory in one of its own."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, Final

from infra.bench.bounds.patterns import Pattern, search
from infra.bench.bounds.targets import Target, target_of
from infra.processes import ROOT

_LEAST_S: Final = 2e-4  # of a batch: less is the clock's and the call's
_LEAST_MB: Final = 1.0
_BATCH: Final = 2_000_000  # bytes of records whose memory is measured
_STEP: Final = 1_000_000  # repetitions of one batch: those of the next count on from there
_FRESH = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Worst:
    """The dearest record of ``size`` bytes that was found for a stage.

    ``cpu`` and ``memory`` are what a batch of it costs over what one of benign records of its size
    does; the memory is that of the dearest of the seeds, too.
    """

    pattern: Pattern
    size: int
    cpu: float
    memory: float


def attack(name: str, *, tries: int, seed: int = 24) -> list[Worst]:
    """Search for the dearest record of each size that a target has."""
    target = target_of(name)
    sizes = [size for size, _ in target.sizes]
    patterns = [_dearest(target, *each, tries, seed) for each in target.sizes]
    cpu = [
        cpu_s(target, pattern, *each, 5) / cpu_s(target, None, *each, 5)
        for each, pattern in zip(target.sizes, patterns, strict=True)
    ]
    memory = _memory(name, sizes, [*patterns, *target.seeds])
    return [Worst(*each) for each in zip(patterns, sizes, cpu, memory, strict=True)]


def _dearest(target: Target, size: int, rows: int, tries: int, seed: int) -> Pattern:
    def cost(pattern: Pattern) -> float:
        return cpu_s(target, pattern, size, rows, 1)

    found = search(target.seeds, target.alphabet, cost, tries=tries, seed=seed)
    again = [(cpu_s(target, pattern, size, rows, 3), pattern) for _, pattern in found[:3]]
    return max(again, key=lambda each: each[0])[1]


def cpu_s(target: Target, pattern: Pattern | None, size: int, rows: int, times: int) -> float:
    """Return the least processor time of some batches of this pattern, of benign ones for None.

    No two batches of a pattern hold the same, so that no cache answers.
    """
    spent = []
    for _ in range(times):
        given = target.prepare(_payloads(target, pattern, size, rows))
        started = process_time()
        target.run(given)
        spent.append(process_time() - started)
    return max(min(spent), _LEAST_S)


def _payloads(target: Target, pattern: Pattern | None, size: int, rows: int) -> list[bytes]:
    if pattern is None:
        return [target.benign(size)] * rows
    return [pattern.make(size, next(_FRESH) * _STEP) for _ in range(rows)]


def _memory(name: str, sizes: list[int], patterns: Sequence[Pattern]) -> list[float]:
    """Return for each size how often the dearest pattern needs the memory of a benign batch.

    A process of its own is asked, since what one batch has freed the next may take: what it had
    at its start is the base of all.
    """
    parts = [[[p.hex() for p in part] for part in (e.unit, e.head, e.tail)] for e in patterns]
    command = [sys.executable, "-m", "infra.bench.bounds.costs"]
    given = json.dumps({"name": name, "sizes": sizes, "patterns": parts})
    done = subprocess.run(
        command, input=given, cwd=ROOT, check=True, capture_output=True, text=True
    )
    peaks = json.loads(done.stdout.splitlines()[-1])
    return [worst / max(benign, _LEAST_MB) for benign, worst in peaks]


def _answer(
    name: str, sizes: list[int], patterns: list[list[list[str]]]
) -> list[tuple[float, float]]:
    """Return what a benign batch adds to this process at its peak, and the dearest, in MB.

    The benign ones come first, when no memory has been freed yet.
    """
    target = target_of(name)
    made = [Pattern(*(tuple(map(bytes.fromhex, part)) for part in each)) for each in patterns]

    def batch_mb(pattern: Pattern | None, size: int) -> float:
        rows = 1 if target.single else max(1, min(512, _BATCH // size))
        given = target.prepare(_payloads(target, pattern, size, rows))
        return peak_mb(lambda: target.run(given)) - base

    target.run(target.prepare([target.benign(1_000)]))
    base = resident_mb("VmRSS")
    benign = [batch_mb(None, size) for size in sizes]
    worst = [max(batch_mb(pattern, size) for pattern in made) for size in sizes]
    return list(zip(benign, worst, strict=True))


def peak_mb(run: Callable[[], Any]) -> float:
    """Return the most memory that this process had while it ran this, in MB (on Linux alone)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    run()
    return resident_mb("VmHWM")


def resident_mb(field: str) -> float:
    """Return VmRSS, what this process has in memory now, or VmHWM, the peak, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


if __name__ == "__main__":
    print(json.dumps(_answer(**json.loads(sys.stdin.read()))))
