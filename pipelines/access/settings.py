"""Settings of who may read what, of the log of who did, and of how long rows are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from schemas.modalities import MODALITIES
from schemas.settings import Count, Settings
from schemas.strict import suggest
from schemas.table import Root
from schemas.tables import TABLES

ROLES = Path(__file__).resolve().parents[2] / "schemas" / "policies" / "roles.yaml"

Days = Annotated[Count, Field(ge=1, le=1_095)]
"""At most the three years of BIPA 15(a)."""


class Access(Settings):
    """Who may read what, and where reading is logged."""

    roles: Path = Field(
        default=ROLES, description="Roles: the tables, columns, rows and pages that each may see"
    )
    page_role: str | None = Field(
        default=None,
        description="Role that `affectstream dashboard` shows the page to; without one, all of it",
    )
    audit: Path | None = Field(
        default=None,
        description="Folder of the audit log: who read what, in files that only their owner reads; "
        "by default `audit` beside the tables, or ~/.local/state/affectstream/audit for tables in "
        "an object store",
    )
    audit_days: Count = Field(
        default=365,
        ge=31,
        le=3_650,
        description="How long lines of the audit log are kept, in days; whole months are deleted",
    )

    def audit_folder(self, root: Root) -> Path:
        """Return the folder of the log of who read the tables under ``root``.

        It does not depend on where a command is given, so that nobody reads beside the log.
        """
        if self.audit is not None:
            return self.audit
        if "://" in str(root):
            return Path.home() / ".local" / "state" / "affectstream" / "audit"
        return Path(root).resolve().parent / "audit"


class Retention(Settings):
    """How long rows are kept, where that is shorter or longer than what ships."""

    days: Mapping[str, Days] = Field(
        default_factory=dict,
        description="Table → days that its rows are kept, for tables that are not kept as proof",
    )
    modality_days: Mapping[str, Days] = Field(
        default={"voice": 14, "face": 14},
        description="Modality → days that its observations are kept, where that is shorter than "
        "their table",
    )

    @field_validator("days")
    @classmethod
    def _name_tables(cls, given: Mapping[str, int]) -> Mapping[str, int]:
        deleted = {name for name, table in TABLES.items() if table.retention_days is not None}
        for unknown in sorted(given.keys() - deleted):
            message = f"{unknown!r} is no table whose rows end: {suggest(unknown, deleted)}"
            raise ValueError(message)
        return given

    @field_validator("modality_days")
    @classmethod
    def _name_modalities(cls, given: Mapping[str, int]) -> Mapping[str, int]:
        for unknown in sorted(given.keys() - MODALITIES.keys()):
            message = f"{unknown!r} is no modality: {suggest(unknown, MODALITIES)}"
            raise ValueError(message)
        return given
