"""Settings of the HTTP API."""

from pathlib import Path

from pydantic import Field

from schemas.settings import Count, Number, Settings


class Api(Settings):
    """The HTTP API: where it listens, who may ask, and how much at a time."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; on another one, put a proxy with TLS before it",
    )
    port: Count = Field(default=8765, ge=0, le=65_535, description="Port to listen on")
    tokens: Path = Field(
        default=Path("tokens.json"), description="File of the tokens' hashes: `affectstream tokens`"
    )
    requests_per_s: Number = Field(
        default=200.0,
        gt=0,
        le=1_000_000,
        description="How many requests a second each token may send",
    )
    page_rows: Count = Field(
        default=1_000, ge=1, le=100_000, description="Largest number of rows in one answer"
    )
    history_days: Number = Field(
        default=31.0, gt=0, le=366, description="Longest span of one history, in days"
    )
    timeout_s: Number = Field(
        default=5.0,
        gt=0,
        le=600,
        description="How long tables or a remote store may take to answer, in seconds",
    )
