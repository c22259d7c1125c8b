"""The shipped text model reads plain English and Chinese, and its training reads the corpora."""

from pathlib import Path

import numpy as np
import pytest

from model_serving.card import read_card
from model_serving.corpora.text import CORPORA
from model_serving.handler import RecogniserHandler
from schemas.arrow import vectors
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS
from tests.support import model_folders as folders

SHIPPED = Path(__file__).resolve().parents[3] / "model_serving" / "weights" / "text-compact"

ENGLISH = {
    "I am so angry at you right now!": "anger",
    "Stop lying to me, this makes me furious.": "anger",
    "Ew, that is disgusting.": "disgust",
    "That smell is gross, I feel sick.": "disgust",
    "I'm really scared, something is behind that door.": "fear",
    "I am terrified of the dark.": "fear",
    "I'm so happy we won, this is great!": "joy",
    "Thank you so much, I love it!": "joy",
    "I feel so sad and lonely today.": "sadness",
    "I'm sorry for your loss, I cried all night.": "sadness",
    "Wow, I did not expect that at all!": "surprise",
    "What? Really? Oh my God!": "surprise",
    "The meeting starts at ten in room four.": "neutral",
    "He put the book on the table.": "neutral",
}
CHINESE = {
    "气死我了，你怎么能这样！": "anger",
    "真让人愤怒，太过分了。": "anger",
    "真恶心，看着就想吐。": "disgust",
    "这种人真让人讨厌，鄙视。": "disgust",
    "好害怕，外面好像有人。": "fear",
    "吓死我了，我不敢一个人走。": "fear",
    "今天好开心，我们赢了！": "joy",
    "谢谢你，我太喜欢了！": "joy",
    "我好难过，忍不住哭了。": "sadness",
    "心里好痛，好想哭。": "sadness",
    "天哪，居然是真的？太意外了！": "surprise",
    "没想到你竟然会来！": "surprise",
    "会议十点在四号房间开始。": "neutral",
    "请问去火车站怎么走？": "neutral",
}


def estimated(texts: list[str]) -> list[str]:
    handler = RecogniserHandler(modality="text", model=str(SHIPPED))
    (found,) = handler.run_inference([folders.events("text", texts)], handler.load_model())
    scores = vectors(found.observations["scores"], len(EXPRESSIONS))
    return [EXPRESSIONS[i] for i in scores.argmax(axis=1)]


@pytest.mark.parametrize("written", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_shipped_model_beats_chance_by_far(written: dict[str, str]) -> None:
    found = estimated(list(written))
    right = sum(a == b for a, b in zip(found, written.values(), strict=True))
    # 14 sentences, 7 expressions: chance is 2 right; 7 or more by chance has p = 0.002.
    assert right >= 7, list(zip(written, found, strict=True))


def test_shipped_folder_is_small_and_its_card_is_whole() -> None:
    card = read_card(SHIPPED / "card.json")
    assert (card.modality, card.licence) == ("text", "research")
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20e6
    assert set(card.sha256) == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert 0.05 < card.calibration.threshold < 0.9
    splits = " ".join(figure.split for figure in card.figures)
    assert all(name in splits for name in ("GoEmotions", "SMP2020 usual", "CPED", "BRIGHTER"))


def test_scores_of_noise_are_sound() -> None:
    odd = ["", " ", "!!!", "\u200b", "\U0001f642", "ßøл한국", "a" * 10_000, "\x00\x1f", "[NAME]"]
    handler = RecogniserHandler(modality="text", model=str(SHIPPED))
    (found,) = handler.run_inference([folders.events("text", odd)], handler.load_model())
    assert found.dead_letters.num_rows == 0
    scores = vectors(found.observations["scores"], len(EXPRESSIONS))
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_valence_of_a_text_that_cannot_be_judged_says_as_little_as_its_scores() -> None:
    texts = ["Сегодня лучший день в моей жизни, я так счастлива!", "I am so happy!"]
    handler = RecogniserHandler(modality="text", model=str(SHIPPED))
    (found,) = handler.run_inference([folders.events("text", texts)], handler.load_model())
    foreign, own = found.observations.select(["valence", "arousal", "abstained"]).to_pylist()
    assert foreign["abstained"]
    nothing = CIRCUMPLEX.mean(axis=0)
    assert [foreign["valence"], foreign["arousal"]] == pytest.approx(nothing, abs=1e-3)
    assert own["valence"] > nothing[0] + 0.2


@pytest.mark.corpora
def test_shipped_figures_are_measured_again(corpora: Path) -> None:
    """The card's accuracy on SMP2020 usual holds on 600 of its test rows through the handler."""
    (corpus,) = [corpus for corpus in CORPORA if corpus.name == "SMP2020 usual"]
    rows, labels = corpus.splits["test"](corpora).single()
    picked = np.random.default_rng(1).choice(len(rows), 600, replace=False)
    found = estimated([rows.texts[i] for i in picked])
    accuracy = np.mean([EXPRESSIONS.index(name) for name in found] == labels[picked])
    card = read_card(SHIPPED / "card.json")
    (stated,) = [
        figure.value
        for figure in card.figures
        if figure.split.startswith("SMP2020 usual")
        and figure.split.endswith("shared vocabulary")
        and figure.metric == "accuracy"
    ]
    assert accuracy == pytest.approx(stated, abs=0.06)  # three standard errors
