import csv
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipelines.tables.query import query, query_pandas, read_table, tables
from pipelines.tables.results import write_result
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.synthetic_tables import START, dead_letter, feature, land, run
from transforms.landing.prepare import prepare_tables


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    land(folder, "dead_letters", [dead_letter(n, "bad_json") for n in range(3)])
    land(folder, "dead_letters", [dead_letter(9, "bad_time")])
    land(folder, "emotion_features", [feature("p", START, "joy", 0.9, {"text": 2, "voice": 1})])
    land(folder, "runs", [run({"decode": {"rows_in": 4, "rows_out": 4, "seconds": 1.0}})])
    return folder


def everything_under(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_tables_counts_what_stands_there_in_the_order_of_the_contract(root):
    assert tables(root) == {"emotion_features": 1, "dead_letters": 4, "runs": 1}
    assert list(tables(root)) == [n for n in TABLES if n in tables(root)]


def test_query_returns_plain_arrow_and_pandas(root):
    sql = "SELECT code, count(*) AS n FROM dead_letters GROUP BY code ORDER BY code"
    result = query(root, sql)
    assert result.schema.field("code").type == pa.string()
    assert result.to_pylist() == [{"code": "bad_json", "n": 3}, {"code": "bad_time", "n": 1}]
    frame = query_pandas(root, sql)
    assert isinstance(frame, pd.DataFrame)
    assert frame["n"].tolist() == [3, 1]


def test_query_joins_tables_and_keeps_their_types(root):
    row = query(root, "SELECT window_start, scores, event_date FROM emotion_features")
    assert row.schema.field("window_start").type == pa.timestamp("us", tz="UTC")
    assert row["window_start"][0].as_py() == START
    assert row["scores"][0].as_py()[3] == pytest.approx(0.9)
    joined = query(root, "SELECT f.expression, r.records FROM emotion_features f CROSS JOIN runs r")
    assert joined.to_pylist() == [{"expression": "joy", "records": 1200}]


def test_query_sees_an_erased_row_no_more(tmp_path):
    land(tmp_path, "dead_letters", [dead_letter(n, "bad_json") for n in range(3)])
    DeltaTable(tmp_path / "dead_letters").delete('"offset" = 1')
    assert query(tmp_path, 'SELECT "offset" AS o FROM dead_letters ORDER BY o')[
        "o"
    ].to_pylist() == [
        0,
        2,
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO runs SELECT * FROM runs",
        "DELETE FROM runs",
        "UPDATE runs SET seconds = 0",
        "DROP TABLE runs",
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/hostname'",
        "SET datafusion.execution.batch_size = 1",
        "COPY runs TO '{out}'",
        "copy (SELECT 1) TO '{out}'",
        "EXPLAIN ANALYZE COPY runs TO '{out}'",
        "-- SELECT\nCOPY runs TO '{out}'",
        "--\rSELECT\nCOPY runs TO '{out}'",
        "/* SELECT */ COPY runs TO '{out}'",
        "/* a /* b */ SELECT */ COPY runs TO '{out}'",
        "WITH a AS (SELECT 1) COPY a TO '{out}'",
        "WITH a AS (COPY runs TO '{out}') SELECT 1",
        "SELECT 1; COPY runs TO '{out}'",
        "(COPY runs TO '{out}')",
        "SELECT 1 AS a INTO t",
        "",
    ],
)
def test_no_statement_writes(root, tmp_path, sql):
    out = tmp_path / "out.csv"
    before = everything_under(root)
    with pytest.raises(AffectstreamError) as refused:
        query(root, sql.format(out=out))
    assert "\n" not in str(refused.value)
    assert not out.exists()
    assert everything_under(root) == before


@pytest.mark.parametrize(
    "sql",
    [
        "(SELECT 1 AS a)",
        "-- why\nSELECT 1 AS a",
        "/* why */ WITH b AS (SELECT 1 AS a) SELECT a FROM b",
    ],
)
def test_comments_and_parentheses_may_stand_before_a_query(root, sql):
    assert query(root, sql).to_pydict() == {"a": [1]}


