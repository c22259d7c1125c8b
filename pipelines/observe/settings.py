"""Settings of what a live job tells of itself."""

from typing import Literal

from pydantic import Field

from schemas.settings import Count, Settings


class Observe(Settings):
    """What a live job tells of itself: metrics for Prometheus, and the form of its log."""

    host: str = Field(
        default="127.0.0.1", description="Address that the metrics are served on, without a login"
    )
    port: Count = Field(
        default=9464, ge=0, le=65_535, description="Port of GET /metrics; 0 for no metrics"
    )
    log: Literal["text", "json"] = Field(
        default="text",
        description="`json`: supervisor and workers log JSON lines with stable event names",
    )
