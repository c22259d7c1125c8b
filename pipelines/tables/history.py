"""The history of decisions from the tables: a replay goes on as a live job and forgets nothing."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from pipelines.config import Config
from schemas.events import TIME
from schemas.table import PARTITION
from schemas.tables import EMOTION_FEATURES
from transforms.deciding.baseline import REACH
from transforms.deciding.reminders import PAUSE_S

_LONGEST = timedelta(days=1)
"""A session is taken to be no longer: of a history nothing is read that is older than that and the
silence after which it is forgotten."""


def earliest(config: Config, before: datetime) -> datetime:
    """Return the time from which on features decide what is known at another time.

    Histories rest for ``forget_s``, baselines for REACH half-lives.
    """
    history = _LONGEST + timedelta(seconds=config.decisions.forget_s)
    return before - max(history, _resting(config))


def _resting(config: Config) -> timedelta:
    return timedelta(seconds=REACH * config.baselines.half_life_s)


def landed_features(config: Config, before: datetime) -> pa.Table:
    """Return the landed feature rows that the histories going on at a time follow from.

    They are those of subjects who showed something in the ``forget_s`` before it, before a pause of
    use, or while a baseline rests, under the key before as well: of others nothing is known any
    more.
    """
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
    recent = timedelta(seconds=max(config.decisions.forget_s, PAUSE_S))
    heard = pa.scalar(before - max(recent, _resting(config)), TIME)
    active = rows.filter(pc.greater_equal(rows["window_end"], heard))
    names = (pc.unique(active[name]) for name in ("subject_ref", "prior_subject_ref"))
    subjects = pa.concat_arrays([*names]).drop_null()
    return rows.filter(pc.is_in(rows["subject_ref"], subjects)).combine_chunks()