def test_show_describe_and_explain_read(root):
    assert "dead_letters" in query(root, "SHOW TABLES")["table_name"].to_pylist()
    assert query(root, "DESCRIBE runs")["column_name"].to_pylist() == TABLES["runs"].schema.names
    assert "TableScan: runs" in query(root, "EXPLAIN SELECT * FROM runs")["plan"][0].as_py()


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT run_i FROM runs", "Did you mean 'runs.run_id'"),
        ("SELECT * FROM run", "tables here: emotion_features, dead_letters, runs"),
        ("SELECT (", "SQL error"),
        (
            "SELECT 1 FROM runs WHERE 1 / (records - 1200) > 0",
            "DivideByZero",
        ),
    ],
)
def test_a_wrong_query_is_one_sentence_with_the_engines_hint(root, sql, hint):
    with pytest.raises(AffectstreamError, match="does not run") as wrong:
        query(root, sql)
    assert hint in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_root_without_tables_is_an_error(tmp_path):
    with pytest.raises(AffectstreamError, match="no table under"):
        tables(tmp_path / "missing")
    with pytest.raises(AffectstreamError, match="no table under"):
        query(tmp_path, "SELECT 1")


def test_a_broken_table_is_named(tmp_path):
    land(tmp_path, "runs", [run({"a": {"rows_in": 1, "rows_out": 1, "seconds": 1.0}})])
    for log in (tmp_path / "runs" / "_delta_log").glob("*.json"):
        log.write_text("{broken", encoding="utf-8")
    with pytest.raises(AffectstreamError, match="runs cannot be read"):
        tables(tmp_path)


def test_read_table_of_a_missing_table_is_empty_with_its_schema(root):
    empty = read_table(root, "refusals", "code", "event_time")
    assert empty.num_rows == 0
    assert empty.schema.field("event_time").type == pa.timestamp("us", tz="UTC")


def written(root: Path, form: str, out: Path) -> bytes:
    write_result(query(root, "SELECT * FROM emotion_features"), form, out)
    return out.read_bytes()


def test_csv_holds_lists_as_json_and_floats_as_they_were_written(root, tmp_path):
    text = written(root, "csv", tmp_path / "r.csv").decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["confidence"] == "0.9"
    assert json.loads(row["attention"]) == [0.5, 0.5, 0, 0]
    assert json.loads(row["scores"])[3] == 0.9
    assert row["window_start"].startswith("2026-03-02 10:00:00")


def test_json_round_trips(root, tmp_path):
    (row,) = json.loads(written(root, "json", tmp_path / "r.json"))
    assert row["confidence"] == 0.9
    assert row["window_start"] == "2026-03-02T10:00:00Z"
    assert row["event_date"] == "2026-03-02"
    assert row["n_text"] == 2
    assert row["abstained"] is False


def test_json_of_odd_values_stays_json(root, tmp_path):
    odd = pa.table({"nan": [float("nan")], "raw": [b"\x00\xff"], "none": [None], "s": [{"a": [1]}]})
    write_result(odd, "json", tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_bytes()) == [
        {"nan": None, "raw": "00ff", "none": None, "s": {"a": [1]}}
    ]
    write_result(odd.slice(0, 0), "json", tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_bytes()) == []
    write_result(odd, "csv", tmp_path / "o.csv")
    assert "00ff" in (tmp_path / "o.csv").read_text()


