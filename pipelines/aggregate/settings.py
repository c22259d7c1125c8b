"""Settings of aggregates."""

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from schemas.errors import AffectstreamError
from schemas.settings import Count, Number, Settings
from schemas.table import Root

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Aggregates(Settings):
    """Counts and means with differential privacy: what one subject may add, what may be learnt."""

    epsilon: Number = Field(
        default=1.0, ge=0.01, le=10, description="Privacy loss (ε) of one question"
    )
    delta: Number = Field(
        default=1e-8,
        ge=1e-15,
        le=1e-5,
        description="Probability (δ) that the loss of one question is larger; half of it is for "
        "groups that appear through one subject",
    )
    budget_epsilon: Number = Field(
        default=10.0,
        ge=0.01,
        le=100,
        description="Privacy loss (ε) of all questions of an audience together, for good",
    )
    budget_delta: Number = Field(
        default=1e-6, ge=1e-15, le=1e-4, description="Probability (δ) that it is larger"
    )
    min_subjects: Count = Field(
        default=20,
        ge=20,
        le=1_000_000,
        description="Number of subjects under which a group is never shown",
    )
    max_groups: Count = Field(
        default=4,
        ge=1,
        le=1_000,
        description="Number of groups that a subject counts in, chosen at random of theirs",
    )
    max_windows: Count = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Number of windows of a subject that count in a group, chosen at random",
    )
    audiences: tuple[str, ...] = Field(
        default=("analysts",),
        description="Who may ask; each has a budget of its own, so that two which share their "
        "answers learn as much as both budgets allow",
    )
    ledger: Path | None = Field(
        default=None,
        description="File of what was asked and spent; default: `_aggregates.sqlite` beside the "
        "tables. Tables in an object store need one",
    )

    def ledger_file(self, root: Root) -> Path:
        """Return the file of the ledger of these tables.

        Raises:
            AffectstreamError: the tables stand in an object store, and no file is named.
        """
        if self.ledger is not None:
            return self.ledger
        if "://" in str(root):
            message = (
                f"no budget can be kept in {root}: name a file as `aggregates.ledger`, the same "
                "for everybody who asks"
            )
            raise AffectstreamError(message)
        return Path(root) / "_aggregates.sqlite"

    @field_validator("audiences")
    @classmethod
    def _named_plainly(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given or not all(map(_NAME.fullmatch, given)):
            message = (
                "name at least one audience, each with 1 to 64 of the characters A-Z a-z 0-9 _.-"
            )
            raise ValueError(message)
        return given

    @model_validator(mode="after")
    def _budget_is_for_one_question_at_least(self) -> "Aggregates":
        for loss in ("epsilon", "delta"):
            one, all_of_them = getattr(self, loss), getattr(self, f"budget_{loss}")
            if one > all_of_them:
                message = (
                    f"`{loss}` ({one:g}) is more than `budget_{loss}` ({all_of_them:g}), so that "
                    "no question could be asked: lower the first or raise the second"
                )
                raise ValueError(message)
        return self
