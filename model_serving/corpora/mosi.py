"""Reader of CMU-MOSI: opinions on films, a monologue per video, as vectors and as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from schemas.errors import AffectstreamError

MODALITIES = {"text": "text", "voice": "audio", "face": "video"}
"""Modalities by our names, and by those of the published file."""

_FOLDER = Path("fusion") / "mosi_poria17"


@dataclass(frozen=True, slots=True)
class Utterances:
    """Utterances of one split: a row for each.

    ``features`` are published vectors (n, width) by modality, ``texts`` transcripts in lower case,
    ``labels`` (n,) 1 where the opinion is positive, ``dialogue`` (n,) numbers the video, and
    ``position`` (n,) is the utterance's place in it.
    """

    features: Mapping[str, np.ndarray]
    texts: list[str]
    labels: np.ndarray
    dialogue: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Utterances":
        """Return these rows of all: positions."""
        return Utterances(
            {name: values[rows] for name, values in self.features.items()},
            [self.texts[row] for row in rows],
            self.labels[rows],
            self.dialogue[rows],
            self.position[rows],
        )

    def replace_text(self, states: np.ndarray) -> "Utterances":
        """Return the same utterances with ``states`` (n, width) for the features of text."""
        features = {**self.features, "text": states}
        return Utterances(features, self.texts, self.labels, self.dialogue, self.position)


def read_mosi(data: Path, split: Literal["train", "test"]) -> Utterances:
    """Read a split as published; its features of text and face saw the labels of train.

    They are activations of networks that were trained on them: of train videos that are held out,
    a logistic regression on the features of text alone gets 98 %, and of test videos 76 %.
    Raises AffectstreamError where an utterance has no transcript.
    """
    folder = data / _FOLDER
    with np.load(folder / "mosi_poria17.npz") as file:
        ids, labels = file[f"{split}_id"], file[f"{split}_y"].astype(np.int64)
        features = {ours: file[f"{split}_{theirs}"] for ours, theirs in MODALITIES.items()}
    columns = ["id", "text", "video", "label"]
    spoken = pd.read_csv(
        folder / "transcripts.csv", names=columns, index_col="id", dtype=str, keep_default_na=False
    )
    if len(absent := np.setdiff1d(ids, spoken.index)):
        message = f"{folder / 'transcripts.csv'} lacks {absent[0]}: fetch the corpus again"
        raise AffectstreamError(message)
    video, number = zip(*(name.rsplit("_", 1) for name in ids), strict=True)
    return Utterances(
        features,
        spoken.loc[ids, "text"].str.lower().tolist(),
        labels,
        np.unique(video, return_inverse=True)[1],
        np.array(number, np.int64),
    )