def test_parquet_round_trips(root, tmp_path):
    result = query(root, "SELECT * FROM emotion_features")
    write_result(result, "parquet", tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").equals(result)


def test_parquet_goes_to_standard_output_byte_for_byte(root, capfdbinary):
    result = query(root, "SELECT * FROM dead_letters")
    write_result(result, "parquet")
    assert pq.read_table(io.BytesIO(capfdbinary.readouterr().out)).equals(result)


def test_table_is_readable_and_says_what_it_leaves_out(root, capsys):
    rows = pa.table({"n": list(range(60)), "x": [0.123456] * 60, "many": [list(range(9))] * 60})
    write_result(rows, "table")
    text = capsys.readouterr().out
    assert "0.123 " in text
    assert "… 2 more]" in text
    assert "60 rows, the first 50 shown" in text
    assert "\n49 " in text
    assert "\n50 " not in text


IDS = pa.table(
    {
        "who": ["c2d16ef1da7f2243c137d5cc61cbfbec"] * 3,
        "at": pa.array([START] * 3, pa.timestamp("us", "UTC")),
        "local": pa.array([START] * 3, pa.timestamp("us", "Asia/Shanghai")),
        "naive": pa.array([START] * 3, pa.timestamp("us")),
        "sure": [True, False, None],
        "text": ["x" * 300] * 3,
    }
)


def as_shown(table: pa.Table, width: int, monkeypatch, capsys) -> str:
    """What a terminal of this width shows, without its colours."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    write_result(table, "table")
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_times_show_their_zone_and_logical_values_are_those_of_sql(monkeypatch, capsys):
    text = as_shown(IDS.select(["at", "local", "naive", "sure"]), 100, monkeypatch, capsys)
    assert "2026-03-02 10:00:00Z   2026-03-02 18:00:00+08:00   2026-03-02 10:00:00   true" in text
    assert text.count("false") == text.count("–") == 1


def test_ids_are_cut_where_that_makes_a_grid_fit_and_the_last_line_says_so(monkeypatch, capsys):
    narrow = IDS.select(["who", "at"])
    exact = 32 + 3 + 20
    whole = as_shown(narrow, exact, monkeypatch, capsys)
    assert whole.count("c2d16ef1da7f2243c137d5cc61cbfbec   2026-03-02 10:00:00Z") == 3
    assert "cut" not in whole
    cut = as_shown(narrow, exact - 1, monkeypatch, capsys)
    assert cut.count("c2d16ef1…   2026-03-02 10:00:00Z") == 3
    said = " ".join(cut.split())
    assert "3 rows, ids cut; --format csv, json or parquet gives all of them" in said
    assert max(map(len, whole.splitlines())) <= exact


def test_what_does_not_fit_at_all_is_a_block_for_each_row_with_whole_ids(monkeypatch, capsys):
    text = as_shown(IDS, 80, monkeypatch, capsys)
    assert text.count("c2d16ef1da7f2243c137d5cc61cbfbec") == 3
    assert "… 60 more characters" in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_all_columns_of_every_table_can_be_read(name, width, tmp_path, monkeypatch, capsys):
    prepare_tables(tmp_path)
    schema = TABLES[name].schema
    values = {field.name: sample(field.type) for field in schema}
    land(tmp_path, name, [values | {"event_date": START.date()}])
    text = as_shown(query(tmp_path, f"SELECT * FROM {name}"), width, monkeypatch, capsys)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 6 * len(schema) + 3  # long texts are cut to some lines
    shown = {line.split()[0] for line in lines if line}
    assert set(schema.names) <= shown | set(lines[0].split())


def sample(kind: pa.DataType):
    if pa.types.is_string(kind):
        return "a text of some length " * 20
    if pa.types.is_fixed_size_list(kind):
        return [0.25] * kind.list_size
    return START if pa.types.is_timestamp(kind) else 1 if pa.types.is_integer(kind) else None


def test_an_unwritable_file_is_one_sentence_and_leaves_nothing(root, tmp_path):
    for form in ("table", "csv"):
        with pytest.raises(AffectstreamError, match="cannot write"):
            write_result(query(root, "SELECT 1 AS a"), form, tmp_path / "no" / "r.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["csv", "table"])
def test_a_closed_pipe_leaves_no_trace(form):
    code = (
        "import pyarrow as pa; from pipelines.tables.results import write_result; import sys;"
        f"sys.stdin.read(); write_result(pa.table({{'a': range(100000)}}), '{form}')"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        errors = process.stderr.read()
    assert errors == b""
    assert process.returncode == 1


ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000000000)"


def start_query(root: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.cli.main", "query", ENDLESS, "--tables", str(root)]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_statement_without_an_end_is_given_up(root):
    process = start_query(root, "--timeout", "1")
    out, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out == ""
    assert said.strip().startswith("error: the query takes longer than 1 s: let it read less")


def test_ctrl_c_ends_a_statement(root):
    with start_query(root, "--timeout", "0") as process:
        try:
            names = Path(f"/proc/{process.pid}/task")
            while not any("tokio" in name.read_text() for name in names.glob("*/comm")):
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(1)  # the engine has started: now it reckons
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()


def test_a_statement_from_python_is_given_up_when_asked(root):
    with pytest.raises(AffectstreamError, match=r"takes longer than 0\.05 s"):
        query(root, "SELECT count(*) FROM generate_series(1, 300000000)", timeout_s=0.05)
    for thread in threading.enumerate():
        if thread.name == "query":
            thread.join(60)
            assert not thread.is_alive()


def test_a_statement_may_not_take_all_memory(root, monkeypatch):
    sql = "SELECT cardinality(array_agg(value)) AS n FROM generate_series(1, 5000000)"
    assert query(root, sql)["n"].to_pylist() == [5_000_000]
    monkeypatch.setattr("pipelines.tables.query._memory_limit", lambda: 20 << 10)
    with pytest.raises(AffectstreamError, match="Resources exhausted"):
        query(root, sql)


def test_the_bound_of_memory_is_half_of_the_machines(root):
    sql = (
        "SELECT value FROM information_schema.df_settings "
        "WHERE name = 'datafusion.runtime.memory_limit'"
    )
    limit = query(root, sql)["value"][0].as_py()
    half = int(re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text()).group(1)) / 2
    unit = {"K": 1, "M": 1 << 10, "G": 1 << 20}[limit[-1]]
    assert half - unit <= int(limit[:-1]) * unit <= half, "shown in whole units"
