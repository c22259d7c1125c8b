"""Settings of a person's rights: whose word counts, and what is kept beyond the tables."""

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


class Signatures(Settings):
    """Signed consent: with it, what opens the gate or deletes has to be signed by its source."""

    keys: Path | None = Field(
        default=None,
        description="File of the public keys of each CloudEvents source; without it nobody signs, "
        "and whoever may write to the governance topics is believed",
    )
