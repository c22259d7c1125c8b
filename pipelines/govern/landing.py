"""Settings of what may land that could identify somebody."""

from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.settings import Settings

ScenePattern = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.*?-]{1,63}$", strict=True)
]


class Landing(Settings):
    """What lands as it is, and what lands at all; without a word here, nothing that identifies."""

    public_scenes: tuple[ScenePattern, ...] = Field(
        default=(),
        description="Names of scenes that are nobody's, or patterns such as level-*: they land as "
        "they are, any other as a keyed pseudonym",
    )
    embeddings_for: tuple[str, ...] = Field(
        default=(),
        description="Purposes, such as research, whose observations keep their embedding; it "
        "identifies a voice or face, and is null for all others",
    )
