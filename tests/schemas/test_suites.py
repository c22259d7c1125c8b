import datetime as dt
import json
import random
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pyarrow as pa
import pytest
from great_expectations.data_context.types.base import ProgressBarsConfig

from schemas import suites
from schemas.attributes import COLUMN_OF
from schemas.avatar.vrm import OVERRIDES, PRESETS, TARGETS
from schemas.errors import AffectstreamError, DeadLetterCode, RefusalCode
from schemas.events import EVENT_TYPES, KINDS, event_schema
from schemas.media.formats import READ, FormatCode
from schemas.modalities import MODALITIES
from schemas.suites import Suite, columns_of, compile_suite, load_suite, suite_names
from schemas.tables import TABLES
from schemas.vocabularies import EXPRESSIONS

SUITES = suite_names()


def schema_of(name: str) -> pa.Schema:
    room, _, what = name.partition("/")
    return event_schema(what) if room == "events" else TABLES[what].schema


def suite_of(*entries: dict[str, Any]) -> Suite:
    return {"name": "made", "expectations": list(entries), "meta": {}}


def entry(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "meta": {}}


def test_there_is_one_suite_for_each_kind_and_each_table() -> None:
    expected = [*(f"events/{kind}" for kind in KINDS), *(f"tables/{name}" for name in TABLES)]
    assert sorted(expected) == list(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_columns_that_its_rows_have(name: str) -> None:
    suite = load_suite(name)
    columns = {c for e in suite["expectations"] for c in columns_of(e["kwargs"])}
    assert columns <= set(schema_of(name).names)
    assert suite["name"] == name.replace("/", ".")
    assert len({str(e) for e in suite["expectations"]}) == len(suite["expectations"])


@pytest.mark.parametrize("name", SUITES)
def test_checks_take_an_empty_batch(name: str) -> None:
    batch = pa.RecordBatch.from_pylist([], schema=schema_of(name))
    for check in compile_suite(load_suite(name)):
        assert check.failing(batch).shape == (0,)


def sets(name: str) -> dict[str, set[Any]]:
    return {
        e["kwargs"]["column"]: set(e["kwargs"]["value_set"])
        for e in load_suite(name)["expectations"]
        if "value_set" in e["kwargs"]
    }


def test_vocabularies_in_suites_are_those_of_the_schemas() -> None:
    for kind in set(KINDS) - {"erasure"}:  # which asks for no more than a subject
        assert sets(f"events/{kind}")["event_type"] == {EVENT_TYPES[kind]}
    for table in ("observations", "emotion_features", "expression_decisions"):
        assert sets(f"tables/{table}")["expression"] == set(EXPRESSIONS)
    for kind, formats in READ.items():
        assert sets(f"events/{kind}")["media_format"] == set(formats)
    assert sets("tables/observations")["modality"] == set(MODALITIES)
    assert sets("tables/refusals")["modality"] == {*MODALITIES, "context"}
    assert sets("tables/consent_ledger")["modality"] == {"*", *MODALITIES}
    assert sets("tables/dead_letters")["code"] == {*DeadLetterCode, *FormatCode}
    assert sets("tables/refusals")["code"] == set(RefusalCode)
    decided = sets("tables/expression_decisions")
    assert decided["avatar_preset"] == set(PRESETS)
    for target in TARGETS:
        assert decided[f"override_{target}"] == set(OVERRIDES)


def test_a_name_says_type_and_columns() -> None:
    kwargs = {"column_A": "b", "column_B": "a", "ignore_row_if": "either_value_is_missing"}
    greater = entry("column_pair_values_a_to_be_greater_than_b", **kwargs)
    (check,) = compile_suite(suite_of(greater))
    assert check.name == "expect_column_pair_values_a_to_be_greater_than_b(b, a)"


IMPOSSIBLE = [
    (entry("column_mean_to_be_between", column="x"), "expect_column_mean_to_be_between cannot"),
    (entry("column_values_to_not_be_null", column="x", mostly=0.9), "mostly=0.9"),
    (entry("column_values_to_not_be_null", column="x", row_condition="y"), "row_condition"),
    (entry("column_values_to_be_between", column="x"), "both missing"),
    (entry("column_values_to_be_between", column="x", min_value="2000-01-01"), "time zone"),
    (entry("column_values_to_match_regex", column="x", regex="^a$"), "differs between engines"),
    (entry("column_values_to_match_regex", column="x", regex=r"\d"), "differs between engines"),
    (entry("column_values_to_match_regex", column="x", regex="(?=a)b"), "cannot be compiled"),
    (
        entry("compound_columns_to_be_unique", column_list=["x"], ignore_row_if="any"),
        "ignore_row_if",
    ),
]


@pytest.mark.parametrize(("bad", "message"), IMPOSSIBLE)
def test_what_cannot_be_compiled_is_an_error_that_names_it(
    bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(AffectstreamError, match=f"suite made: {bad['type']}.*{message}|{message}"):
        compile_suite(suite_of(bad))


def test_an_unknown_suite_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(AffectstreamError, match=r"events/smell: .*events/text"):
        load_suite("events/smell")


def write_suites(folder: Path, **bases: str | None) -> None:
    """Write suites a, b, … that extend the one given, each with an expectation of its own."""
    (folder / "made").mkdir()
    for name, base in bases.items():
        own = suite_of(entry("column_values_to_be_unique", column=name))
        extended = {} if base is None else {"extends": base}
        (folder / "made" / f"{name}.json").write_text(json.dumps({**own, **extended}))


def test_a_suite_has_what_it_extends_over_several_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suites(tmp_path, a="made/b", b="made/c", c=None)
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    suite = load_suite("made/a")
    assert [each["kwargs"]["column"] for each in suite["expectations"]] == ["c", "b", "a"]
    assert set(suite) == {"name", "expectations", "meta"}


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("made/d", r"no expectation suite made/d, which made/c extends: .* has made/a, made/b"),
        ("made/a", r"in a circle, take one out: made/a → made/b → made/c → made/a$"),
        ("made/c", r"in a circle, take one out: made/a → made/b → made/c → made/c$"),
    ],
)
def test_a_base_that_cannot_be_resolved_is_an_error_that_says_the_way(
    last: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suites(tmp_path, a="made/b", b="made/c", c=last)
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    with pytest.raises(AffectstreamError, match=message):
        load_suite("made/a")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"erasure"}))
