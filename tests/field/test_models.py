"""Model folders as people have them: ``models.yaml``."""

import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from model_serving.handler import RecogniserHandler
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from pipelines.models.add import add_model
from schemas.errors import AffectstreamError
from tests.field.foreign_models import make_folder
from tests.field.replayed import Case, Outcome, assert_expected, read_cases
from tests.support import model_folders as folders

CASES = read_cases("models")
ROWS: dict[str, list[Any]] = {
    "text": ["yes", "no, i don't think so", "yes", "the end of a text that has more tokens"],
    "voice": [folders.tone(1.0), folders.tone(0.5), folders.tone(1.0)],
    "face": [folders.image(10), folders.image(90)],
}
_APART = ("refusal", "missing", "labels", "pads", "lacks")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_model_folder_as_people_have_it(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    modality = make_folder(folder, case.send)
    said = io.StringIO()
    lacks = case.expect.get("lacks")
    refusal = case.expect.get("refusal")
    if refusal is not None and not (lacks and find_spec(lacks)):
        with pytest.raises(AffectstreamError) as error:
            _load(folder, modality, case, said)
        assert refusal in str(error.value)
    else:
        _check_answers(_load(folder, modality, case, said), modality, folder, case)
    for text in case.expect.get("missing", []):
        assert f"missing: {text}" in said.getvalue()


def _load(folder: Path, modality: str, case: Case, said: io.StringIO) -> NetRecogniser:
    if "card" not in case.send:
        add_model(folder, None, None, None, Console(file=said, width=1000))
    found = load_recogniser(modality, str(folder), None, "cpu")
    assert isinstance(found, NetRecogniser)
    return found


def _check_answers(found: NetRecogniser, modality: str, folder: Path, case: Case) -> None:
    """Compare what lands of each row, and its scores alone with those among others."""
    if "pads" in case.expect:
        assert found.front_end.pads is case.expect["pads"]
    if "labels" in case.expect:
        assert json.loads((folder / "card.json").read_text())["labels"] == case.expect["labels"]
    payloads = ROWS[modality]
    together = found.estimate(folders.events(modality, payloads))
    assert together.rows.tolist() == list(range(len(payloads)))
    for row, payload in enumerate(payloads):
        alone = found.estimate(folders.events(modality, [payload]))
        assert np.abs(alone.scores[0] - together.scores[row]).max() < 1e-5
    handler = RecogniserHandler(modality=modality, model=str(folder))
    recognised = handler.recognise(folders.events(modality, payloads), found)
    wanted = {name: value for name, value in case.expect.items() if name not in _APART}
    if case.expect.get("expression"):
        assert "quality" not in wanted
    for landed in recognised.observations.to_pylist():
        assert_expected(Case(case.name, case.source, case.kind, {}, wanted), Outcome(landed))
