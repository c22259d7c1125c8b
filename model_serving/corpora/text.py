"""Readers of the labelled text corpora: rows of text and what they show, by corpus and split."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from model_serving.corpora.groups import UNKNOWN
from model_serving.corpora.head import Head
from model_serving.corpora.held_out import held_out_cped
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

SMP_LABELS = ("angry", "fear", "happy", "neutral", "sad", "surprise")
SIX = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
FIVE = ("anger", "fear", "joy", "sadness", "surprise")


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts, and what is known of each.

    ``shown`` (n, 7) marks the expressions, ``own`` (n, k) the labels of the corpus' own head,
    ``circumplex`` (n, 2) gives valence and arousal in [-1, 1]; None where a corpus has none.
    ``groups`` (n,) names by attribute what group of people or dialogue a row is of.
    """

    texts: list[str]
    shown: np.ndarray | None = None
    own: np.ndarray | None = None
    circumplex: np.ndarray | None = None
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, kept: np.ndarray) -> "Rows":
        """Return these rows of all."""
        return Rows(
            [self.texts[i] for i in kept],
            None if self.shown is None else self.shown[kept],
            None if self.own is None else self.own[kept],
            None if self.circumplex is None else self.circumplex[kept],
            {name: values[kept] for name, values in self.groups.items()},
        )

    def single(self) -> tuple["Rows", np.ndarray]:
        """Return the rows that show exactly one expression, and its index."""
        if self.shown is None:
            return self.take(np.zeros(0, int)), np.zeros(0, int)
        kept = np.flatnonzero(self.shown.sum(axis=1) == 1)
        return self.take(kept), self.shown[kept].argmax(axis=1)


EMOCONTEXT_LABELS = ("happy", "sad", "angry", "others")
EMOCONTEXT_SHOWN = np.array(
    [
        [name == to_ekman(label) for name in EXPRESSIONS]
        if label != "others"
        else [name not in {"joy", "sadness", "anger"} for name in EXPRESSIONS]
        for label in EMOCONTEXT_LABELS
    ],
    np.float32,
)
"""(4, 7): which expressions each label of EmoContext stands for."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus: its licence, its own head if it asks in its own vocabulary, its splits."""

    name: str
    licence: str
    open: bool
    language: str
    splits: MappingProxyType[str, Callable[[Path], Rows]]
    head: Head | None = None


def _mark_names(names: pd.Series, labels: tuple[str, ...]) -> np.ndarray:
    """Return (n, labels) marks of one name a row; a row whose name is none of them has no mark."""
    return (names.to_numpy()[:, None] == np.array(labels)[None, :]).astype(np.float32)


def _rows(
    texts: pd.Series,
    shown: np.ndarray,
    own: np.ndarray | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
) -> Rows:
    """Keep the rows whose text is not empty and which show at least one expression."""
    kept = np.flatnonzero((texts.notna() & (texts.str.strip() != "")) & (shown.sum(axis=1) > 0))
    return Rows(texts.astype(str).tolist(), shown, own, None, groups or {}).take(kept)


def _goemotions(split: str) -> Callable[[Path], Rows]:
    group = {label: name for name, labels in GOEMOTIONS_EKMAN.items() for label in labels}

    def read(data: Path) -> Rows:
        folder = data / "text" / "goemotions"
        names = (folder / "labels.txt").read_text(encoding="utf-8").split()
        table = pd.read_csv(
            folder / f"{split}.tsv", sep="\t", names=["text", "labels", "id"], quoting=3, dtype=str
        )
        shown = np.zeros((len(table), len(EXPRESSIONS)), np.float32)
        for row, ids in enumerate(table["labels"].str.split(",")):
            shown[row, [EXPRESSIONS.index(group[names[int(i)]]) for i in ids]] = 1
        return _rows(table["text"], shown, own=shown)

    return read


def _brighter(file: str, labels: tuple[str, ...]) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        table = pd.read_csv(data / "text" / "brighter" / file)
        own = (table[list(labels)].to_numpy() > 0).astype(np.float32)
        shown = np.zeros((len(table), len(EXPRESSIONS)), np.float32)
        shown[:, [EXPRESSIONS.index(name) for name in labels]] = own
        shown[own.sum(axis=1) == 0, EXPRESSIONS.index("neutral")] = 1
        return _rows(table["text"], shown, own=own)

    return read


def _smp(part: str, split: str) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        path = data / "text" / "smp2020_ewect" / f"{part}_{split}.json"
        table = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
        names = table["label"].replace("neural", "neutral")
        shown = _mark_names(names.map(to_ekman), EXPRESSIONS)
        return _rows(table["content"], shown, own=_mark_names(names, SMP_LABELS))

    return read


def _nlpcc(data: Path) -> Rows:
    path = data / "text" / "nlpcc" / "Training_data_for_Emotion_Classification.csv"
    lines = pd.Series(path.read_text(encoding="utf-8").splitlines()).str.partition(",")
    return _rows(lines[2], _mark_names(lines[0].map(to_ekman), EXPRESSIONS))


