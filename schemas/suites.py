"""Great Expectations suites: where they lie, and how they become checks on Arrow batches.

The JSON files beside this module are the only statement of what must hold. Great Expectations
itself reads them for the landed tables; in the stream the same files are compiled to vectorised
pyarrow checks with the semantics of its pandas engine: an expectation looks at values that are
not null and NaN counts as null. A type or an argument that is not known here is an error.

A suite may extend another: what kinds of events share stands once, in the folder ``shared``.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.attributes import COLUMN_OF
from schemas.errors import AffectstreamError

FOLDER: Final = Path(__file__).parent / "expectations"
_SHARED: Final = "shared/"

Suite = Mapping[str, Any]
"""A suite as Great Expectations reads it: ``name``, ``expectations`` and ``meta``."""

Expectation = dict[str, Any]

_INT32_MAX: Final = 2**31 - 1
_LONG: Final = 48  # bytes a value, its offset included

Failing = Callable[[pa.RecordBatch], np.ndarray]


@dataclass(frozen=True, slots=True)
class Check:
    """One compiled expectation; ``failing`` gives a mask with true where a row fails it.

    ``requirement`` says to a producer what has to hold, in the names that producers write.
    """

    name: str
    requirement: str
    type: str
    failing: Failing


def load_suite(name: str) -> Suite:
    """Read the suite of this name, as in ``events/text``, with what it extends.

    Raises AffectstreamError where there is no such suite, or suites extend each other in a circle.
    """
    return _load(name, ())


def _load(name: str, extended_by: tuple[str, ...]) -> Suite:
    if name in extended_by:
        circle = " → ".join((*extended_by, name))
        message = f"expectation suites extend each other in a circle, take one out: {circle}"
        raise AffectstreamError(message)
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        whose = f", which {extended_by[-1]} extends" if extended_by else ""
        message = f"no expectation suite {name}{whose}: {FOLDER} has {', '.join(_names())}"
        raise AffectstreamError(message)
    suite: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    base = suite.pop("extends", None)
    if base is None:
        return suite
    inherited = _load(base, (*extended_by, name))["expectations"]
    return suite | {"expectations": _by_column(inherited, suite["expectations"])}


def _by_column(inherited: list[Expectation], own: list[Expectation]) -> list[Expectation]:
    """Join expectations: those of one column stand together, a suite's own before the inherited.

    A dead letter names the first that a row fails, so inherited columns come before other ones, as
    attributes come before the payload.
    """
    columns = [columns_of(each["kwargs"]) for each in (*inherited, *own)]
    return sorted((*own, *inherited), key=lambda each: columns.index(columns_of(each["kwargs"])))


def suite_names() -> tuple[str, ...]:
    """Names of the suites of kinds of events and of tables, without those that these share."""
    return tuple(name for name in _names() if not name.startswith(_SHARED))


def _names() -> list[str]:
    paths = sorted(FOLDER.rglob("*.json"))
    return [path.relative_to(FOLDER).with_suffix("").as_posix() for path in paths]


def compile_suite(suite: Suite) -> tuple[Check, ...]:
    """Compile a suite in its order; the error for what cannot be compiled names it."""
    return tuple(
        _compile(suite["name"], entry["type"], dict(entry["kwargs"]))
        for entry in suite["expectations"]
    )


def columns_of(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that an expectation with these arguments looks at."""
    single = (kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs)
    return (*single, *kwargs.get("column_list", ()))


def expectation_name(kind: str, kwargs: Mapping[str, Any]) -> str:
    """Name of an expectation in dead letters and verdicts: its type and its columns."""
    return f"{kind}({', '.join(columns_of(kwargs))})"


