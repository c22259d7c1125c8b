"""The text evaluation judges a model by its outputs for a corpus, calibrated on its dev split."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from model_serving.corpora.head import Head
from model_serving.corpora.text import EMOCONTEXT_LABELS, SMP_LABELS, Corpus, Rows
from model_serving.training.evaluation import Evaluation
from model_serving.training.text import evaluate as text_evaluate
from model_serving.training.text.evaluate import Answers, evaluate
from pipelines.config import WEIGHTS
from schemas.vocabularies import EXPRESSIONS, to_ekman

FOLDER = WEIGHTS / "text-compact"
HEAD = Head("smp_usual", SMP_LABELS, "single")
NAMES = [f"{HEAD.name}:{label}" for label in SMP_LABELS]
TEXTS = [
    "今天真是太开心了，哈哈哈！", "终于放假啦，好高兴", "气死我了，什么破服务",
    "你给我滚，烦死了", "我好难过，想哭", "她走了，我心都碎了", "吓死我了，不敢一个人睡",
    "好可怕，我害怕", "哇，居然是真的？", "天啊，怎么会这样", "明天下午三点开会",
    "地铁二号线到人民广场", "I love this so much, thank you!", "this makes me furious",
    "I miss her every single day", "the meeting is at three",
]  # fmt: skip


def marks(places: np.ndarray, width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[places]


def rows(places: np.ndarray) -> Rows:
    """Rows whose own label is the one at this place, and that show what it stands for."""
    shown = [EXPRESSIONS.index(str(to_ekman(SMP_LABELS[place]))) for place in places]
    sides = np.where(np.arange(len(places)) % 2, "odd", "even")
    return Rows(TEXTS, marks(np.array(shown), 7), marks(places, 6), groups={"side": sides})


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Measures the shipped model on a corpus that has these labels."""

    def measure(places: np.ndarray) -> Evaluation:
        def split(data: Path) -> Rows:
            return rows(places)

        splits = MappingProxyType({"dev": split, "test": split})
        corpus = Corpus("SMP2020 usual", "research", False, "Chinese", splits, HEAD)
        own = marks(np.arange(len(TEXTS)) % 4, len(EMOCONTEXT_LABELS))
        other = MappingProxyType({"test": lambda data: Rows(TEXTS, own=own)})
        monkeypatch.setattr(text_evaluate, "CORPORA", (corpus,))
        unseen = Corpus("EmoContext", "research", False, "English", other)
        monkeypatch.setattr(text_evaluate, "EMOCONTEXT", unseen)
        return evaluate(FOLDER, tmp_path, "compact", tmp_path / "answers")

    return measure


def said(cache: Path) -> np.ndarray:
    answers = Answers(FOLDER, cache)
    logits = answers.head(answers.to(TEXTS), NAMES)
    assert logits is not None
    return logits.argmax(axis=1)


def test_a_model_is_right_where_the_labels_are_its_own(tmp_path: Path, judge) -> None:
    places = said(tmp_path)
    assert len(set(places)) >= 3, places
    keyed = {m.key: m.value for m in judge(places).measured if m.key}
    assert keyed == {"smp_usual_accuracy": 1.0, "smp_usual_macro_f1": 1.0}
    wrong = (places + 1) % len(SMP_LABELS)
    keyed = {m.key: m.value for m in judge(wrong).measured if m.key}
    assert keyed == {"smp_usual_accuracy": 0.0, "smp_usual_macro_f1": 0.0}


def test_the_mean_of_both_tiers_is_judged_beside_each(
    tmp_path: Path, judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("average" in m.split for m in judge(said(tmp_path)).measured)
    monkeypatch.setattr(text_evaluate, "other_tier", lambda folder, build: FOLDER)
    found = {(m.split, m.metric): m.value for m in judge(said(tmp_path)).measured}
    split = "SMP2020 usual (Chinese) test, shared vocabulary"
    alone, mean = found[split, "accuracy"], found[f"{split}, average with text-compact", "accuracy"]
    assert mean == alone


def test_what_was_never_seen_is_told_apart(tmp_path: Path, judge) -> None:
    measured = judge(said(tmp_path)).measured
    unseen = [m for m in measured if m.split.startswith("EmoContext")]
    assert {"accuracy", "micro_f1", "ece, corpus never seen"} <= {m.metric for m in unseen}
    assert not any(m.key for m in unseen)
    assert all(m.rows == len(TEXTS) for m in unseen if m.metric == "micro_f1")
    assert any(m.metric == "ece" for m in measured if m.split.startswith("SMP2020 usual"))
