"""Views made for people: SQL over the tables that a query knows by name, each defined only here.

Nothing of a view is stored. Its columns carry ``doc``, ``unit`` and ``range`` as the columns of
tables do. All views keep ``purpose``: a window that was processed for two purposes is two rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from schemas.events import WINDOW_KEY
from schemas.modalities import MODALITIES
from schemas.table import FIRST_VERSION
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One view: ``reads`` are the tables and earlier views that its SQL names.

    A view ``by_row`` makes one row of each row that it reads, so it can show a table's changes too.
    """

    name: str
    description: str
    reads: tuple[str, ...]
    sql: str
    schema: pa.Schema
    by_row: bool = False


def _column(name: str, kind: pa.DataType, doc: str, unit: str = "", extent: str = "") -> pa.Field:
    metadata = {"doc": doc, "unit": unit, "range": extent, "since": str(FIRST_VERSION)}
    return pa.field(name, kind, metadata={key: value for key, value in metadata.items() if value})


def _taken(*names: str) -> list[pa.Field]:
    """Return columns that a view takes over from emotion_features."""
    return [EMOTION_FEATURES.field(name) for name in names]


def _mean(name: str) -> pa.Field:
    doc = f"mean {name} of the windows that did not abstain; null where all did"
    return _column(name, pa.float64(), doc, extent="-1 to 1")


_LISTS = ("scores", "attention")
_PROBABILITIES = {f"p_{label}": f"scores[{i}]" for i, label in enumerate(EXPRESSIONS, 1)}
_ATTENTIONS = {f"attention_{m}": f"attention[{i}]" for i, m in enumerate(MODALITIES, 1)}

_FLAT = pa.schema(
    [
        *[field for field in EMOTION_FEATURES if field.name not in _LISTS],
        *[
            _column(f"p_{label}", pa.float32(), f"calibrated probability of {label}", "", "0 to 1")
            for label in EXPRESSIONS
        ],
        *[
            _column(
                f"attention_{modality}",
                pa.float32(),
                f"attention on {modality}; 0 where the window has none",
                extent="0 to 1",
            )
            for modality in MODALITIES
        ],
    ]
)

_FLAT_SQL = f"""
SELECT * EXCEPT ({", ".join(_LISTS)}),
  {", ".join(f"{sql} AS {name}" for name, sql in (_PROBABILITIES | _ATTENTIONS).items())}
FROM emotion_features
"""

_LATEST_SQL = """
SELECT * EXCEPT (place) FROM (
  SELECT e.*, row_number() OVER (
    PARTITION BY e.subject_ref, e.purpose
    ORDER BY e.window_end DESC, e.revision DESC, e.window_id
  ) AS place
  FROM (
    SELECT subject_ref, purpose, max(window_end) AS newest
    FROM emotion_features GROUP BY subject_ref, purpose
  ) n JOIN expressions e ON e.subject_ref = n.subject_ref AND e.window_end = n.newest
    AND (e.purpose IS NOT DISTINCT FROM n.purpose)
) WHERE place = 1
"""
# The newest times are found first, then the rows that have them: numbering all rows of a table of
# ten million took 25 s and 6 GB, this takes 1.6 s and 0.3 GB on the same busy machine.

_MOOD = pa.schema(
    [
        _column("windows", pa.int64(), "windows, abstained ones included", "windows", "1 or more"),
        _column("subjects", pa.int64(), "different subjects in them", "subjects", "1 or more"),
        _column("abstained", pa.int64(), "windows that abstained", "windows", "0 or more"),
        _mean("valence"),
        _mean("arousal"),
        *[
            _column(
                f"share_{label}",
                pa.float64(),
                f"share of {label} among the windows that did not abstain; null where all did",
                extent="0 to 1",
            )
            for label in EXPRESSIONS
        ],
    ]
)

_SHARES = ",\n  ".join(
    f"count(*) FILTER (WHERE expression = '{label}') / nullif(CAST(count(expression) AS DOUBLE), 0)"
    f" AS share_{label}"
    for label in EXPRESSIONS
)
_MOOD_SQL = f"""
  count(*) AS windows,
  count(DISTINCT subject_ref) AS subjects,
  count(*) FILTER (WHERE abstained) AS abstained,
  avg(CAST(valence AS DOUBLE)) FILTER (WHERE expression IS NOT NULL) AS valence,
  avg(CAST(arousal AS DOUBLE)) FILTER (WHERE expression IS NOT NULL) AS arousal,
  {_SHARES}
FROM emotion_features
"""

_DAILY_SQL = f"SELECT event_date, purpose, {_MOOD_SQL} GROUP BY event_date, purpose"

_HOUR = (
    "arrow_cast(date_bin(INTERVAL '1 hour', window_start), 'Timestamp(Microsecond, Some(\"UTC\"))')"
)
"""The hour in UTC: date_trunc gives the same and takes five times as long on times with a zone."""
_SCENE_SQL = f"""
SELECT event_date, {_HOUR} AS hour, scene_id, scenario, purpose,
{_MOOD_SQL}
GROUP BY event_date, {_HOUR}, scene_id, scenario, purpose
"""