def _meld(split: str) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        table = pd.read_csv(data / "text" / "meld" / f"{split}_sent_emo.csv")
        groups = {"speaker": table["Speaker"].astype(str).to_numpy()}
        shown = _mark_names(table["Emotion"].map(to_ekman), EXPRESSIONS)
        return _rows(table["Utterance"], shown, groups=groups)

    return read


def read_cped(data: Path) -> Rows:
    """Read all of CPED's public split, with dialogue, and speaker's sex and age as groups."""
    path = data / "text" / "cped" / "valid_split.csv"
    table = pd.read_csv(path, encoding="utf-8-sig", dtype=str)
    names = {"dialogue": "Dialogue_ID", "sex": "Gender", "age": "Age"}
    groups = {name: table[column].fillna(UNKNOWN).to_numpy() for name, column in names.items()}
    shown = _mark_names(table["Emotion"].map(to_ekman), EXPRESSIONS)
    return _rows(table["Utterance"], shown, groups=groups)


def _cped(*, held_out: bool) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        rows = read_cped(data)
        ours = [held_out_cped(dialogue) == held_out for dialogue in rows.groups["dialogue"]]
        return rows.take(np.flatnonzero(ours))

    return read


def _emocontext_test(data: Path) -> Rows:
    """Read the third turns, which are what is judged; ``others`` is any of the other four."""
    path = data / "text" / "emocontext" / "test.txt"
    table = pd.read_csv(path, sep="\t", quoting=3, dtype=str)
    own = _mark_names(table["label"], EMOCONTEXT_LABELS)
    return _rows(table["turn3"], own @ EMOCONTEXT_SHOWN, own=own)


def _emobank(split: str) -> Callable[[Path], Rows]:
    def read(data: Path) -> Rows:
        table = pd.read_csv(data / "text" / "emobank" / "emobank.csv")
        table = table[(table["split"] == split) & table["text"].notna()]
        circumplex = (table[["V", "A"]].to_numpy(np.float32) - 3) / 2  # 1 to 5 -> -1 to 1
        return Rows(table["text"].tolist(), circumplex=circumplex)

    return read


def _corpus(
    name: str,
    licence: str,
    language: str,
    head: Head | None = None,
    **splits: Callable[[Path], Rows],
) -> Corpus:
    is_open = "research" not in licence
    return Corpus(name, licence, is_open, language, MappingProxyType(splits), head)


CORPORA = (
    _corpus(
        "GoEmotions",
        "CC BY 4.0",
        "English",
        Head("goemotions", EXPRESSIONS, "multi", 0.5),
        train=_goemotions("train"),
        dev=_goemotions("dev"),
        test=_goemotions("test"),
    ),
    _corpus(
        "BRIGHTER eng",
        "CC BY 4.0",
        "English",
        Head("brighter_eng", FIVE, "multi"),
        train=_brighter("train/eng.csv", FIVE),
        dev=_brighter("dev/eng.csv", FIVE),
        test=_brighter("test/eng_intensity.csv", FIVE),
    ),
    _corpus(
        "BRIGHTER chn",
        "CC BY 4.0",
        "Chinese",
        Head("brighter_chn", SIX, "multi"),
        train=_brighter("train/chn.csv", SIX),
        dev=_brighter("dev/chn.csv", SIX),
        test=_brighter("test/chn.csv", SIX),
    ),
    _corpus(
        "CPED", "Apache-2.0", "Chinese", train=_cped(held_out=False), test=_cped(held_out=True)
    ),
    _corpus(
        "SMP2020 usual",
        "research",
        "Chinese",
        Head("smp_usual", SMP_LABELS, "single"),
        train=_smp("usual", "train"),
        dev=_smp("usual", "eval_labeled"),
        test=_smp("usual", "test_labeled"),
    ),
    _corpus(
        "SMP2020 virus",
        "research",
        "Chinese",
        Head("smp_virus", SMP_LABELS, "single"),
        train=_smp("virus", "train"),
        dev=_smp("virus", "eval_labeled"),
        test=_smp("virus", "test_labeled"),
    ),
    _corpus("NLPCC", "research", "Chinese", train=_nlpcc),
    _corpus(
        "MELD",
        "GPL, TV script: research",
        "English",
        train=_meld("train"),
        dev=_meld("dev"),
        test=_meld("test"),
    ),
    _corpus(
        "EmoBank",
        "CC BY-SA 4.0",
        "English",
        train=_emobank("train"),
        dev=_emobank("dev"),
        test=_emobank("test"),
    ),
)
"""The corpora of the text model, in their published splits.

BRIGHTER rows without an emotion count as neutral in the shared vocabulary; of CPED, which has one
public split, a fifth of the dialogues is held out.
"""


EMOCONTEXT = _corpus("EmoContext", "research", "English", test=_emocontext_test)
"""A corpus that no recipe learns from: what its test split says is how a text model generalises."""
