"""Retention by table and modality: what is enforced, what tables say, what goes next."""

import datetime as dt
import io
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from rich.console import Console
from typer.testing import CliRunner

from pipelines.access.settings import Retention
from pipelines.cli.main import app
from pipelines.config import load_config, load_retention
from pipelines.tables.changes import RETENTION, reasons
from pipelines.tables.engine import DeltalakeEngine
from pipelines.tables.maintain import Maintained, Maintenance, maintain
from pipelines.tables.query import query
from pipelines.tables.schedule import RETENTION_DAYS, own_retention, print_schedule
from schemas.errors import AffectstreamError
from schemas.tables import TABLES
from tests.support.served import BEGIN, feature, land
from tests.support.synthetic_tables import expression_columns
from transforms.landing.prepare import prepare_tables

QUIET = Console(quiet=True)
NOW = BEGIN + dt.timedelta(hours=2)
DAYS = dt.timedelta(days=1)
NAME = "observations"


def observation(modality: str, days: int) -> dict[str, Any]:
    at = BEGIN - days * DAYS
    made = feature("ann", 0)
    names = ("subject_ref", "session_ref", "scene_id", "scenario", "purpose", "region", "age_band")
    return {
        **{name: made[name] for name in names},
        **expression_columns("joy", 0.8, 0.4),
        "event_id": f"{modality}-{days}".encode().hex().ljust(32, "0")[:32],
        "event_time": at,
        "modality": modality,
        "content": 1,
        "offset": days,
        "event_date": at.date(),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    ages = (0, 6, 13, 14, 15, 29, 30, 31)
    for modality in ("text", "voice", "face", "motion"):
        land(tmp_path, NAME, *(observation(modality, days) for days in ages))
    return tmp_path


def run(root: Path, **how: Any) -> Maintained:
    (done,) = maintain(
        root, [NAME], Maintenance(DeltalakeEngine(), clock=lambda: NOW, **how), QUIET
    )
    return done


def left(root: Path) -> dict[str, list[int]]:
    rows = query(root, "SELECT modality, event_time FROM observations ORDER BY 1, 2 DESC")
    found: dict[str, list[int]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["modality"], []).append((BEGIN - row["event_time"]).days)
    return found


def test_voice_and_face_go_sooner_than_their_table_and_nothing_else_does(root: Path) -> None:
    dry = run(root, dry_run=True)
    assert dry.work.expired_rows == 4 + 2 * 3, "31 days of each; 15, 29 and 30 days of two"
    assert dry.work.modalities == {m: (NOW - 14 * DAYS).date() for m in ("voice", "face")}
    assert len(query(root, "SELECT 1 FROM observations")) == 32
    done = run(root)
    assert done.work.expired_rows == dry.work.expired_rows
    long, short = [0, 6, 13, 14, 15, 29, 30], [0, 6, 13, 14]
    assert left(root) == {"face": short, "motion": long, "text": long, "voice": short}
    table = DeltaTable(root / NAME)
    told = reasons(table, range(table.version() + 1))
    assert [*told.values()].count(RETENTION) == 3
    again = run(root)
    assert again.work.expired_rows == 0
    assert not again.work.modalities


def test_tables_say_how_long_they_are_kept(root: Path) -> None:
    run(root)
    said = DeltaTable(root / NAME).metadata().configuration
    assert said[RETENTION_DAYS] == "30"
    assert (said[f"{RETENTION_DAYS}.voice"], said[f"{RETENTION_DAYS}.face"]) == ("14", "14")
    version = DeltaTable(root / NAME).version()
    run(root)
    again = DeltaTable(root / NAME)
    assert not [e for e in again.history(again.version() - version)
                if e.get("operation") == "SET TBLPROPERTIES"]  # fmt: skip


def test_a_configuration_holds_until_another_says_otherwise(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("retention: {days: {observations: 10}, modality_days: {text: 5}}")
    run(root, retention=load_retention(path))
    assert left(root) == {"text": [0], "face": [0, 6], "motion": [0, 6], "voice": [0, 6]}
    land(root, NAME, observation("text", 8), observation("motion", 8), observation("motion", 11))
    run(root)
    assert left(root)["text"] == [0], "the table says so, without the configuration"
    assert left(root)["motion"] == [0, 6, 8]
    run(root, retention=Retention(modality_days={"voice": 3}))
    assert left(root)["voice"] == [0]
    said = DeltaTable(root / NAME).metadata().configuration
    assert (said[RETENTION_DAYS], said[f"{RETENTION_DAYS}.voice"]) == ("30", "3")
    assert said[f"{RETENTION_DAYS}.text"] == "30", "a property cannot be taken away"


def test_a_property_that_is_no_number_is_one_sentence(root: Path) -> None:
    table = DeltaTable(root / NAME)
    for wrong in ("for ever", "0", "-3", "99999", "1.5"):
        table.alter.set_table_properties({RETENTION_DAYS: wrong}, raise_if_not_exists=False)
        table.update_incremental()
        with pytest.raises(AffectstreamError, match="no number of days: say by `retention`"):
            own_retention(TABLES[NAME], table)
        with pytest.raises(AffectstreamError, match="no number of days"):
            run(root)
    assert len(query(root, "SELECT 1 FROM observations")) == 32
    run(root, retention=Retention())
    assert DeltaTable(root / NAME).metadata().configuration[RETENTION_DAYS] == "30"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"days": {"observation": 3}}, "'observation' is no table whose rows end: did you mean"),
        ({"days": {"consent_ledger": 3}}, "'consent_ledger' is no table whose rows end"),
        ({"modality_days": {"voices": 3}}, "'voices' is no modality: did you mean `voice`"),
        ({"days": {"observations": 0}}, "greater than or equal to 1"),
        ({"days": {"observations": 1_096}}, "less than or equal to 1095"),
        ({"days": {"observations": "30"}}, "valid integer"),
        ({"days": {"observations": True}}, "valid integer"),
    ],
)
def test_a_retention_of_nothing_or_for_ever_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(AffectstreamError) as caught:
        load_config(None, log="l", tables="t", keys="k", retention=given)
    assert said in str(caught.value)


def schedule(root: Path) -> list[str]:
    """Return the lines of the observations: all, voice, face."""
    out = io.StringIO()
    tables = {NAME: DeltaTable(root / NAME)}
    print_schedule(Console(width=300, file=out), None, tables, today=NOW.date())
    return [line for line in out.getvalue().splitlines() if line.split()[:1] == [NAME]]


def test_the_schedule_says_what_stands_longest_and_when_it_goes(root: Path) -> None:
    lines = schedule(root)
    oldest = (BEGIN - 31 * DAYS).date()
    assert len(lines) == 3
    assert " 30 days " in lines[0]
    assert f"{oldest}" in lines[0]
    assert f" {oldest + 31 * DAYS}, due now " in lines[0]
    assert " voice " in lines[1]
    assert f" {oldest + 15 * DAYS}, due now " in lines[1]
    run(root)
    lines = schedule(root)
    assert f" {(NOW + 1 * DAYS).date()} " in lines[0]
    assert f" {(NOW + 1 * DAYS).date()} " in lines[1]


def test_the_command_prints_the_schedule_with_and_without_tables(root: Path) -> None:
    for tables in (root, root / "nowhere"):
        result = CliRunner().invoke(app, ["maintain", "--schedule", "--tables", str(tables)])
        assert result.exit_code == 0, result.exception
        assert all(name in result.stdout for name in ("observations", "consent_ledger"))