def test_every_attribute_that_an_event_carries_is_checked(kind: str) -> None:
    checked = {e["kwargs"]["column"] for e in load_suite(f"events/{kind}")["expectations"]}
    assert set(COLUMN_OF.values()) - {"media_ref"} <= checked


# Great Expectations itself must give the same verdict on the same rows.

ROWS = 400
STRINGS = [
    *(
        "",
        " ",
        "\n",
        "\u3000",
        "a",
        "A",
        "en",
        "en\n",
        "en-US",
        "zh-Hans-CN",
        "x_y.z-0",
        "中文",
        "é",
    ),
    *("a\x00b", "a\x1f", "\x7f", "\x80", "\x85", "nan", "None", "😀" * 3, "e\u0301", "US-IL", "*"),
    *("0" * 32, "deadbeef" * 4, "0" * 32 + "\n", "DEADBEEF" * 4, "0" * 33, "[]", "{}"),
]
NUMBERS = [-1, 0, 1, 2, 3, 52, 1_000_000, 1_000_001]
FLOATS = [*(float(n) for n in NUMBERS), 0.1, 0.5, 3.1416, 3.14159, -2.5, float("nan"), -0.0]
FLOATS += [float("inf"), float("-inf"), 1 + 2**-23, 1 - 2**-24, -(1 + 2**-23)]
YEARS = [dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (1970, 2000, 2026, 2100)]
MICROSECOND = dt.timedelta(microseconds=1)


