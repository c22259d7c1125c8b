"""``affectstream evaluate --only fusion`` writes a page, a card and flat figures."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from model_serving.card import read_card
from model_serving.training.fusion.mosi import PROXY, PUBLISHED, Row
from pipelines.config import WEIGHTS
from pipelines.models import fusion as fusion_module
from pipelines.models.evaluate import evaluate
from pipelines.models.fusion import methods_table, name_fallen
from schemas.errors import AffectstreamError
from tests.model_serving.training.fusion.made import write_conversations, write_mosi


def test_a_made_corpus_gives_page_card_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(WEIGHTS / "fusion", tmp_path / "weights" / "fusion")
    monkeypatch.setattr(fusion_module, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(fusion_module, "find_encoders", lambda _: [PROXY])
    monkeypatch.setattr(fusion_module, "SEEDS", 2)
    monkeypatch.setattr(fusion_module, "CONVERSATION_SEEDS", 1)
    data, docs = tmp_path / "data", tmp_path / "docs"
    write_mosi(data)
    write_conversations(data)
    said = Console(record=True, width=300)
    evaluate(data, tmp_path / "build", ["fusion"], docs, said)
    (page,) = docs.glob("*.md")
    text = page.read_text()
    assert f"| method | {PROXY} | {PUBLISHED} |" in text
    assert "| attention fusion, whole video |" in text
    assert "| attention fusion, whole video |" in said.export_text()
    assert text.count("| text + voice + face |") == 2
    assert "| CPED held out |" in text
    flat = json.loads((docs / "latest" / "fusion.json").read_text())
    assert flat["MELD test, attention fusion, whole dialogue"] > 60
    assert f"mosi, {PUBLISHED}, attention fusion, utterances before" in flat
    card = read_card(tmp_path / "weights" / "fusion" / "card.json")
    splits = {figure.split for figure in card.figures}
    assert "held-out windows, 4 modalities" in splits
    assert f"CMU-MOSI test, trained on its train, text by {PUBLISHED}" in splits
    count = len(card.figures)
    evaluate(data, tmp_path / "build", ["fusion"], docs, Console(quiet=True))
    again = read_card(tmp_path / "weights" / "fusion" / "card.json")
    assert len(again.figures) == count  # in place of those of before


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"mosi_poria17.* is not there"):
        evaluate(tmp_path, tmp_path, ["fusion"], tmp_path, Console(quiet=True))


def test_methods_stand_beside_each_other_by_what_gives_the_text() -> None:
    every = ("text", "voice", "face")
    rows = [
        Row(text, method, names, accuracies)
        for text, method, names, accuracies in (
            ("e5", "logistic regression", ("text",), (0.83,)),
            ("e5", "attention fusion, whole video", every, (0.84, 0.86)),
            ("e5", "attention fusion, whole video", ("text",), (0.1, 0.1)),
            ("published", "logistic regression", ("text",), (0.76,)),
            ("published", "attention fusion, whole video", every, (0.8, 0.8)),
        )
    ]
    lines = methods_table(rows).splitlines()
    assert "| logistic regression, text alone | 83.0 | 76.0 |" in lines
    assert "| attention fusion, whole video | 85.0 ± 1.0 | 80.0 ± 0.0 |" in lines
    assert "10.0" not in methods_table(rows)


def test_choices_that_fall_under_their_best_modality_are_named() -> None:
    whole = "attention fusion, whole video"
    rows = [
        Row("e5", "logistic regression", ("voice",), (0.55,)),
        Row("e5", "logistic regression", ("face",), (0.52,)),
        Row("e5", whole, ("voice", "face"), (0.545,)),
        Row("e5", whole, ("face",), (0.50,)),
    ]
    found = name_fallen(rows)
    assert found == "More than a point under the best modality alone: face (e5, whole video)."
    assert name_fallen(rows[:3]).endswith(": none.")
