"""Queries by a role: hostile SQL learns nothing of rows and columns that are hidden."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder
from typer.testing import CliRunner

from pipelines.access.audit import hash_of, read_entries
from pipelines.access.logged_query import query_as
from pipelines.access.restricted import Reader
from pipelines.access.roles import Grant, Role, read_roles, schema_of
from pipelines.access.settings import ROLES, Access
from pipelines.cli.main import app
from pipelines.tables.analyst_views import VIEWS
from pipelines.tables.query import _SETTINGS, query
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.served import BEGIN, LENGTH, decision, feature, land, subject
from tests.support.synthetic_tables import dead_letter
from transforms.landing.prepare import prepare_tables

NOW = BEGIN + 3 * LENGTH
SECRET = "5ec2e7" + "0" * 26
"""The subject whom no recommender may learn of: her rows are for mirroring alone."""
PURPOSE = {"purpose": "avatar_mirroring"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables")
    prepare_tables(made)
    hers = {"subject_ref": SECRET, "expression": "anger"} | PURPOSE
    for window in range(3):
        land(made, "emotion_features", feature("ann", window), feature("eve", window, **hers))
        land(made, "expression_decisions", decision("ann", window),
             decision("eve", window, **hers))  # fmt: skip
    expired = decision("old", 0, expires_at=NOW - timedelta(seconds=1))
    land(made, "expression_decisions", expired)
    land(made, "dead_letters", {**dead_letter(1, "bad_json"), "event_date": BEGIN.date()})
    return made


def reader(name: str, at: datetime = NOW) -> Reader:
    return Reader(name, read_roles(ROLES).named(name), lambda: at)


def ask(root: Path, name: str, sql: str, **more: Any) -> list[dict[str, Any]]:
    return query(root, sql, reader=reader(name), **more).to_pylist()


def test_a_recommender_sees_unexpired_decisions_of_recommendation_alone(root: Path) -> None:
    found = ask(
        root, "recommender", "SELECT subject_ref, purpose, expires_at FROM expression_decisions"
    )
    assert {row["subject_ref"] for row in found} == {subject("ann")}
    assert {row["purpose"] for row in found} == {"recommendation"}
    assert min(row["expires_at"] for row in found) > NOW
    whole = query(root, "SELECT DISTINCT subject_ref FROM expression_decisions").to_pylist()
    assert len(whole) == 3, "an open query sees all of it"
    later = reader("recommender", NOW + timedelta(days=1))
    assert not query(root, "SELECT * FROM expression_decisions", reader=later).num_rows
    assert not query(root, "SELECT * FROM emotion_features", reader=later).num_rows


LEAKS = [
    "SELECT count(*) FROM {table} WHERE "
    "1 / (CASE WHEN subject_ref = '{secret}' THEN 0 ELSE 1 END) = 1",
    "SELECT count(*) FROM {table} WHERE "
    "CAST(CASE WHEN subject_ref = '{secret}' THEN 'x' ELSE '1' END AS INT) = 1",
    "SELECT count(*) FROM {table} WHERE arrow_cast(CASE WHEN purpose = 'avatar_mirroring' THEN "
    "subject_ref ELSE '1' END, 'Int64') = 1",
    "SELECT * FROM (SELECT 1 / (CASE WHEN subject_ref = '{secret}' THEN 0 ELSE 1 END) AS n, * "
    "FROM {table}) WHERE n = 1",
]
"""Statements that fail where a hidden row is looked at: that they fail tells that it is there."""


def filtered_inside(root: Path, table: str, sql: str) -> pa.Table:
    """Run a statement as a row filter in the same engine would: a view with a WHERE clause."""
    engine = QueryBuilder(_SETTINGS)
    engine.register("hidden", DeltaTable(root / table))
    engine.execute(
        f"CREATE VIEW {table} AS SELECT * FROM hidden WHERE purpose = 'recommendation'"
    ).read_all()
    return pa.table(engine.execute(sql))


def test_a_filter_inside_the_engine_would_leak(root: Path) -> None:
    """What is asked below does succeed where rows are only filtered: by a name, and by a plan."""
    table = "expression_decisions"
    names = filtered_inside(root, table, "SHOW TABLES").to_pylist()
    assert "hidden" in {row["table_name"] for row in names}
    hers = f"SELECT * FROM hidden WHERE subject_ref = '{SECRET}'"
    assert filtered_inside(root, table, hers).num_rows
    plan = filtered_inside(root, table, COUNTED.format(t=table)).to_pylist()
    assert pruned(plan) > 0, "how many rows of others are in the files"
    assert pruned(ask(root, "recommender", COUNTED.format(t=table))) == 0


COUNTED = "EXPLAIN ANALYZE SELECT subject_ref FROM {t}"


def pruned(plan: list[dict[str, Any]]) -> int:
    """How many rows the engine says that it met and left out."""
    found = re.findall(r"pushdown_rows_pruned=(\d+)", plan[0]["plan"])
    assert found
    return sum(map(int, found))


@pytest.mark.parametrize("table", ["expression_decisions", "emotion_features"])
@pytest.mark.parametrize("leak", LEAKS)
def test_no_condition_is_tried_on_a_hidden_row(root: Path, table: str, leak: str) -> None:
    found = ask(root, "recommender", leak.format(table=table, secret=SECRET))
    nobody = ask(root, "recommender", leak.format(table=table, secret="f" * 32))
    assert sorted(map(str, found)) == sorted(map(str, nobody))


ATTEMPTS = [
    "SELECT * FROM {t} WHERE purpose = 'avatar_mirroring' OR true",
    "SELECT * FROM {t} UNION ALL SELECT * FROM {t}",
    "SELECT a.* FROM {t} a RIGHT JOIN {t} b ON a.window_id <> b.window_id",
    "WITH {t} AS (SELECT * FROM {t}) SELECT * FROM {t}",
    "SELECT * FROM datafusion.public.{t}",
    'SELECT * FROM "{t}"',
    "SELECT subject_ref, count(*) OVER () FROM {t} GROUP BY GROUPING SETS ((subject_ref), ())",
    "SELECT max(subject_ref), min(subject_ref), count(DISTINCT subject_ref) FROM {t}",
    "SELECT array_agg(subject_ref) FROM {t}",
    "SELECT (SELECT max(subject_ref) FROM {t} WHERE purpose <> 'recommendation')",
    "SELECT * FROM {t} WHERE subject_ref IN (SELECT subject_ref FROM {t} WHERE purpose <> 'x')",
    "SELECT * FROM (VALUES (1)) v LEFT JOIN {t} ON purpose = 'avatar_mirroring'",
    "SELECT approx_distinct(subject_ref), approx_percentile_cont(confidence, 0.99) FROM {t}",
    "EXPLAIN SELECT * FROM {t} WHERE subject_ref = 'x'",
    "EXPLAIN ANALYZE VERBOSE SELECT * FROM {t} WHERE purpose = 'avatar_mirroring'",
    "DESCRIBE {t}",
    "SHOW COLUMNS FROM {t}",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM information_schema.views",
    "SELECT * FROM information_schema.columns",
    "SELECT * FROM information_schema.df_settings",
    "SHOW CREATE TABLE {t}",
    "SELECT * FROM {t} /* emotion_features observations consent_ledger */",
    "select * from {t} -- observations",
]
ELSEWHERE = [
    "SELECT * FROM {other}",
    'SELECT * FROM "{other}"',
    "SELECT * FROM datafusion.public.{other}",
    "SELECT * FROM public.{other}",
    "SELECT (SELECT max(event_date) FROM {other})",
    "SELECT * FROM expression_decisions WHERE EXISTS (SELECT 1 FROM {other})",
    "WITH x AS (SELECT * FROM {other}) SELECT 1 FROM x",
    "SELECT 1 WHERE 1 IN (SELECT count(*) FROM {other})",
    "SELECT * FROM '{root}/observations'",
    "SELECT * FROM '{root}/observations/*.parquet'",
    "SELECT * FROM read_parquet('{root}/observations')",
    "SELECT * FROM delta_scan('{root}/observations')",
    "TABLE {other}",
    "COPY (SELECT * FROM {other}) TO '/tmp/x.parquet'",
    "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{root}/observations'",
    "SELECT 1; SELECT * FROM {other}",
    "EXPLAIN COPY (SELECT 1) TO '/tmp/x'",
    "PREPARE p AS SELECT * FROM {other}",
]


def texts(found: pa.Table) -> Iterator[str]:
    yield str(found.schema.remove_metadata())
    yield from (str(value) for column in found.columns for value in column.to_pylist())


@pytest.mark.parametrize("table", ["expression_decisions", "emotion_features"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_statement_shows_what_is_hidden(root: Path, table: str, attempt: str) -> None:
    try:
        found = query(root, attempt.format(t=table), reader=reader("recommender"))
    except AffectstreamError as error:
        said = [str(error)]
    else:
        said = list(texts(found))
    told = " ".join(said)
    assert SECRET not in told
    assert subject("old") not in told
    for hidden in (
        "observations",
        "consent_ledger",
        "review_queue",
        "refusals",
        "avatar_mirroring",
    ):
        if hidden not in attempt:
            assert hidden not in told, hidden
    assert str(root) not in told, "what is limited is read from a copy"


def test_no_statistic_counts_a_hidden_row(root: Path) -> None:
    """The plan tells rows and bytes of the table that is read: those of the copy alone."""
    plan = " ".join(
        str(row["plan"])
        for row in ask(
            root, "recommender", "EXPLAIN ANALYZE VERBOSE SELECT * FROM emotion_features"
        )
    )
    assert "output_rows=3" in plan
    assert "output_rows=6" not in plan


@pytest.mark.parametrize("attempt", ELSEWHERE)
@pytest.mark.parametrize("other", ["observations", "consent_ledger", "coverage", "dead_letters"])
def test_no_statement_reaches_a_table_that_the_role_has_not(
    root: Path, attempt: str, other: str
) -> None:
    with pytest.raises(AffectstreamError) as caught:
        query(root, attempt.format(other=other, root=root), reader=reader("recommender"))
    told = str(caught.value)
    assert "bad_json" not in told
    known = {name for name in (*TABLES, *VIEWS) if f" {name}" in told.replace(attempt, "")}
    assert known <= {other, "emotion_features", "expression_decisions", "observations"}


def test_what_a_role_has_not_is_refused_in_one_sentence(root: Path) -> None:
    with pytest.raises(AffectstreamError) as caught:
        ask(root, "recommender", "SELECT * FROM consent_ledger")
    assert str(caught.value) == (
        "the query does not run: role recommender may not read consent_ledger; it may read "
        "emotion_features, expression_decisions"
    )
    with pytest.raises(AffectstreamError) as caught:
        ask(root, "operator", "SELECT valence FROM emotion_features")
    assert str(caught.value) == (
        "the query does not run: role operator may not read the column valence of emotion_features"
    )
    with pytest.raises(
        AffectstreamError, match="may not read the column embedding of observations"
    ):
        ask(root, "analyst", "SELECT o.embedding FROM observations o")
    with pytest.raises(
        AffectstreamError, match="reads the tables as they stand: leave out --as-of"
    ):
        ask(root, "recommender", "SELECT * FROM expression_decisions", as_of=0)
    with pytest.raises(AffectstreamError, match="reads the tables as they stand"):
        ask(root, "operator", "SELECT * FROM dead_letters", changes_since=0)


@pytest.mark.parametrize("column", ["subject_ref", "expression", "scores", "confidence"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT {c} FROM emotion_features",
        "SELECT count(*) FROM emotion_features WHERE {c} IS NOT NULL",
        "SELECT count(*) FROM emotion_features GROUP BY {c}",
        "SELECT 1 FROM emotion_features ORDER BY {c}",
        "SELECT count(DISTINCT {c}) FROM emotion_features",
        'SELECT "{c}" FROM emotion_features',
        "SELECT e.{c} FROM emotion_features e JOIN dead_letters ON true",
        "SELECT * EXCEPT ({c}) FROM emotion_features",
    ],
)
def test_a_hidden_column_is_not_there(root: Path, sql: str, column: str) -> None:
    with pytest.raises(AffectstreamError, match=f"may not read the column {column}|does not run"):
        ask(root, "operator", sql.format(c=column))
    shown = ask(root, "operator", "SELECT * FROM emotion_features LIMIT 1")[0]
    assert set(shown) == {"window_start", "window_end", "event_date"}


def test_an_operator_sees_a_view_of_tables_that_are_hidden(root: Path) -> None:
    (row,) = ask(
        root,
        "operator",
        "SELECT * FROM coverage WHERE purpose = 'recommendation' AND modality = 'text'",
    )
    assert row["windows"] == 3
    assert ask(root, "operator", "SELECT code FROM dead_letters") == [{"code": "bad_json"}]


@pytest.mark.parametrize("view", list(VIEWS))
def test_an_analyst_sees_every_view_as_an_open_query_does(root: Path, view: str) -> None:
    sql = f"SELECT * FROM {view} ORDER BY 1, 2, 3, 4"
    assert ask(root, "analyst", sql) == query(root, sql).to_pylist()


@pytest.mark.parametrize("name", [*TABLES, *VIEWS])
def test_any_column_of_any_table_or_view_can_be_hidden(root: Path, name: str) -> None:
    """Some have names that SQL knows too, such as offset."""
    first, *others = schema_of(name).names
    role = Role(description="d", tables={name: Grant(without=(first,))})
    found = query(root, f"SELECT * FROM {name}", reader=Reader("limited", role))
    assert found.column_names == others
    assert len(found) == len(query(root, f"SELECT * FROM {name}"))


def test_a_column_that_is_hidden_is_hidden_in_views_that_read_it(root: Path) -> None:
    """A view may be had without its tables, and shows what its grant does and nothing else."""
    grant = Grant(columns=("subject_ref", "expression"), purposes=frozenset({"recommendation"}))
    limited = Role(description="d", tables={"latest": grant})
    found = query(root, "SELECT * FROM latest", reader=Reader("limited", limited, lambda: NOW))
    assert found.to_pylist() == [{"subject_ref": subject("ann"), "expression": "joy"}]
    with pytest.raises(
        AffectstreamError, match="may not read emotion_features; it may read latest"
    ):
        query(root, "SELECT * FROM emotion_features, latest", reader=Reader("limited", limited))


def test_time_travel_and_changes_are_limited_too(root: Path) -> None:
    officer = Role(
        description="d", past=True,
        tables={"emotion_features": Grant(without=("scores",),
                                          purposes=frozenset({"recommendation"}))},
    )  # fmt: skip
    who = Reader("auditor", officer, lambda: NOW)
    version = DeltaTable(root / "emotion_features").version()
    sql = "SELECT subject_ref FROM emotion_features"
    before = query(root, sql, as_of=version - 1, reader=who).to_pylist()
    assert before == [{"subject_ref": subject("ann")}] * 2
    since = query(root, "SELECT * FROM emotion_features", changes_since=version - 1, reader=who)
    assert since["subject_ref"].to_pylist() == [subject("ann")]
    assert {"_change_type", "_commit_version"} <= set(since.column_names)
    assert "scores" not in since.column_names


def test_a_reading_is_logged_before_it_is_answered_and_a_refused_one_too(
    root: Path, tmp_path: Path
) -> None:
    access = Access(audit=tmp_path / "audit")
    sql = f"SELECT count(*) AS n FROM emotion_features WHERE subject_ref = '{subject('ann')}'"
    ref = "ab" * 16
    query_as(access, "analyst", root, sql)
    query_as(access, "analyst", root, f"SELECT 1 FROM latest WHERE subject_ref = '{ref}'")
    with pytest.raises(AffectstreamError):
        query_as(access, "recommender", root, "SELECT * FROM consent_ledger")
    one, two, refused = read_entries(tmp_path / "audit")
    assert (one["role"], one["what"], one["rows"], one["outcome"]) == (
        "analyst", "emotion_features", 1, "ok",
    )  # fmt: skip
    assert (two["what"], two["subjects"], two["rows"]) == ("latest", [hash_of(ref)], 0)
    assert (refused["role"], refused["what"], refused["outcome"]) == (
        "recommender", "consent_ledger", "refused",
    )  # fmt: skip
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(AffectstreamError, match="what is not logged is not answered"):
        query_as(Access(audit=blocked), "analyst", root, sql)


def test_the_command_takes_role_and_configuration(root: Path, tmp_path: Path) -> None:
    settings = tmp_path / "config.yaml"
    settings.write_text(f"access: {{audit: {tmp_path / 'audit'}}}\n")
    command = ["query", "SELECT code FROM dead_letters", "--tables", str(root), "--format", "csv"]
    result = CliRunner().invoke(app, [*command, "--role", "operator", "--config", str(settings)])
    assert result.exit_code == 0, result.exception
    assert result.stdout.split() == ['"code"', '"bad_json"']
    assert [entry["via"] for entry in read_entries(tmp_path / "audit")] == ["query"]
    wrong = CliRunner().invoke(app, [*command, "--role", "king", "--config", str(settings)])
    assert "there is no role 'king'" in str(wrong.exception)
