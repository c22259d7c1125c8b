"""What is installed: by a wheel that is built from the sdist, as Beam's workers build it."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipelines.run.submit import SETUP
from pipelines.tables.query import tables

PACKAGES = ("pipelines/", "transforms/", "schemas/", "model_serving/")
MODULE = "affectstream.py"


def run(*command: str | Path, folder: Path, path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    own = ["egg_info", "--egg-base", folder, "sdist", "--dist-dir", folder]
    run(sys.executable, "setup.py", "-q", *own, folder=SETUP.parent)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as source:
        source.extractall(folder, filter="data")
    (unpacked,) = folder.glob("affectstream-*/")
    build = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", folder]
    run(*build, folder=unpacked)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel alone; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip, "--target", folder, wheel, folder=folder)
    return folder


def test_the_wheel_has_all_code_and_data_and_neither_tests_nor_servers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info" not in name}
    tracked = run("git", "ls-files", folder=SETUP.parent).splitlines()
    assert found == {name for name in tracked if name.startswith(PACKAGES) or name == MODULE}


def test_the_demo_runs_in_an_empty_folder_far_from_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    where = "import affectstream, pipelines; print(affectstream.__file__, pipelines.__file__)"
    files = run(sys.executable, "-c", where, folder=tmp_path, path=installed).split()
    assert [Path(file).is_relative_to(installed) for file in files] == [True, True]
    script = installed / "bin" / "affectstream"
    shown = run(script, "demo", folder=tmp_path, path=installed)
    assert [path.name for path in tmp_path.iterdir()] == ["build"]
    counts = tables(tmp_path / "build" / "demo" / "tables")
    assert counts.pop("erasures") == 0
    assert min(counts.values()) > 0
    assert f"{counts['observations']:,}" in shown
    assert (tmp_path / "build" / "demo" / "report.html").stat().st_size > 100_000
