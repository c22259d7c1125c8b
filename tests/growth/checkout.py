"""A copy of the packages that a test adds to, and which of its files it touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "transforms", "schemas", "model_serving")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "weights")


class Checkout:
    """A copy of the four packages; the shipped weights are linked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.touched: set[str] = set()
        for name in PACKAGES:
            shutil.copytree(ROOT / name, folder / name, ignore=_LEFT_OUT)
        (folder / "model_serving" / "weights").symlink_to(ROOT / "model_serving" / "weights")

    def add(self, path: str, text: str) -> None:
        place = self.folder / path
        assert not place.exists()
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        self.touched.add(path)

    def edit(self, path: str, *changes: tuple[str, str]) -> None:
        """Put something in place of what stands exactly once in the file."""
        text = (self.folder / path).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{path} has {text.count(old)} times {old!r}"
            text = text.replace(old, new)
        (self.folder / path).write_text(text)
        self.touched.add(path)

    def run(self, script: str) -> Any:
        """Run a script with these packages, and return the JSON that it prints last.

        From a file: where pyspark is installed, which Great Expectations then loads, a process
        that was started with -c is taken for doctests and ended with status 0.
        """
        path = self.folder / "script.py"
        path.write_text(script)
        environment = os.environ | {"PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])