_KEY = ", ".join(WINDOW_KEY)
_WEIGHED = ", ".join(
    f"sum(CAST(confidence AS DOUBLE) * {sql}) / sum(CAST(confidence AS DOUBLE)) AS {name}"
    for name, sql in (
        *_PROBABILITIES.items(),
        *((name, name) for name in ("valence", "arousal")),
    )
)


def _entropy(column: str) -> str:
    """Return SQL for the entropy in nats of a distribution whose columns are ``column`` + label."""
    terms = (f"coalesce({column}{e} * ln(nullif({column}{e}, 0)), 0)" for e in EXPRESSIONS)
    return f"-({' + '.join(terms)})"


_TOP = "CASE greatest({all}) {cases} END".format(
    all=", ".join(f"p_{label}" for label in EXPRESSIONS),
    cases=" ".join(f"WHEN p_{label} THEN '{label}'" for label in EXPRESSIONS),
)

_DISAGREEMENT_SQL = f"""
WITH lengths AS (
  SELECT DISTINCT CAST(window_end AS BIGINT) - CAST(window_start AS BIGINT) AS length
  FROM emotion_features
),
seen AS (
  SELECT {_KEY}, modality, confidence, scores, valence, arousal, length,
    CAST(event_time AS BIGINT) - CAST(event_time AS BIGINT) % length AS start
  FROM observations CROSS JOIN lengths WHERE NOT abstained
),
by_modality AS (
  SELECT {_KEY}, start, length, modality, {_WEIGHED}
  FROM seen GROUP BY {_KEY}, start, length, modality
),
by_window AS (
  SELECT {_KEY}, start, length, count(*) AS modalities,
    {", ".join(f"max(CASE modality WHEN '{m}' THEN {_TOP} END) AS {m}" for m in MODALITIES)},
    {", ".join(f"avg(p_{label}) AS mean_{label}" for label in EXPRESSIONS)},
    avg({_entropy("p_")}) AS entropy,
    max(valence) - min(valence) AS valence_spread,
    max(arousal) - min(arousal) AS arousal_spread
  FROM by_modality GROUP BY {_KEY}, start, length HAVING count(*) > 1
)
SELECT f.window_id, {", ".join(f"f.{name}" for name in WINDOW_KEY)}, f.scene_id,
  f.window_start, f.window_end, f.expression, {", ".join(f"w.{m}" for m in MODALITIES)},
  w.modalities,
  greatest({_entropy("w.mean_")} - w.entropy, 0) / ln(w.modalities) AS disagreement,
  w.valence_spread, w.arousal_spread, f.event_date
FROM emotion_features f JOIN by_window w
  ON {" AND ".join(f"(f.{name} IS NOT DISTINCT FROM w.{name})" for name in WINDOW_KEY)}
  AND CAST(f.window_start AS BIGINT) = w.start
  AND CAST(f.window_end AS BIGINT) - CAST(f.window_start AS BIGINT) = w.length
"""

_DISAGREEMENT = pa.schema(
    [
        *_taken("window_id", *WINDOW_KEY, "scene_id", "window_start", "window_end"),
        _column("expression", pa.string(), "the window's fused expression; null where abstained"),
        *[
            _column(m, pa.string(), f"most probable expression of {m}; null where it gave none")
            for m in MODALITIES
        ],
        _column("modalities", pa.int64(), "modalities that gave an estimate", "", "2 or more"),
        _column(
            "disagreement",
            pa.float64(),
            "Jensen-Shannon divergence between the modalities' scores, divided by its maximum: 0 "
            "where they are the same, 1 where they have nothing in common",
            extent="0 to 1",
        ),
        *[
            _column(
                f"{name}_spread",
                pa.float64(),
                f"largest minus smallest {name} of the modalities",
                extent="0 to 2",
            )
            for name in ("valence", "arousal")
        ],
        *_taken("event_date"),
    ]
)

_NAMES = ", ".join(f"'{modality}'" for modality in MODALITIES)
_COUNTS = ("observed", "abstained", "refused", "windows", "all_windows")


def _counts(modality: str, table: str, where: str = "true", **counts: str) -> str:
    """Return SQL that counts rows of a table by day, purpose and modality; other counts are null.

    ``modality`` and ``counts`` are SQL over the table's columns.
    """
    columns = (f"{counts.get(name, 'CAST(NULL AS BIGINT)')} AS {name}" for name in _COUNTS)
    return (
        f"SELECT event_date, purpose, {modality} AS modality, {', '.join(columns)} "
        f"FROM {table} WHERE {where} GROUP BY event_date, purpose, {modality}"
    )


