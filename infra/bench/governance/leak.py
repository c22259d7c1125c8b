"""The leak check with the shipped models: how many tokens were sent, and how many were found."""

from pathlib import Path

from pipelines.govern.leakcheck.check import check_leaks


def measure(folder: Path) -> dict[str, float]:
    """Send tokens through every field in every encoding, and search all that was written."""
    found = check_leaks(folder / "leakcheck")
    return {
        "leak_tokens": len(found.canaries),
        "leak_found": len(found.leaked),
        "leak_allowed_landed": len(found.landed),
    }
