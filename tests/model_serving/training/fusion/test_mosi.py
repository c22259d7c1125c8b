"""The table of fusion on CMU-MOSI is made of a corpus in its shape."""

from pathlib import Path

import numpy as np
import pytest

from model_serving.corpora.mosi import read_mosi
from model_serving.training.fusion.methods import Alone
from model_serving.training.fusion.mosi import (
    PROXY,
    PUBLISHED,
    Row,
    compare,
    find_noise,
    find_worth,
)
from schemas.errors import AffectstreamError
from tests.model_serving.training.fusion.made import write_mosi

SINGLES = [("text",), ("voice",), ("face",)]
ALL = ("text", "voice", "face")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    data = tmp_path_factory.mktemp("data")
    write_mosi(data)
    said: list[str] = []
    found = compare(data, data / "build", ["text-nowhere", PROXY], said.append, seeds=2)
    assert any(line.startswith("text-nowhere is left out: no model text-nowhere") for line in said)
    return found


def test_every_method_and_every_choice_of_modalities_has_a_row(rows: list[Row]) -> None:
    for text in (PROXY, PUBLISHED):
        found = [(row.method, row.modalities) for row in rows if row.text == text]
        assert len(found) == len(set(found)) == 3 + 4 + 3 * 7
        assert [names for method, names in found if method == "logistic regression"] == SINGLES
        for method in ("early fusion", "late fusion", "averaging", "tensor fusion"):
            assert (method, ALL) in found
    seeds = {row.method.partition(" fusion")[0]: len(row.accuracies) for row in rows}
    assert seeds["attention"] == seeds["tensor"] == 2
    assert seeds["early"] == 1


def test_what_text_tells_is_found(rows: list[Row]) -> None:
    """Text tells the label in nearly all of the made utterances, voice and face never."""
    at = {(row.text, row.method, row.modalities): row.mean for row in rows}
    assert at[PUBLISHED, "logistic regression", ("text",)] > 0.9
    assert at[PROXY, "logistic regression", ("text",)] > 0.9
    assert at[PUBLISHED, "early fusion", ALL] > 0.85
    assert at[PROXY, "attention fusion, no context", ("text",)] > 0.9
    assert at[PUBLISHED, "logistic regression", ("voice",)] < 0.75


def test_mean_and_spread_are_over_the_seeds() -> None:
    row = Row(PUBLISHED, "tensor fusion", ALL, (0.7, 0.8))
    assert (row.mean, row.spread) == pytest.approx((0.75, 0.05))


def test_noise_brings_scores_to_the_accuracy_that_is_asked_for() -> None:
    labels = np.arange(2000) % 2
    odds = np.where(labels == 1, 3.0, -3.0)
    logs = np.stack([-odds / 2, odds / 2], axis=1)
    deviation = find_noise(logs, labels, 0.76)
    assert deviation == pytest.approx(3 / 0.706, abs=0.3)  # .706 is the normal's quantile of .76
    assert find_noise(logs, labels, 1.0) < 1


def _alone(**right: float) -> Alone:
    """Return what modalities say of 100 rows with label 1, right in these shares of them."""
    held_out = {}
    for name, share in right.items():
        chance = np.where(np.arange(100) < 100 * share, 0.8, 0.2)
        held_out[name] = np.log(np.stack([1 - chance, chance], axis=1))
    return Alone(held_out, {}, {})


def test_worth_is_how_far_a_modality_beats_a_coin_beside_the_best() -> None:
    labels = np.ones(100, np.int64)
    alone = _alone(text=0.9, voice=0.6, face=0.95)
    text, voice, face = find_worth(alone, labels, None)
    assert (text, voice) == pytest.approx((1.0, 0.25))
    assert face < 0.01  # its vectors saw the labels: what it seems to tell counts for nothing
    known = find_worth(alone, labels, 0.7)  # nor does what text seems to tell, where another says
    assert known[1] == pytest.approx(0.5)


@pytest.mark.parametrize("text", [0.8, 0.5])
def test_what_does_not_beat_a_coin_is_worth_little_but_more_than_what_cannot_be_measured(
    text: float,
) -> None:
    worth = find_worth(_alone(text=text, voice=0.4, face=0.9), np.ones(100, np.int64), None)
    assert 1 >= worth[0] >= worth[1] > worth[2] > 0


def test_utterances_are_read_in_their_places_and_need_a_transcript(tmp_path: Path) -> None:
    write_mosi(tmp_path, videos=2, utterances=11)
    found = read_mosi(tmp_path, "train")
    assert found.position.tolist() == [*range(1, 12)] * 2
    assert found.dialogue.tolist() == [0] * 11 + [1] * 11
    assert found.texts[0] == found.texts[0].lower()
    path = tmp_path / "fusion" / "mosi_poria17" / "transcripts.csv"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(AffectstreamError, match="lacks v_0_1: fetch the corpus again"):
        read_mosi(tmp_path, "train")
