"""The history of decisions from the tables: a replay goes on as a live job and forgets nothing."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.config import Config
from schemas.table import PARTITION
from schemas.tables import EMOTION_FEATURES
from transforms.window import shard_of

_LONGEST = timedelta(days=1)
"""A session is taken to be no longer; features that are older than that and the silence after
which a history is forgotten are not read."""


def earliest(config: Config, before: datetime) -> datetime:
    """Return the time from which on features decide the histories that stand at another time."""
    return before - _LONGEST - timedelta(seconds=config.decisions.forget_s)


def landed_features(config: Config, subject_ref: str, before: datetime) -> pa.Table:
    """Return the landed feature rows of this subject's shard whose windows ended before a time."""
    table = DeltaTable(f"{config.tables}/emotion_features").to_pyarrow_dataset()
    since = earliest(config, before)
    rows = (
        table.to_table(
            filter=(pc.field(PARTITION) >= since.date())
            & (pc.field("window_end") >= since)
            & (pc.field("window_end") < before)
        )
        .select(EMOTION_FEATURES.names)
        .cast(EMOTION_FEATURES)
    )
    shards = config.windows.shards
    own = shard_of(subject_ref, shards)
    mine = [shard_of(ref, shards) == own for ref in rows["subject_ref"].to_pylist()]
    return rows.filter(pa.array(mine, pa.bool_())).combine_chunks()
