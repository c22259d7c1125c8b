"""The dearest record of each stage that a search finds, in costs of a benign one of its size.

Also a commit of 2,000 rows on 2,000 days, and 200,000 sessions of one subject in one window.
"""

from pathlib import Path

from infra.bench.bounds.costs import attack
from infra.bench.bounds.days import ROWS, commit_mb
from infra.bench.bounds.sessions import flood
from infra.bench.bounds.targets import NAMES

_TRIES = 300
_SESSIONS = 200_000


def measure(folder: Path) -> dict[str, float]:
    """Attack every stage; ``bounds_*_cpu`` and ``_memory`` are the largest over its sizes."""
    del folder
    found = {}
    for name in NAMES:
        worst = attack(name, tries=_TRIES)
        key = "bounds_" + name.lower().replace(" ", "_")
        found[f"{key}_cpu"] = max(each.cpu for each in worst)
        found[f"{key}_memory"] = max(each.memory for each in worst)
    sessions = flood(_SESSIONS)
    return found | {
        "bounds_days_2000_mb": commit_mb(ROWS),
        "bounds_days_1_mb": commit_mb(1),
        "bounds_sessions_mb": sessions["peak_mb"],
        "bounds_sessions_dead": sessions["dead_letters"],
    }
