"""Free space on the disks of a live job: it has to end while its last rows can be written."""

import shutil
from pathlib import Path

from pipelines.config import Config
from schemas.errors import AffectstreamError


def check_room(config: Config) -> None:
    """Compare the free space of checkpoints and tables with ``live.least_free_mb``.

    Raises:
        AffectstreamError: there is less.
    """
    places = {"checkpoints": config.live.state}
    if "://" not in config.tables:
        places["tables"] = Path(config.tables)
    for what, place in places.items():
        free_mb = shutil.disk_usage(_existing_folder(place.absolute())).free >> 20
        if free_mb < config.live.least_free_mb:
            message = (
                f"the disk of the {what} in {place} has {free_mb:,} MB left, less than "
                f"`live.least_free_mb` ({config.live.least_free_mb:,}): make room and start again; "
                "the job goes on where it ended"
            )
            raise AffectstreamError(message)


def _existing_folder(place: Path) -> Path:
    """Return this folder, or the nearest above it that exists."""
    return next(folder for folder in (place, *place.parents) if folder.exists())
