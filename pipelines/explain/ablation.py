"""How far a window's estimate moves without each of its modalities, asked of the fusion model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from model_serving.fusion import Fusion
from pipelines.backfill.rebuild import OBSERVED, rebuild_windows
from schemas.arrow import vectors
from schemas.modalities import MODALITIES
from schemas.settings import Windows
from schemas.tables import OBSERVATIONS
from schemas.vocabularies import EXPRESSIONS
from transforms.fuse import fuse_batch


@dataclass(frozen=True, slots=True)
class Without:
    """A modality's part in an estimate: its events, its attention, and what is said without it.

    ``expression`` is the most probable one without it, None where the model would abstain.
    ``effect`` is how far the probability of the window's own expression falls, ``moved`` the total
    variation between both score vectors (0 to 1); valence and arousal say by how much they change.
    """

    modality: str
    events: int
    attention: float
    expression: str | None
    effect: float
    moved: float
    valence: float
    arousal: float


@dataclass(frozen=True, slots=True)
class Ablation:
    """The estimate made again from the observations, and what it rests on.

    ``difference`` is the largest one between its scores and those that landed. ``expression`` is
    the most probable one, whose ``probability`` is explained, also where the model abstained.
    """

    model_id: str
    difference: float
    expression: str
    probability: float
    without: list[Without]


def ablate(
    window: dict[str, Any], observations: list[dict[str, Any]], fusion: Fusion
) -> Ablation | str:
    """Return the ablation of a window, or a sentence that says why there is none."""
    made = _rebuild(window, observations)
    if isinstance(made, str):
        return made
    counts = vectors(made["counts"], len(MODALITIES))[0]
    present = np.flatnonzero(counts)
    batch = made.take(pa.array([0] * (1 + len(present))))
    left = np.tile(counts, (1 + len(present), 1))
    left[np.arange(len(present)) + 1, present] = 0
    place = batch.schema.get_field_index("counts")
    flat = pa.array(left.reshape(-1).astype(np.int32))
    column = pa.FixedSizeListArray.from_arrays(flat, len(MODALITIES))
    fused = fuse_batch(fusion, batch.set_column(place, batch.schema.field(place), column))
    scores = vectors(fused["scores"], len(EXPRESSIONS))
    top = int(scores[0].argmax())
    rows = fused.to_pylist()
    names = list(MODALITIES)
    without = [
        Without(
            modality=names[number],
            events=int(counts[number]),
            attention=float(rows[0]["attention"][number]),
            expression=row["expression"],
            effect=float(scores[0, top] - own[top]),
            moved=float(np.abs(scores[0] - own).sum() / 2),
            valence=row["valence"] - rows[0]["valence"],
            arousal=row["arousal"] - rows[0]["arousal"],
        )
        for number, own, row in zip(present.tolist(), scores[1:], rows[1:], strict=True)
    ]
    apart = float(np.abs(scores[0] - np.array(window["scores"])).max())
    return Ablation(fusion.model_id, apart, EXPRESSIONS[top], float(scores[0, top]), without)


def _rebuild(window: dict[str, Any], observations: list[dict[str, Any]]) -> pa.RecordBatch | str:
    """Return the WINDOW row of these observations, or why it cannot be had."""
    counted = [window[f"n_{name}"] for name in MODALITIES]
    if len(observations) < sum(counted):
        return (
            f"{len(observations)} of the window's {sum(counted)} observations can be read, so "
            "that its estimate cannot be made without a modality"
        )
    rows = [
        {name: row.get(name) for name in OBSERVED} | {"content": row.get("content") or 0}
        for row in observations
    ]
    schema = pa.schema([OBSERVATIONS.field(name) for name in OBSERVED])
    span = (window["window_end"] - window["window_start"]).total_seconds()
    made = rebuild_windows(pa.Table.from_pylist(rows, schema=schema), Windows(length_s=span))
    own = [row == window["window_id"] for row in made["window_id"].to_pylist()]
    found = made.filter(pa.array(own, pa.bool_()))
    if found.num_rows != 1 or found["counts"][0].as_py() != counted:
        return "the observations that stand are not those that the window was made of"
    return found
