"""Settings of what is kept for a person's rights beyond the tables."""

from pathlib import Path

from pydantic import Field

from schemas.settings import Settings


class Archive(Settings):
    """The sealed archive of past days."""

    vault: Path | None = Field(
        default=None,
        description="File of the keys that sealed rows open with; an erasure destroys those of the "
        "person, and with them the person's rows in every copy of the archive",
    )