def _compile(suite: str, kind: str, kwargs: dict[str, Any]) -> Check:
    where = f"suite {suite}: {kind}"
    build = _COMPILERS.get(kind)
    if build is None:
        message = f"{where} cannot be compiled: known are {', '.join(_COMPILERS)}"
        raise AffectstreamError(message)
    if kwargs.get("mostly", 1) != 1:
        message = f"{where} has mostly={kwargs['mostly']}: a check must hold for each row, drop it"
        raise AffectstreamError(message)
    kwargs.pop("mostly", None)
    try:
        inspect.signature(build).bind(**kwargs)
        failing = build(**kwargs)
    except (TypeError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        message = f"{where} cannot be compiled: {error}"
        raise AffectstreamError(message) from error
    return Check(expectation_name(kind, kwargs), _requirement(kind, kwargs), kind, failing)


_SENT_AS: Final = MappingProxyType(
    {column: f"`{name}`" for name, column in COLUMN_OF.items()}
    | {
        "event_id": "the event's id",
        "weights_given": "the number of shapes in `weights`",
        "weight_min": "the least of `weights`",
        "weight_max": "the largest of `weights`",
        "pose_max": "an angle of `head`",
        "purposes_given": "the number of `purposes`",
        "modalities_given": "the number of `modalities`",
        "media_bytes": "the size of the media in bytes",
        "media_format": "the format of the media",
    }
)
"""Column → what producers call it; any other is a field of the payload that is called the same."""
_CONTROLS: Final = r"[\x00-\x1f\x7f]"


def _requirement(kind: str, kwargs: Mapping[str, Any]) -> str:
    """Say what an expectation asks of the events, such as "`ageband` is none of child, adult"."""
    what = " and ".join(_SENT_AS.get(name, f"`{name}`") for name in columns_of(kwargs))
    span = _range(kwargs.get("min_value"), kwargs.get("max_value"))
    values, regex = ", ".join(map(str, kwargs.get("value_set", ()))), kwargs.get("regex")
    asked = {
        "expect_column_values_to_not_be_null": "is missing",
        "expect_column_values_to_be_in_set": f"is none of {values}",
        "expect_column_values_to_be_between": f"is not {span}",
        "expect_column_value_lengths_to_be_between": f"has not {span} characters",
        "expect_column_values_to_match_regex": f"does not match {regex}",
        "expect_column_values_to_not_match_regex": "holds control characters"
        if regex == _CONTROLS
        else f"matches {regex}",
    }
    return f"{what} {asked[kind]}" if kind in asked else expectation_name(kind, kwargs)


def _range(least: Any, most: Any) -> str:
    if most is None:
        return f"at least {least}"
    return f"at most {most}" if least is None else f"{least} to {most}"


def _not_null(*, column: str) -> Failing:
    return lambda batch: _mask(_is_missing(batch[column]))


def _in_set(*, column: str, value_set: list[Any]) -> Failing:
    def test(values: pa.Array) -> pa.Array:
        return pc.is_in(values, value_set=pa.array(value_set, values.type))

    return lambda batch: _failing_by_value(batch[column], test)


def _between(
    *,
    column: str,
    min_value: float | str | None = None,
    max_value: float | str | None = None,
    strict_min: bool = False,
    strict_max: bool = False,
) -> Failing:
    bounds = [
        (pc.less_equal if strict_min else pc.less, _bound(min_value)),
        (pc.greater_equal if strict_max else pc.greater, _bound(max_value)),
    ]
    bounds = [(compare, bound) for compare, bound in bounds if bound is not None]
    if not bounds:
        message = "min_value and max_value are both missing"
        raise ValueError(message)

    def failing(batch: pa.RecordBatch) -> np.ndarray:
        values = batch[column]
        if pa.types.is_floating(values.type):
            # Bounds are doubles: 0.1 as float32 is above 0.1. NaN compares false, so it passes.
            values = values.cast(pa.float64())
        return _mask(reduce(pc.or_, [compare(values, bound) for compare, bound in bounds]))

    return failing


def _lengths(*, column: str, min_value: int | None = None, max_value: int | None = None) -> Failing:
    least = 0 if min_value is None else min_value
    most = _INT32_MAX if max_value is None else max_value

    def failing(batch: pa.RecordBatch) -> np.ndarray:
        values = batch[column]
        size = pc.min_max(pc.binary_length(values)).as_py()
        # A character has 1 to 4 bytes; bytes cost 0.02 ms for 8,192 rows, characters 0.12 ms.
        if size["min"] is None or (size["min"] >= 4 * least - 3 and size["max"] <= most):
            return np.zeros(len(values), dtype=bool)
        lengths = pc.utf8_length(values)
        return _mask(pc.or_(pc.less(lengths, least), pc.greater(lengths, most)))

    return failing


def _matches(*, column: str, regex: str) -> Failing:
    pattern = _re2(regex)
    return lambda batch: _failing_by_value(
        batch[column], lambda values: pc.match_substring_regex(values, pattern)
    )


def _matches_not(*, column: str, regex: str) -> Failing:
    pattern = _re2(regex)
    return lambda batch: _failing_by_value(
        batch[column], lambda values: pc.invert(pc.match_substring_regex(values, pattern))
    )


def _unique(*, column: str) -> Failing:
    def failing(batch: pa.RecordBatch) -> np.ndarray:
        codes = _codes(batch[column])
        return np.asarray((np.bincount(codes)[codes] > 1) & ~_mask(_is_missing(batch[column])))

    return failing


def _unique_together(*, column_list: list[str], ignore_row_if: str) -> Failing:
    _require(ignore_row_if, "never")

    def failing(batch: pa.RecordBatch) -> np.ndarray:
        rows = np.stack([_codes(batch[column]) for column in column_list], axis=1)
        _, codes = np.unique(rows, axis=0, return_inverse=True)
        return np.asarray(np.bincount(codes.reshape(-1))[codes.reshape(-1)] > 1)

    return failing


# Arguments carry the names that Great Expectations gives them.
def _greater(
    *,
    column_A: str,  # noqa: N803
    column_B: str,  # noqa: N803
    ignore_row_if: str,
    or_equal: bool = False,
) -> Failing:
    _require(ignore_row_if, "either_value_is_missing")
    compare = pc.less if or_equal else pc.less_equal

    return lambda batch: _mask(compare(batch[column_A], batch[column_B]))


_COMPILERS: Final[Mapping[str, Callable[..., Failing]]] = MappingProxyType(
    {
        "expect_column_values_to_not_be_null": _not_null,
        "expect_column_values_to_be_in_set": _in_set,
        "expect_column_values_to_be_between": _between,
        "expect_column_value_lengths_to_be_between": _lengths,
        "expect_column_values_to_match_regex": _matches,
        "expect_column_values_to_not_match_regex": _matches_not,
        "expect_column_values_to_be_unique": _unique,
        "expect_compound_columns_to_be_unique": _unique_together,
        "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    }
)


def _require(value: str, supported: str) -> None:
    if value != supported:
        message = f"ignore_row_if is {value!r}, only {supported!r} is supported"
        raise ValueError(message)


def _mask(column: pa.Array) -> np.ndarray:
    filled = pc.fill_null(column, False) if column.null_count else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _is_missing(column: pa.Array) -> pa.Array:
    return pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))


