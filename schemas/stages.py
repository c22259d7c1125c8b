"""What flows between stages: their names, the tags of their outputs, and what a batch is."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import pyarrow as pa


class Stage(StrEnum):
    """Names of the stages in the order of the data.

    They label transforms, so state depends on them, and dead letters, and counters.
    """

    DECODE = "DecodeEvents"
    VALIDATE = "ValidateEvents"
    SIEVE = "SieveLate"
    PSEUDONYMISE = "Pseudonymise"
    GATE = "GateByPolicy"
    LIMIT = "LimitEvents"
    FETCH = "FetchMedia"
    SCRUB = "ScrubText"
    WINDOW = "WindowSessions"
    FUSE = "FuseModalities"
    DECIDE = "DecideExpressions"
    LAND = "LandTable"


def recognition_stage(modality: str) -> str:
    """Return the name of the stage that recognises this modality."""
    return f"Recognise{modality.capitalize()}"


def landing_stage(table: str) -> str:
    """Return the name of the stage that lands this table."""
    return f"Land:{table}"


MAIN: Final = "events"
"""Tag of what goes on to the next stage."""

ON_TIME: Final = "on_time"
"""Tag of the feature rows of on-time panes: what decisions are made on, once."""

DEAD: Final = "dead_letters"
REFUSED: Final = "refusals"
LEDGER: Final = "consent_ledger"
REVIEWS: Final = "review_queue"
"""Tags of what lands beside the main output: each is the name of its table."""

CONSENT_AGE: Final = "consent_age_ms"
"""Beam distribution of the gate's: how old the consents were that a batch was judged by."""

OBSERVATION: Final = "observation"
"""Kind of a batch that a recogniser made; that of an EVENT batch is its event's kind."""

Tagged = Iterable[tuple[str, pa.RecordBatch]]
"""(output tag, batch): the tag MAIN for what goes on, any other for what does not."""

_KIND: Final = b"kind"


def with_kind(schema: pa.Schema, kind: str) -> pa.Schema:
    """Return the schema of batches that say in their metadata what they are."""
    return schema.with_metadata({_KIND: kind.encode()})


def kind_of(batch: pa.RecordBatch) -> str:
    """Return what a batch is: a kind of event, or OBSERVATION."""
    return str((batch.schema.metadata or {})[_KIND].decode())
