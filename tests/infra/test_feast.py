"""The feature repository as a person uses it: by the command of Feast, in a folder."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.served import LENGTH, feature, land, subject
from transforms.landing.prepare import prepare_tables

ROOT = Path(__file__).resolve().parents[2]
FEAST = Path(sys.executable).with_name("feast")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy, so that its registry is our own."""
    return shutil.copytree(ROOT / "infra" / "feast", tmp_path / "infra" / "feast")


def feast(repository: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """Run the command on a machine whose clock shows another zone; return status and output."""
    root = repository.parents[1]
    environment = {
        "PYTHONPATH": str(ROOT),
        "TZ": "Pacific/Honolulu",
        "AFFECTSTREAM_TABLES": str(root / "our tables"),
        "AFFECTSTREAM_ONLINE": str(root / "online.sqlite"),
    }
    done = subprocess.run(
        [FEAST, *arguments],
        cwd=repository,
        env=os.environ | environment | more,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + (done.stderr if done.returncode else "")


def test_apply_materialise_and_get_online_features(repository: Path) -> None:
    tables = repository.parents[1] / "our tables"
    prepare_tables(tables)
    now = datetime.now(UTC).replace(microsecond=0)
    start = now - LENGTH
    times = {"window_start": start, "window_end": now, "event_date": start.date()}
    land(tables, "emotion_features", feature("anna", 0, **times))
    status, said = feast(repository, "apply")
    assert status == 0, said
    assert "Deploying infrastructure for expression" in said
    span = [(now + timedelta(minutes=m)).isoformat() for m in (-1, 1)]
    status, said = feast(repository, "materialize", *span)
    assert status == 0, said
    asked = ["-e", f"subject_ref={subject('anna')}", "-f", "expression:expression"]
    status, said = feast(repository, "get-online-features", *asked)
    assert json.loads(said) == {"subject_ref": [subject("anna")], "expression": ["joy"]}


def test_a_variable_that_is_not_set_and_a_store_for_files_are_refused(repository: Path) -> None:
    status, said = feast(repository, "apply", AFFECTSTREAM_TABLES="$AFFECTSTREAM_TABLES")
    assert status
    assert "set that environment variable" in said
    settings = repository / "feature_store.yaml"
    lines = settings.read_text().splitlines()
    lines = [line for line in lines if not line.startswith("  tables:")]
    ours = "pipelines.serve.feast.offline.DeltaOfflineStore"
    settings.write_text("\n".join(lines).replace(ours, "dask"))
    status, said = feast(repository, "apply")
    assert status
    assert "an erased person comes back" in said.splitlines()[-1]
