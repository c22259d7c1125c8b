"""Whether what lands of clips tells who spoke: fifteen of each voice, linked to fifteen others.

By the embeddings, which landed once, most of 24 speakers are; chance is one of them.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from infra.processes import ROOT
from model_serving.handler import RecogniserHandler
from pipelines.config import WEIGHTS
from schemas.arrow import vectors
from schemas.events import EMBEDDING_WIDTH, TIME, pseudonymous_schema
from schemas.vocabularies import EXPRESSIONS

CORPORA: Final = ROOT.parent / "shared" / "data"
CLIPS: Final = 15
_PURPOSE: Final = "research"
_SPLITS: Final = 20


def landed_of_speakers(
    data: Path, embeddings_for: tuple[str, ...] = ()
) -> dict[str, pa.RecordBatch]:
    """Return what lands of 30 clips of each RAVDESS actor, in an order drawn once."""
    audio = data / "audio"
    manifest = pd.read_csv(audio / "manifest.csv", dtype=str)
    clips = manifest[manifest["dataset"] == "ravdess"].sample(frac=1, random_state=7)
    handler = RecogniserHandler(
        modality="voice", model=str(WEIGHTS / "voice-compact"), embeddings_for=embeddings_for
    )
    model = handler.load_model().model
    found = {}
    for speaker, own in clips.groupby("speaker"):
        media = [(audio / path).read_bytes() for path in own["path"][: 2 * CLIPS]]
        found[str(speaker)] = handler.recognise(_events(media), model).observations
    return found


def _events(media: list[bytes]) -> pa.RecordBatch:
    schema = pseudonymous_schema("voice")
    count = len(media)
    columns = {
        "media": pa.array(media, pa.binary()),
        "event_time": pa.array([0] * count, pa.int64()).cast(TIME),
        "purpose": pa.repeat(_PURPOSE, count),
    }
    given = [columns.get(f.name, pa.nulls(count, f.type)) for f in schema]
    return pa.record_batch(given, schema=schema)


def linked_by_numbers(landed: np.ndarray) -> float:
    """Return how many speakers are linked by numbers (speakers, 30, n), on average of the splits.

    A discriminant analysis is fitted to half of each one's clips, and the other half vote.
    """
    return float(np.mean([_vote(half) for half in _splits(landed)]))


def _vote(landed: np.ndarray) -> int:
    first, second = landed[:, :CLIPS], landed[:, CLIPS:]
    means = first.mean(axis=1)
    within = (first - means[:, None]).reshape(-1, landed.shape[2])
    spread = within.T @ within / len(within)
    spread += (0.1 * np.trace(spread) / len(spread) + 1e-6) * np.eye(len(spread))
    apart = second[:, :, None] - means[None, None]  # (speakers, clips, candidates, n)
    chance = -np.einsum("scki,ij,sckj->sck", apart, np.linalg.inv(spread), apart).sum(axis=1)
    return int((chance.argmax(axis=1) == np.arange(len(landed))).sum())


def linked_by_rows(landed: np.ndarray) -> float:
    """Return how many are linked by how often each of the rows that differ came, on average."""
    rows = landed.round(4).reshape(-1, landed.shape[2])
    _, codes = np.unique(rows, axis=0, return_inverse=True)
    found = []
    for half in _splits(codes.reshape(len(landed), -1)):
        seen = np.stack([np.bincount(own[:CLIPS], minlength=codes.max() + 1) for own in half])
        shares = np.log((seen + 0.1) / (seen + 0.1).sum(axis=1, keepdims=True))
        votes = shares[:, half[:, CLIPS:]].sum(axis=2)  # (candidates, speakers)
        found.append((votes.argmax(axis=0) == np.arange(len(half))).sum())
    return float(np.mean(found))


def _splits(landed: np.ndarray) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [landed[:, rng.permutation(landed.shape[1])] for _ in range(_SPLITS)]


def scores_of(rows: pa.RecordBatch) -> np.ndarray:
    """Return all numbers that land of clips (n, 10)."""
    more = [rows[name].to_numpy() for name in ("confidence", "valence", "arousal")]
    return np.column_stack([vectors(rows["scores"], len(EXPRESSIONS)), *more])


def measure(folder: Path) -> dict[str, float]:
    """Link 24 speakers by what lands, and by the embeddings that land where they are asked for.

    Nothing is measured where the corpora are not there.
    """
    del folder
    if not CORPORA.is_dir():
        return {}
    landed = landed_of_speakers(CORPORA, (_PURPOSE,)).values()
    scores = np.stack([scores_of(rows) for rows in landed])
    embeddings = np.stack([vectors(rows["embedding"], EMBEDDING_WIDTH) for rows in landed])
    return {
        "voices": len(scores),
        "voices_linked_by_scores": max(linked_by_numbers(scores), linked_by_rows(scores)),
        "voices_linked_by_embeddings": linked_by_numbers(embeddings),
    }
