"""Settings of the broker's users: who may speak and who may listen."""

from pydantic import Field, field_validator

from schemas.settings import Settings

_NAME = "Users of the broker that may "


class Users(Settings):
    """The broker's users by what they do: `affectstream topics create --acl` gives them rights."""

    job: str | None = Field(
        default=None, description="User of the live job and the feed, as its `kafka.username`"
    )
    governance: tuple[str, ...] = Field(
        default=(), description=_NAME + "write to the consent and erasure topics"
    )
    sessions: tuple[str, ...] = Field(
        default=(), description=_NAME + "write to the session topics, and to nothing else"
    )
    recommenders: tuple[str, ...] = Field(
        default=(),
        description=_NAME + "read `expression.decisions`, in consumer groups that begin with their "
        "own name",
    )

    @field_validator("job", "governance", "sessions", "recommenders")
    @classmethod
    def _are_names(cls, given: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for name in (given,) if isinstance(given, str) else given or ():
            if not name.strip() or "*" in name or name.startswith("User:"):
                message = f"{name!r} is not one user: give the name alone, without `User:` and `*`"
                raise ValueError(message)
        return given
