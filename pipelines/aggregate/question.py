"""A question about groups of subjects: which columns it may name, and the SQL that reads for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.serve.literals import text
from schemas.errors import AffectstreamError
from schemas.strict import suggest
from transforms.gating.policy import Policy

TABLE = "emotion_features"
GROUPS = ("day", "hour", "scene_id", "scenario", "purpose", "region", "age_band")
"""What windows may be grouped by, in the order of the answer's columns; times are UTC."""
COUNTS = ("subjects", "windows")
MEASURES = (*COUNTS, "valence", "arousal", "confidence", "expressions")
"""What is told of each group; ``subjects`` always."""
TIMES = ("day", "hour")
_FILTERS = tuple(name for name in GROUPS if name not in TIMES)
_CONTENT = ("expression", "valence", "arousal", "confidence")
_YEARS = range(1970, 2262)
"""Years whose times the query engine can compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Groups, the windows that are looked at, and what is measured; equal ones are equal texts.

    ``where`` gives the allowed values of columns; ``since`` is inclusive, ``until`` exclusive, in
    ISO 8601 and UTC.
    """

    by: tuple[str, ...]
    where: tuple[tuple[str, tuple[str, ...]], ...]
    since: str | None
    until: str | None
    measures: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The statement that reads the windows: subject, columns of groups, what is measured."""
        groups = [name for name in self.by if name not in TIMES]
        start = ["window_start"] if len(groups) < len(self.by) else []
        columns = ["subject_ref", *start, *groups, *_CONTENT]
        conditions = [
            f"{column} IN ({', '.join(map(text, values))})" for column, values in self.where
        ]
        for sign, time in ((">=", self.since), ("<", self.until)):
            if time is not None:
                conditions.append(f"window_start {sign} TIMESTAMP '{time}'")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {', '.join(columns)} FROM {TABLE}{where}"


def parse_question(
    *,
    by: Sequence[str],
    where: Sequence[str],
    since: str | None,
    until: str | None,
    measures: Sequence[str],
    policy: Policy,
) -> Question:
    """Read a question as a person writes it; none of it depends on what the tables hold.

    Args:
        by: names of ``GROUPS``.
        where: ``column=value`` each; several values of a column mean any of them.
        since: time in ISO 8601, UTC where it names no zone.
        until: as ``since``.
        measures: names of ``MEASURES``, none for all.
        policy: says which purposes, scenarios, regions and age bands there are.

    Raises:
        AffectstreamError: a name, value or time is none, or windows of several purposes would be
            counted together.
    """
    _check_names("--by", by, GROUPS)
    _check_names("--measure", measures, MEASURES)
    filters = _parse_filters(where, policy)
    if "purpose" not in by and len(filters.get("purpose", ())) != 1:
        message = (
            "what was processed for two purposes is two windows: choose one with --where "
            "purpose=recommendation, or keep them apart with --by purpose"
        )
        raise AffectstreamError(message)
    begin, end = _parse_time("--since", since), _parse_time("--until", until)
    if begin and end and begin >= end:
        message = f"--since {since} is not before --until {until}: swap or correct them"
        raise AffectstreamError(message)
    return Question(
        by=tuple(name for name in GROUPS if name in by),
        where=tuple((name, filters[name]) for name in _FILTERS if name in filters),
        since=begin,
        until=end,
        measures=tuple(n for n in MEASURES if n in (measures or MEASURES) or n == "subjects"),
    )


def _check_names(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            message = f"{option} {name} is not known: {suggest(name, known)}"
            raise AffectstreamError(message)


def _parse_filters(where: Sequence[str], policy: Policy) -> dict[str, tuple[str, ...]]:
    known = {
        "scenario": policy.scenarios | frozenset(policy.judged_as),
        "purpose": policy.purposes,
        "region": policy.regions,
        "age_band": policy.age_bands,
    }
    found: dict[str, set[str]] = {}
    for each in where:
        column, equals, value = each.partition("=")
        if not equals or not value or not value.isprintable():
            message = f"--where {each} is no condition: write one as --where scenario=game"
            raise AffectstreamError(message)
        _check_names("--where", [column], _FILTERS)
        if column in known and value not in known[column]:
            message = f"--where {each}: no {column} of the policy: {suggest(value, known[column])}"
            raise AffectstreamError(message)
        found.setdefault(column, set()).add(value)
    return {column: tuple(sorted(values)) for column, values in found.items()}


def _parse_time(option: str, given: str | None) -> str | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
        utc = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{option} {given} is no time: write one as 2026-11-30T10:00+08:00, or a day"
        raise AffectstreamError(message) from error
    if utc.year not in _YEARS:
        message = f"{option} {given} lies outside of {_YEARS[0]} to {_YEARS[-1]}: correct it"
        raise AffectstreamError(message)
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")