def pool(field: pa.Field, suite: Suite) -> list[Any]:
    """Values for a column that stand on, just above and just below what its suite says."""
    mine = [e["kwargs"] for e in suite["expectations"] if field.name in columns_of(e["kwargs"])]
    if pa.types.is_timestamp(field.type):
        return [at + step for at in YEARS for step in (-MICROSECOND, 0 * MICROSECOND, MICROSECOND)]
    if pa.types.is_integer(field.type):
        return NUMBERS
    if pa.types.is_floating(field.type):
        return FLOATS
    if pa.types.is_boolean(field.type):
        return [True, False]
    if pa.types.is_date(field.type):
        return [at.date() for at in YEARS]
    values = [value for kwargs in mine for value in kwargs.get("value_set", [])]
    bounds = [kwargs[k] for kwargs in mine for k in ("min_value", "max_value") if k in kwargs]
    edges = [c * max(0, n + step) for n in bounds for step in (-1, 0, 1) for c in ("a", "中", "😀")]
    return values * 4 + edges + STRINGS


def rows_for(name: str, suite: Suite, schema: pa.Schema) -> pa.RecordBatch:
    dice = random.Random(name)
    used = {c for e in suite["expectations"] for c in columns_of(e["kwargs"])}
    fields = [field for field in schema if field.name in used]
    columns = []
    for field in fields:
        values = [*pool(field, suite), None]
        column = [dice.choice(values) for _ in range(ROWS)]
        if field.type == pa.string():  # and some that are alone
            column = [f"{v}{dice.random()}" if dice.random() < 0.2 else v for v in column]
        columns.append(pa.array(column, field.type))
    return pa.record_batch(columns, schema=pa.schema(fields))


@cache
def context() -> Any:
    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = ProgressBarsConfig(globally=False)
    return made


def verdicts_of_gx(name: str, suite: Suite, batch: pa.RecordBatch) -> list[np.ndarray]:
    """Failing rows of each expectation, as Great Expectations finds them; it sorts by column."""
    numbered = [{**e, "meta": {"number": n}} for n, e in enumerate(suite["expectations"])]
    asset = context().data_sources.add_pandas(name).add_dataframe_asset(name)
    whole = asset.add_batch_definition_whole_dataframe("whole")
    frame = pa.Table.from_batches([batch]).to_pandas()
    result = whole.get_batch({"dataframe": frame}).validate(
        gx.ExpectationSuite(name=name, expectations=numbered),
        result_format={"result_format": "COMPLETE"},
    )
    masks = np.zeros((len(numbered), batch.num_rows), bool)
    seen = set()
    for outcome in result.results:
        assert not outcome.exception_info.get("raised_exception"), outcome.exception_info
        number = outcome.expectation_config.meta["number"]
        masks[number][outcome.result["unexpected_index_list"]] = True
        seen.add(number)
    assert len(seen) == len(numbered)
    return list(masks)


