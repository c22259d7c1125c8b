"""Readers of MELD and CPED as conversations: what was said, by dialogue and in its order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from model_serving.corpora.held_out import held_out_cped
from schemas.vocabularies import EXPRESSIONS, to_ekman


@dataclass(frozen=True, slots=True)
class Conversations:
    """Utterances: texts, labels (n,) as places in EXPRESSIONS, dialogue (n,), position (n,).

    ``dialogue`` numbers the dialogues; ``position`` is the place of an utterance in its own.
    """

    texts: list[str]
    labels: np.ndarray
    dialogue: np.ndarray
    position: np.ndarray


def read_meld(data: Path, split: str) -> Conversations:
    """Read a published split of MELD, English."""
    table = pd.read_csv(data / "text" / "meld" / f"{split}_sent_emo.csv", keep_default_na=False)
    return _conversations(table, "Dialogue_ID", table["Utterance_ID"])


def read_cped_held_out(data: Path) -> Conversations:
    """Read the dialogues of CPED, Chinese, that no text model here learns from."""
    path = data / "text" / "cped" / "valid_split.csv"
    table = pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False)
    table = table[[held_out_cped(name) for name in table["Dialogue_ID"]]]
    return _conversations(table, "Dialogue_ID", table.groupby("Dialogue_ID").cumcount())


def _conversations(table: pd.DataFrame, dialogue: str, position: pd.Series) -> Conversations:
    """Return the utterances with a text and an expression; the others leave their places empty."""
    shown = table["Emotion"].map(to_ekman)
    clear = shown.isin(EXPRESSIONS) & (table["Utterance"].str.strip() != "")
    found = table[clear]
    return Conversations(
        found["Utterance"].tolist(),
        np.array([EXPRESSIONS.index(name) for name in shown[clear]]),
        np.unique(found[dialogue], return_inverse=True)[1],
        position[clear].to_numpy(np.int64),
    )
