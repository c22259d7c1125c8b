"""How many partitions of each topic a job began with: Beam's source reads these and no others."""

import json
from pathlib import Path

from schemas.errors import AffectstreamError
from schemas.strict import write_private

Counts = dict[str, int]
"""Topic → number of partitions."""

_FILE = "partitions.json"


def forget_partitions(state: Path) -> None:
    """Forget the noted numbers: a job without a checkpoint reads the partitions that it finds."""
    (state / _FILE).unlink(missing_ok=True)


def check_partitions(state: Path, found: Counts) -> None:
    """Note the partitions that the job begins with; compare them from the second call on.

    Raises:
        AffectstreamError: a topic has grown, so a part of it would not be read, or was created
            again with fewer partitions.
    """
    path = state / _FILE
    if not path.exists():
        write_private(path, json.dumps(found).encode())
        return
    began: Counts = json.loads(path.read_text(encoding="utf-8"))
    for topic, count in found.items():
        if count != began.get(topic, count):
            message = (
                f"topic {topic} has {count} partitions now, and the job in {state} reads the "
                f"{began[topic]} that it began with: start again with `--state` naming a new "
                "folder; that reads all topics from their beginning, and lands nothing twice"
            )
            raise AffectstreamError(message)
