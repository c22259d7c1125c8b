"""Settings of signatures: who may grant, withdraw and ask for erasure."""

from pathlib import Path

from pydantic import Field

from schemas.settings import Settings


class Signatures(Settings):
    """Signed consent: with it, what opens the gate or deletes has to be signed by its source."""

    keys: Path | None = Field(
        default=None,
        description="File of the public keys of each CloudEvents source; without it nobody signs, "
        "and whoever may write to the governance topics is believed",
    )
