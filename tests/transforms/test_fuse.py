import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from model_serving.fusion import load_fusion
from schemas.events import WINDOW
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS
from transforms.fuse import fuse_batch

START = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
JOY = EXPRESSIONS.index("joy")


def window(number: int, **shown: str) -> dict:
    """One WINDOW row; ``shown`` maps a modality to the expression that it speaks for."""
    scores, counts, confidence = np.zeros((4, 7)), [0] * 4, [0.0] * 4
    for modality, expression in shown.items():
        place = ("text", "voice", "face", "motion").index(modality)
        scores[place] = 0.05
        scores[place, EXPRESSIONS.index(expression)] = 0.7
        counts[place], confidence[place] = 2, 0.7
    return {
        "window_id": f"w{number}",
        "window_start": START,
        "window_end": START + dt.timedelta(seconds=5),
        "revision": sum(counts),
        "late": False,
        "counts": counts,
        "modality_scores": scores.reshape(-1).tolist(),
        "modality_confidence": confidence,
    }


def fused(*rows: dict) -> list[dict]:
    full = [{name: row.get(name) for name in WINDOW.names} for row in rows]
    out = fuse_batch(load_fusion(), pa.RecordBatch.from_pylist(full, schema=WINDOW))
    assert out.schema == EMOTION_FEATURES
    return out.to_pylist()


def test_modalities_that_agree_are_surer_than_one_alone() -> None:
    one, three = fused(window(0, face="joy"), window(1, text="joy", face="joy", motion="joy"))
    assert one["scores"].index(max(one["scores"])) == JOY
    assert (three["expression"], three["abstained"]) == ("joy", False)
    assert three["confidence"] > one["confidence"]
    assert three["valence"] > 0.5
    assert (three["n_text"], three["n_voice"], three["n_face"]) == (2, 0, 2)


def test_attention_is_on_what_is_there() -> None:
    for row in fused(window(0, voice="anger"), window(1, text="fear", motion="joy")):
        given = [row[f"n_{m}"] > 0 for m in ("text", "voice", "face", "motion")]
        assert sum(row["attention"]) == pytest.approx(1, abs=1e-5)
        assert [weight > 0 for weight in row["attention"]] == given
        assert sum(row["scores"]) == pytest.approx(1, abs=1e-5)


def test_an_abstained_row_names_no_expression() -> None:
    (row,) = fused(window(0, text="joy", voice="anger", face="sadness", motion="fear"))
    assert (row["expression"] is None) == row["abstained"]
    assert row["confidence"] == pytest.approx(max(row["scores"]))
