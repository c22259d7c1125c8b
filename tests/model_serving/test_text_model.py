"""The shipped text model reads plain English and Chinese, and its training reads the corpora."""

from pathlib import Path

import model_folders as folders
import numpy as np
import pytest

from model_serving.calibration import softmax
from model_serving.card import read_card
from model_serving.corpora_splits import held_out_cped
from model_serving.handler import RecogniserHandler
from model_serving.training.common import figures, logits_of, scores_of
from model_serving.training.text import (
    build_model,
    by_length,
    collate,
    encode,
    logits_in_order,
    without,
)
from model_serving.training.text_corpora import CORPORA, GOEMOTIONS_EKMAN, Rows, joined
from model_serving.training.text_start import Start, prune
from schemas.arrow import vectors
from schemas.vocabularies import EXPRESSIONS

SHIPPED = Path(__file__).resolve().parents[2] / "model_serving" / "weights" / "text-compact"

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
    assert set(card.sha256) == {"model.safetensors"}
    assert 0.05 < card.calibration.threshold < 0.9
    splits = {figure.split for figure in card.figures}
    assert {"GoEmotions test", "SMP2020 usual test", "CPED held-out dialogues"} <= splits


def test_scores_of_noise_are_sound() -> None:
    odd = ["", " ", "!!!", "\u200b", "\U0001f642", "ßøл한국", "a" * 10_000, "\x00\x1f", "[NAME]"]
    handler = RecogniserHandler(modality="text", model=str(SHIPPED))
    (found,) = handler.run_inference([folders.events("text", odd)], handler.load_model())
    assert found.dead_letters.num_rows == 0
    scores = vectors(found.observations["scores"], len(EXPRESSIONS))
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.corpora
def test_shipped_figures_are_measured_again(corpora: Path) -> None:
    """The card's accuracy on SMP2020 usual holds on 600 of its test rows through the handler."""
    (corpus,) = [corpus for corpus in CORPORA if corpus.name == "SMP2020 usual"]
    rows = corpus.splits["test"](corpora)
    picked = np.random.default_rng(1).choice(len(rows), 600, replace=False)
    found = estimated([rows.texts[i] for i in picked])
    accuracy = np.mean([EXPRESSIONS.index(name) for name in found] == rows.labels[picked])
    card = read_card(SHIPPED / "card.json")
    (stated,) = [
        figure.value
        for figure in card.figures
        if (figure.split, figure.metric) == ("SMP2020 usual test", "accuracy")
    ]
    assert accuracy == pytest.approx(stated, abs=0.06)  # three standard errors


@pytest.mark.corpora
def test_no_training_row_stands_in_a_dev_or_test_split(corpora: Path) -> None:
    known = {corpus.name: corpus.splits["train"](corpora) for corpus in CORPORA}
    unseen = [c.splits[s](corpora) for c in CORPORA for s in ("dev", "test") if s in c.splits]
    kept = joined(list(without(known, unseen).values()))
    long = {text.strip() for rows in unseen for text in rows.texts if len(text.strip()) > 10}
    assert not long & {text.strip() for text in kept.texts}
    assert len(kept) > 0.98 * sum(len(rows) for rows in known.values())
    assert np.bincount(kept.labels, minlength=7).min() > 1000


def test_a_fifth_of_cped_is_held_out() -> None:
    held = [held_out_cped(f"32_{number:03d}") for number in range(1000)]
    assert 0.15 < np.mean(held) < 0.25
    # Fixed for ever: a model is tested on what an older one was not trained on.
    assert [number for number in range(20) if held[number]] == [6, 7, 12, 15, 17]


def test_goemotions_grouping_is_complete() -> None:
    labels = [label for group in GOEMOTIONS_EKMAN.values() for label in group]
    assert len(labels) == len(set(labels)) == 28
    assert set(GOEMOTIONS_EKMAN) == set(EXPRESSIONS)


def test_readers_keep_single_expressions_only(tmp_path: Path) -> None:
    folder = tmp_path / "text" / "goemotions"
    folder.mkdir(parents=True)
    (folder / "labels.txt").write_text("joy\nanger\nlove\nneutral\n")
    lines = ['He said "hi\t0,2\ta', "Mixed\t0,1\tb", "Plain\t3\tc", " \t1\td"]
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    rows = CORPORA[0].splits["train"](tmp_path)
    assert rows.texts == ['He said "hi', "Plain"]
    assert [EXPRESSIONS[i] for i in rows.labels] == ["joy", "neutral"]


def small_start() -> Start:
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [("▁good", -4.0), ("▁bad", -4.0), ("▁", -3.0), ("不", -6.0), ("好", -6.0), ("b", -7.0)]
    pieces = [*special, *words, ("▁never", -9.0)]
    table = np.random.default_rng(0).normal(size=(len(pieces), 12)).astype(np.float32)
    return Start(pieces, table)


def test_pruning_keeps_what_the_texts_need_and_its_embeddings() -> None:
    start = small_start()
    tokenizer, table = prune(start, ["Good bad", "good 好好", "b b"], size=9)
    kept = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert "▁never" not in kept
    assert "不" not in kept
    assert kept[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    at = [piece for piece, _ in start.pieces].index("▁good")
    assert (table[kept.index("▁good")] == start.embeddings[at]).all()
    ids = tokenizer("GOOD  好")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁good", "▁", "好", "</s>"]


def test_batches_hold_every_row_once_and_logits_keep_their_order() -> None:
    tokenizer, table = prune(small_start(), ["good bad 好 不 b b 好 不"], size=11)
    texts = ["good " * (1 + i % 9) + "bad " * (i % 4) for i in range(300)]
    rows = encode(tokenizer, Rows(texts, np.arange(300) % 7))
    batches = list(by_length(rows.lengths, np.random.default_rng(0)))
    seen = np.concatenate(batches)
    assert len(seen) == len(set(seen.tolist())) == 256
    spread = [np.ptp(rows.lengths[batch]) for batch in batches]
    assert np.mean(spread) < np.ptp(rows.lengths) / 2
    net = build_model(table)
    alone = [logits_of(net, [collate(rows, np.array([i]))])[0] for i in (0, 5, 299)]
    together = logits_in_order(net, rows)
    assert together[[0, 5, 299]] == pytest.approx(np.array(alone), abs=1e-4)


def test_figures_by_hand() -> None:
    logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.8, 0.2]]))
    logits = np.hstack([logits, np.full((4, 5), -50.0)])
    found = scores_of(logits, np.array([0, 0, 1, 1]))
    assert found["accuracy"] == 0.75
    assert found["uar"] == 0.75
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["ece"] == pytest.approx((abs(2.4 - 2) + abs(0.6 - 1)) / 4, abs=1e-6)
    assert softmax(logits)[0, 0] == pytest.approx(0.8)
    (figure,) = figures("some test", found, ("uar",))
    assert (figure.split, figure.metric, figure.value) == ("some test", "uar", 0.75)