_ALL_COUNTS = " UNION ALL ".join(
    [
        _counts(
            "modality",
            "observations",
            observed="count(*)",
            abstained="count(*) FILTER (WHERE abstained)",
        ),
        _counts("modality", "refusals", f"modality IN ({_NAMES})", refused="count(*)"),
        *[
            _counts(
                f"'{m}'",
                "emotion_features",
                windows=f"count(*) FILTER (WHERE n_{m} > 0)",
                all_windows="count(*)",
            )
            for m in MODALITIES
        ],
    ]
)

_COVERAGE_SQL = f"""
WITH summed AS (
  SELECT event_date, purpose, modality, coalesce(sum(windows), 0) AS windows,
    sum(all_windows) AS all_windows, coalesce(sum(refused), 0) AS refused,
    CASE WHEN sum(windows) > 0 THEN sum(observed) ELSE coalesce(sum(observed), 0) END AS observed,
    CASE WHEN sum(windows) > 0 THEN sum(abstained) ELSE coalesce(sum(abstained), 0) END AS abstained
  FROM ({_ALL_COUNTS}) GROUP BY event_date, purpose, modality
)
SELECT event_date, purpose, modality, observed, abstained,
  abstained / nullif(CAST(observed AS DOUBLE), 0) AS abstained_share,
  refused, refused / nullif(CAST(observed + refused AS DOUBLE), 0) AS refused_share,
  windows, windows / CAST(all_windows AS DOUBLE) AS window_share
FROM summed
"""

_COVERAGE = pa.schema(
    [
        *_taken("event_date", "purpose"),
        _column("modality", pa.string(), ", ".join(MODALITIES)),
        _column(
            "observed",
            pa.int64(),
            "events that a recogniser estimated; null where they were kept no longer",
            "events",
            "0 or more",
        ),
        _column("abstained", pa.int64(), "of these, how many abstained", "events", "0 or more"),
        _column("abstained_share", pa.float64(), "abstained / observed", extent="0 to 1"),
        _column("refused", pa.int64(), "events that the gate refused", "events", "0 or more"),
        _column("refused_share", pa.float64(), "refused / (observed + refused)", extent="0 to 1"),
        _column("windows", pa.int64(), "windows with this modality", "windows", "0 or more"),
        _column(
            "window_share",
            pa.float64(),
            "share of the windows of the day and purpose that have this modality; null where there "
            "is no window",
            extent="0 to 1",
        ),
    ]
)

VIEWS: Mapping[str, View] = MappingProxyType(
    {
        view.name: view
        for view in (
            View(
                name="expressions",
                description="emotion_features with each probability and attention as a column",
                reads=("emotion_features",),
                sql=_FLAT_SQL,
                schema=_FLAT,
                by_row=True,
            ),
            View(
                name="latest",
                description="newest window of each subject and purpose, whether it abstained or "
                "not, with the columns of expressions",
                reads=("emotion_features", "expressions"),
                sql=_LATEST_SQL,
                schema=_FLAT,
            ),
            View(
                name="daily_trend",
                description="what the windows of a UTC day and purpose showed",
                reads=("emotion_features",),
                sql=_DAILY_SQL,
                schema=pa.schema([*_taken("event_date", "purpose"), *_MOOD]),
            ),
            View(
                name="scene_mood",
                description="what the windows of a scene showed in an hour, by scenario and "
                "purpose",
                reads=("emotion_features",),
                sql=_SCENE_SQL,
                schema=pa.schema(
                    [
                        *_taken("event_date"),
                        _column(
                            "hour", EMOTION_FEATURES.field("window_start").type, "start of the hour"
                        ),
                        *_taken("scene_id", "scenario", "purpose"),
                        *_MOOD,
                    ]
                ),
            ),
            View(
                name="disagreement",
                description="windows in which two or more modalities gave an estimate, and how far "
                "these are apart; events that abstained are left out, several of one modality "
                "count by their confidence",
                reads=("emotion_features", "observations"),
                sql=_DISAGREEMENT_SQL,
                schema=_DISAGREEMENT,
            ),
            View(
                name="coverage",
                description="how much of each UTC day, purpose and modality was estimated, "
                "abstained or refused",
                reads=("emotion_features", "observations", "refusals"),
                sql=_COVERAGE_SQL,
                schema=_COVERAGE,
            ),
        )
    }
)
"""Name → view, in the order in which they are shown; a view reads only earlier ones."""


def tables_of(view: View) -> tuple[str, ...]:
    """Return the tables that a view reads, through other views too."""
    names = (tables_of(VIEWS[name]) if name in VIEWS else (name,) for name in view.reads)
    return tuple(dict.fromkeys(table for found in names for table in found))


def views_for(names: Iterable[str]) -> list[View]:
    """Return the views of these names and those that they read, each after what it reads."""
    wanted = set(names)
    for view in reversed(list(VIEWS.values())):
        wanted |= set(view.reads) if view.name in wanted else set()
    return [view for view in VIEWS.values() if view.name in wanted]
