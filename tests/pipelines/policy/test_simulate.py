"""`affectstream policy simulate`: what another policy would decide on the windows of a run."""

import datetime as dt
import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest
import yaml
from typer.testing import CliRunner

from pipelines.backfill.days import Days
from pipelines.cli.main import app
from pipelines.config import Config, load_config
from pipelines.policy.simulate import simulate
from pipelines.run.replay import replay
from schemas.errors import AffectstreamError
from tests.support.live_runs import QUIET, table
from tests.support.midnights import FIRST, write_midnights

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Config:
    """Tables of a log over one midnight."""
    folder = tmp_path_factory.mktemp("simulated")
    config = load_config(None, log=write_midnights(folder, 1), tables=folder / "tables", keys=keys)
    replay(config, QUIET)
    return config


@pytest.fixture
def changed(landed: Config, tmp_path: Path) -> Path:
    """The shipped policy with another answer to sadness in a game."""
    policy = yaml.safe_load(landed.scenarios.read_text())
    policy["version"] = "changed"
    policy["scenarios"]["game"]["sadness"]["action"] = "lower_difficulty"
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(policy))
    return path


def test_a_policy_changes_nothing_in_comparison_with_itself(landed: Config) -> None:
    done = simulate(landed, landed.scenarios)
    assert done.windows == len(table(landed.tables, "emotion_features"))
    assert (done.differing, len(done.differences), done.without_column) == (0, 0, ())


def test_what_differs_is_what_was_changed_and_nobody_is_named(
    landed: Config, changed: Path
) -> None:
    decided = table(landed.tables, "expression_decisions")
    encouraged = decided.filter(pc.equal(decided["rule_id"], "game.sadness"))
    assert len(encouraged) > 3, "the log has what the rule is about"
    done = simulate(landed, changed)
    (row,) = done.differences.to_pylist()
    assert row == row | {
        "scenario": "game",
        "rule_id_now": "game.sadness",
        "rule_id_then": "game.sadness",
        "action_now": "encourage",
        "action_then": "lower_difficulty",
        "windows": len(encouraged),
    }
    examples = row["examples"].split(" ")
    assert len(examples) == 3
    assert set(examples) <= set(encouraged["decision_id"].to_pylist())
    told = str(done)
    people = decided["subject_ref"].to_pylist() + decided["session_ref"].to_pylist()
    assert not any(ref in told for ref in people)


def test_days_are_simulated_with_what_was_known_before_them(landed: Config, changed: Path) -> None:
    whole = simulate(landed, changed)
    parts = [simulate(landed, changed, Days(day, day)) for day in (FIRST, FIRST + DAY)]
    assert sum(part.windows for part in parts) == whole.windows
    assert sum(part.differing for part in parts) == whole.differing
    assert simulate(landed, changed, Days(dt.date(1970, 1, 2), dt.date(9999, 1, 1))) == whole


def test_nothing_is_written(landed: Config, changed: Path) -> None:
    root = Path(landed.tables)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    simulate(landed, changed)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_what_cannot_be_simulated_is_one_sentence(
    landed: Config, changed: Path, tmp_path: Path
) -> None:
    with pytest.raises(AffectstreamError, match="no window landed on these days"):
        simulate(landed, changed, Days(FIRST - 2 * DAY, FIRST - DAY))
    nowhere = landed.model_copy(update={"tables": str(tmp_path / "nowhere")})
    with pytest.raises(AffectstreamError, match="no table under"):
        simulate(nowhere, changed)
    shutil.copytree(landed.tables, tmp_path / "tables")
    shutil.rmtree(tmp_path / "tables" / "emotion_features")
    half = landed.model_copy(update={"tables": str(tmp_path / "tables")})
    with pytest.raises(AffectstreamError, match="has no table emotion_features"):
        simulate(half, changed)


def test_the_command_says_how_many_and_which(landed: Config, changed: Path) -> None:
    policy = yaml.safe_load(changed.read_text())
    policy["scenarios"]["game"]["sadness"]["at_once"] = {"door_2": "open"}
    changed.write_text(yaml.safe_dump(policy))
    given = ["policy", "simulate", str(changed), "--tables", landed.tables, "--format", "json"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "no table holds door_2" in done.stderr
    rows = json.loads(done.stdout)
    assert {row["scenario"] for row in rows} == {"game"}
    total = len(table(landed.tables, "emotion_features"))
    assert f"{sum(row['windows'] for row in rows)} of {total} decisions would differ" in done.stderr
    wrong = CliRunner().invoke(app, [*given, "--days", "yesterday"])
    assert isinstance(wrong.exception, AffectstreamError)
