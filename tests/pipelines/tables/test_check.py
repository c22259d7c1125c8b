import socket
from pathlib import Path

import pytest
from deltalake import DeltaTable
from rich.console import Console

from pipelines.tables.check import TableVerdict, check_tables, print_verdicts
from schemas.errors import AffectstreamError
from tests.support import synthetic_tables as st


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        message = "nothing here may open a connection"
        raise AssertionError(message)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_good_tables_pass_and_get_data_docs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    st.write_session(tmp_path / "tables", tmp_path / "truth.parquet", subjects=2, windows=6)
    verdicts = check_tables(tmp_path / "tables", tmp_path / "docs")
    assert [v.table for v in verdicts] == [
        "observations",
        "emotion_features",
        "expression_decisions",
        "dead_letters",
        "refusals",
        "runs",
    ]
    assert {v.table: v.failed for v in verdicts if not v.ok} == {}
    assert verdicts[3].rows == 4
    index = (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    pages = list((tmp_path / "docs" / "validations").rglob("*.html"))
    assert "emotion_features" in index
    assert len(pages) == len(verdicts)
    assert capfd.readouterr() == ("", "")


def test_a_bad_row_fails_its_expectations_by_name(tmp_path: Path) -> None:
    row = st.observation("a", "alice", st.START, "text", "joy", 0.9)
    st.land(tmp_path, "observations", [row, row, {**row, "confidence": 1.5, "modality": "gait"}])
    before = DeltaTable(str(tmp_path / "observations")).version()
    assert check_tables(tmp_path, None) == [
        TableVerdict(
            "observations",
            3,
            False,
            (
                "expect_column_values_to_be_unique(event_id)",
                "expect_column_values_to_be_in_set(modality)",
                "expect_column_values_to_be_between(confidence)",
            ),
        )
    ]
    assert DeltaTable(str(tmp_path / "observations")).version() == before


def test_a_root_without_tables_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"no tables under .*nowhere: run"):
        check_tables(tmp_path / "nowhere", tmp_path / "docs")
    assert not (tmp_path / "docs").exists()


def test_verdicts_print_one_line_a_table_and_name_what_failed() -> None:
    console = Console(record=True, width=120)
    bad = ("expect_column_values_to_be_unique(event_id)",)
    print_verdicts(
        [TableVerdict("runs", 1, True, ()), TableVerdict("observations", 12_345, False, bad)],
        console,
    )
    text = console.export_text()
    assert "all hold" in text
    assert "12,345" in text
    assert bad[0] in text