MADE: list[tuple[dict[str, Any], pa.DataType]] = [
    (entry("column_values_to_be_between", min_value=0), pa.int32()),
    (entry("column_values_to_be_between", max_value=1), pa.int64()),
    (entry("column_values_to_be_between", min_value=0.5, max_value=52), pa.int64()),
    (entry("column_values_to_be_between", min_value=0.1), pa.float32()),
    (entry("column_values_to_be_between", min_value=0.1, max_value=3.1416), pa.float64()),
    (
        entry("column_values_to_be_between", min_value=0, max_value=1, strict_min=True),
        pa.float32(),
    ),
    (
        entry("column_values_to_be_between", min_value=0, max_value=1, strict_max=True),
        pa.int32(),
    ),
    (
        entry("column_values_to_be_between", max_value="2000-01-01T00:00:00Z", strict_max=True),
        pa.timestamp("us", tz="UTC"),
    ),
    (
        entry("column_values_to_be_between", min_value="2026-01-01T02:00:00+02:00"),
        pa.timestamp("us", tz="UTC"),
    ),
    (entry("column_values_to_be_in_set", value_set=[0, 52]), pa.int32()),
    (entry("column_values_to_be_in_set", value_set=[True]), pa.bool_()),
    (entry("column_values_to_be_in_set", value_set=["", "é", "中文"]), pa.string()),
    (entry("column_value_lengths_to_be_between", max_value=3), pa.string()),
    (entry("column_value_lengths_to_be_between", min_value=3), pa.string()),
    (entry("column_value_lengths_to_be_between", min_value=0, max_value=0), pa.string()),
    (entry("column_values_to_match_regex", regex="a"), pa.string()),
    (entry("column_values_to_match_regex", regex=r"^.\Z"), pa.string()),
    (entry("column_values_to_match_regex", regex=r"[^a-z\n]{2}"), pa.string()),
    (entry("column_values_to_not_match_regex", regex=r"\.|一|中"), pa.string()),
    (entry("column_values_to_not_be_null"), pa.float32()),
    (entry("column_values_to_not_be_null"), pa.string()),
    (entry("column_values_to_be_unique"), pa.string()),
    (entry("column_values_to_be_unique"), pa.int64()),
    (entry("column_values_to_be_unique"), pa.float32()),
    (entry("column_values_to_be_unique"), pa.timestamp("us", tz="UTC")),
]


def made() -> tuple[Suite, pa.Schema]:
    """A suite with every argument that the suites might use one day, one column for each."""
    entries, fields = [], []
    for number, (one, its_type) in enumerate(MADE):
        column = f"c{number}"
        entries.append({**one, "kwargs": {"column": column, **one["kwargs"]}})
        fields.append((column, its_type))
    for number, (its_type, or_equal) in enumerate(
        [(pa.float64(), True), (pa.float64(), False), (pa.int32(), True)]
    ):
        pair = {"column_A": f"a{number}", "column_B": f"b{number}", "or_equal": or_equal}
        kind = "column_pair_values_a_to_be_greater_than_b"
        entries.append(entry(kind, **pair, ignore_row_if="either_value_is_missing"))
        fields += [(pair["column_A"], its_type), (pair["column_B"], its_type)]
    key = ["a0", "a2"]
    entries.append(entry("compound_columns_to_be_unique", column_list=key, ignore_row_if="never"))
    return suite_of(*entries), pa.schema(fields)


@cache
def compared(name: str) -> dict[str, tuple[int, int]]:
    """Compare both on generated rows; type → rows that failed and rows that passed."""
    suite, schema = made() if name == "made" else (load_suite(name), schema_of(name))
    batch = rows_for(name, suite, schema)
    seen: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    theirs = verdicts_of_gx(name, suite, batch)
    for check, expected in zip(compile_suite(suite), theirs, strict=True):
        ours = check.failing(batch)
        different = np.flatnonzero(ours != expected)
        rows = batch.take(pa.array(different[:5])).to_pylist()
        columns = columns_of_name(check.name)
        assert not len(different), (check.name, [[row[c] for c in columns] for row in rows])
        failed, passed = seen[check.type]
        seen[check.type] = (failed + int(ours.sum()), passed + int((~ours).sum()))
    return dict(seen)


def columns_of_name(name: str) -> list[str]:
    return name.partition("(")[2].rstrip(")").split(", ")


@pytest.mark.parametrize("name", [*SUITES, "made"])
def test_compiled_checks_and_great_expectations_fail_the_same_rows(name: str) -> None:
    assert compared(name)


def test_every_type_in_use_was_seen_to_fail_and_to_pass() -> None:
    in_use = {e["type"] for name in SUITES for e in load_suite(name)["expectations"]}
    failed: dict[str, int] = defaultdict(int)
    passed: dict[str, int] = defaultdict(int)
    for name in (*SUITES, "made"):
        for kind, (bad, good) in compared(name).items():
            failed[kind] += bad
            passed[kind] += good
    rare = {kind: (failed[kind], passed[kind]) for kind in in_use}
    assert {kind: counts for kind, counts in rare.items() if min(counts) < 10} == {}
