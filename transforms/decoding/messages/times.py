"""Times of events and of their records, as columns of UTC times."""

import datetime as dt
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.events import AHEAD_S, RFC_3339, TIME

_SET = pa.scalar(dt.datetime(2000, 1, 1, tzinfo=dt.UTC), TIME)
"""What a clock that was ever set can tell."""


def read_times(column: pa.Array) -> pa.Array:
    """Return RFC 3339 strings as UTC times, null where one is none, whatever stands beside it.

    The source in Java takes the same for times, or an event would be judged late by neither; and
    more, times before 1000 and after 8999, which no calendar here can count a day back or on from.
    """
    formed = pc.if_else(pc.match_substring_regex(column, RFC_3339), column, None)
    try:
        return formed.cast(TIME)
    except pa.ArrowInvalid:  # nanoseconds, lower case, or no such day
        return _parsed(pc.ascii_upper(pc.replace_substring_regex(formed, r"(\.\d{6})\d+", r"\1")))


def _parsed(formed: pa.Array) -> pa.Array:
    """Cast in halves down to the rows that are no times: one of 2,048 costs 22 casts, not 2,048."""
    try:
        return formed.cast(TIME)
    except pa.ArrowInvalid:
        if len(formed) == 1:
            return pa.nulls(1, TIME)
        half = len(formed) // 2
        return pa.concat_arrays([_parsed(formed.slice(0, half)), _parsed(formed.slice(half))])


def of_set_clocks(recorded: pa.Array) -> pa.Array:
    """Return record times without those before 2000: all events would be ahead of them.

    A clock was never set, or seconds stand where milliseconds belong: Kafka is younger.
    """
    never = pc.less(recorded, _SET)
    return pc.if_else(never, None, recorded)


def find_ahead(times: pa.Array, recorded: pa.Array) -> np.ndarray:
    """Return which events claim to have happened well after they were recorded."""
    limit = pc.add(recorded, pa.scalar(int(AHEAD_S * 1e6), pa.duration("us")))
    return pc.fill_null(pc.greater(times, limit), False).to_numpy(zero_copy_only=False)


_DATE: Final = r"\d{4}-\d\d-\d\d"
_HOUR: Final = rf"{_DATE}[Tt ]\d\d:\d\d"
_SECOND: Final = rf"{_HOUR}:\d\d(?:[.,]\d+)?"
_WRONG: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        what: re.compile(form)
        for what, form in {
            "has white space around it": r"\s.*|.*\s",
            "is a number, and no RFC 3339 time": r"[+-]?\d+(?:\.\d+)?",
            "is percent-encoded": rf"{_DATE}.*%[0-9A-Fa-f]{{2}}.*",
            "has no time of day": rf"{_DATE}(?:Z|[+-]\d\d:?\d\d)?",
            "has no seconds": rf"{_HOUR}\s*(?:[Zz]|[+-]\d\d:?\d\d)?",
            "has a comma before its decimals, where a point belongs": rf"{_HOUR}:\d\d,.*",
            "has no zone: end it with Z, or an offset such as +00:00": _SECOND,
            "has no colon in its offset: write +00:00": rf"{_SECOND}[+-]\d\d(?:\d\d)?",
            "has a space before its zone": rf"{_SECOND}\s+\S+",
            "has a zone's name behind its offset": rf"{_SECOND}(?:[Zz]|[+-]\d\d:\d\d)\[.*",
            "has more than nine decimals": rf"{_HOUR}:\d\d\.\d{{10,}}(?:[Zz]|[+-]\d\d:\d\d)",
            "is a date as HTTP writes it": r"[A-Z][a-z]{2},? .*",
            "is of no day of the years 1000 to 8999": rf"{_SECOND}(?:[Zz]|[+-]\d\d:\d\d)",
        }.items()
    }
)
_LONGEST: Final = 64
_EXAMPLE: Final = "send times such as 2026-11-30T18:00:00Z"


def explain_time(given: str | None) -> str:
    """Return what is wrong with an event's time, of which nothing is repeated."""
    if not given:
        return f"`time` is missing; {_EXAMPLE}"
    known = (what for what, form in _WRONG.items() if form.fullmatch(given[:_LONGEST]))
    return f"`time` {next(known, 'is no RFC 3339 time')}; {_EXAMPLE}"
