"""three.js and three-vrm for the page: ``python -m examples.avatar.packages``.

npm takes the versions of ``package-lock.json`` and refuses what differs from the checksums in it.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from infra.processes import BUILD, ServerError, need, status_of

HERE = Path(__file__).resolve().parent
OUT = BUILD / "avatar"
MODULES = OUT / "node_modules"


def fetch() -> None:
    """Install the packages where they are missing, or others were locked.

    Raises:
        ServerError: there is no npm, or it could not install them.
    """
    locked = [HERE / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in locked)).hexdigest()
    stamp = OUT / "fetched"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    need("npm")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for path in locked:
        shutil.copy(path, OUT)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=OUT, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"npm could not install the page's packages:\n{done.stderr[-3000:]}"
        raise ServerError(message)
    stamp.write_text(digest)


if __name__ == "__main__":
    sys.exit(status_of(fetch))