def _failing_by_value(column: pa.Array, test: Callable[[pa.Array], pa.Array]) -> np.ndarray:
    """Mask of rows whose value is there and fails; each distinct short value is tested once.

    Most attributes have one or a few values: a regex on 8,192 rows takes 0.31 ms of CPU row by
    row, 0.11 ms on distinct values and 0.04 ms where all are equal. Long values seldom repeat.
    """
    if column.nbytes > _LONG * len(column):
        return _failing(column, test)
    values = column.slice(0, 1) if _is_constant(column) else column.unique()
    if not _failing(values, test).any():
        return np.zeros(len(column), dtype=bool)
    return _failing(column, test)


def _failing(column: pa.Array, test: Callable[[pa.Array], pa.Array]) -> np.ndarray:
    return _mask(pc.and_(column.is_valid(), pc.invert(test(column))))


def _is_constant(column: pa.Array) -> bool:
    if column.null_count or not len(column):
        return False
    return bool(pc.all(pc.equal(column, column[0])).as_py())


def _codes(column: pa.Array) -> np.ndarray:
    """Equal values have equal codes; nulls are one value, as NaN, and so are 0.0 and -0.0."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, pc.add(column, 0.0))
    encoded = column.dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False))


def _bound(value: float | str | None) -> pa.Scalar | None:
    if not isinstance(value, str):
        return None if value is None else pa.scalar(value)
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        message = f"{value!r} has no time zone, write it with Z"
        raise ValueError(message)
    return pa.scalar(moment, pa.timestamp("us", tz="UTC"))


_ONE_MEANING = ("\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\b", "\\B", "$", "(?i", "(?m", "(?s")


def _re2(regex: str) -> str:
    r"""Translate a regex of Python's ``re`` to RE2, for the part in which both mean the same.

    Python's classes are Unicode and its ``$`` also matches before a last newline; RE2's are not
    and do not. So they are refused; ``\Z`` is the end in a suite, RE2's ``\z``.
    """
    for part in _ONE_MEANING:
        if part in regex:
            message = f"{part!r} in {regex!r} differs between engines, spell it out"
            raise ValueError(message)
    pattern = regex.replace(r"\Z", r"\z")
    pc.match_substring_regex(pa.array([""]), pattern)
    return pattern
