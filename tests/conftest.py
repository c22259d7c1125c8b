"""Fixtures of the whole suite; tests/ itself is importable (``from records import ...``)."""

import sys
from pathlib import Path

import pytest

from transforms.pseudonymise import write_keys

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "model_serving")]

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The labelled corpora, which are no part of the project."""
    if not CORPORA.is_dir():
        pytest.skip("the labelled corpora are not on this machine (../shared/data)")
    return CORPORA


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    write_keys(path)
    return path
