"""Readers of the labelled text corpora: rows of text and expression, by corpus and split."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from model_serving.corpora_splits import held_out_cped
from schemas.vocabularies import EXPRESSIONS, to_ekman

GOEMOTIONS_EKMAN = MappingProxyType(
    {
        "anger": ("anger", "annoyance", "disapproval"),
        "disgust": ("disgust",),
        "fear": ("fear", "nervousness"),
        "joy": (
            "joy", "amusement", "approval", "excitement", "gratitude", "love", "optimism",
            "relief", "pride", "admiration", "desire", "caring",
        ),
        "sadness": ("sadness", "disappointment", "embarrassment", "grief", "remorse"),
        "surprise": ("surprise", "realization", "confusion", "curiosity"),
        "neutral": ("neutral",),
    }
)  # fmt: skip
"""The grouping of Demszky et al., "GoEmotions" (2020), appendix."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts and the indices of their expressions."""

    texts: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus: its licence, and how to read each split that it has."""

    name: str
    licence: str
    splits: MappingProxyType[str, Callable[[Path], Rows]]


def joined(parts: list[Rows]) -> Rows:
    """Return these rows one after another."""
    texts = [text for part in parts for text in part.texts]
    return Rows(texts, np.concatenate([part.labels for part in parts]))


def _rows(texts: pd.Series, expressions: pd.Series) -> Rows:
    """Keep the rows whose text is not empty and whose label maps to an expression."""
    kept = texts.notna() & (texts.str.strip() != "") & expressions.notna()
    labels = expressions[kept].map(EXPRESSIONS.index).to_numpy(np.int64)
    return Rows(texts[kept].tolist(), labels)


def _goemotions(split: str) -> Callable[[Path], Rows]:
    group = {label: name for name, labels in GOEMOTIONS_EKMAN.items() for label in labels}

    def read(data: Path) -> Rows:
        folder = data / "text" / "goemotions"
        names = (folder / "labels.txt").read_text(encoding="utf-8").split()
        table = pd.read_csv(
            folder / f"{split}.tsv", sep="\t", names=["text", "labels", "id"], quoting=3, dtype=str
        )
        groups = table["labels"].map(lambda ids: {group[names[int(i)]] for i in ids.split(",")})
        return _rows(
            table["text"], groups.map(lambda found: found.pop() if len(found) == 1 else None)
        )

    return read


def _brighter(file: str) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        table = pd.read_csv(data / "text" / "brighter" / file)
        shown = table[[name for name in EXPRESSIONS if name in table]] > 0
        count = shown.sum(axis=1)
        single = shown.idxmax(axis=1).where(count == 1).mask(count == 0, "neutral")
        return _rows(table["text"], single)

    return read


def _smp(part: str, split: str) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        path = data / "text" / "smp2020_ewect" / f"{part}_{split}.json"
        table = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
        return _rows(table["content"], table["label"].map(to_ekman))

    return read


def _nlpcc(data: Path) -> Rows:
    path = data / "text" / "nlpcc" / "Training_data_for_Emotion_Classification.csv"
    lines = pd.Series(path.read_text(encoding="utf-8").splitlines()).str.partition(",")
    return _rows(lines[2], lines[0].map(to_ekman))


def _meld(split: str) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        table = pd.read_csv(data / "text" / "meld" / f"{split}_sent_emo.csv")
        return _rows(table["Utterance"], table["Emotion"].map(to_ekman))

    return read


def _cped(*, held_out: bool) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        path = data / "text" / "cped" / "valid_split.csv"
        table = pd.read_csv(path, encoding="utf-8-sig", dtype=str)
        table = table[table["Dialogue_ID"].map(held_out_cped) == held_out]
        return _rows(table["Utterance"], table["Emotion"].map(to_ekman))

    return read


def _corpus(name: str, licence: str, **splits: Callable[[Path], Rows]) -> Corpus:
    return Corpus(name, licence, MappingProxyType(splits))


CORPORA = (
    _corpus(
        "GoEmotions",
        "CC BY 4.0",
        train=_goemotions("train"),
        dev=_goemotions("dev"),
        test=_goemotions("test"),
    ),
    _corpus(
        "BRIGHTER eng",
        "CC BY 4.0",
        train=_brighter("train/eng.csv"),
        dev=_brighter("dev/eng.csv"),
        test=_brighter("test/eng_intensity.csv"),
    ),
    _corpus(
        "BRIGHTER chn",
        "CC BY 4.0",
        train=_brighter("train/chn.csv"),
        dev=_brighter("dev/chn.csv"),
        test=_brighter("test/chn.csv"),
    ),
    _corpus("CPED", "Apache-2.0", train=_cped(held_out=False), test=_cped(held_out=True)),
    _corpus(
        "SMP2020 usual",
        "research",
        train=_smp("usual", "train"),
        dev=_smp("usual", "eval_labeled"),
        test=_smp("usual", "test_labeled"),
    ),
    _corpus(
        "SMP2020 virus",
        "research",
        train=_smp("virus", "train"),
        dev=_smp("virus", "eval_labeled"),
        test=_smp("virus", "test_labeled"),
    ),
    _corpus("NLPCC", "research", train=_nlpcc),
    _corpus(
        "MELD",
        "GPL, TV script: research",
        train=_meld("train"),
        dev=_meld("dev"),
        test=_meld("test"),
    ),
)
"""The corpora of the text model. Rows of one expression only: rows of several are left out."""
