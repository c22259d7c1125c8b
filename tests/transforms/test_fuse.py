import datetime as dt

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from model_serving.fusion import SHIPPED, load_fusion
from schemas.events import WINDOW
from schemas.modalities import MODALITIES
from schemas.stages import MAIN, ON_TIME
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS, VALENCE_AROUSAL, VOCABULARY
from transforms.deciding.reviews import measure_disagreement
from transforms.fuse import NOT_FINITE, FuseModalities, fuse_batch

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


def batch(*rows: dict) -> pa.RecordBatch:
    full = [{name: row.get(name) for name in WINDOW.names} for row in rows]
    return pa.RecordBatch.from_pylist(full, schema=WINDOW)


def fused(*rows: dict) -> list[dict]:
    out = fuse_batch(load_fusion(), batch(*rows))
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
    unsure = window(0, text="joy") | {
        "modality_scores": [1 / 7] * 28,
        "modality_confidence": [1 / 7] * 4,
    }
    weak, strong = fused(unsure, window(1, text="joy", face="joy", motion="joy"))
    assert (weak["abstained"], weak["expression"]) == (True, None)
    assert (strong["abstained"], strong["expression"]) == (False, "joy")
    for row in (weak, strong):
        assert row["confidence"] == pytest.approx(max(row["scores"]))


def test_a_row_says_what_was_fused_and_by_what() -> None:
    shown = window(4, text="anger", voice="anger")
    shown |= {"counts": [3, 1, 0, 0], "activity": "duel", "game_result": "lost"}
    shown |= {"window_start": START - dt.timedelta(seconds=2), "subject_ref": "a" * 32}
    (row,) = fused(shown)
    assert [row[f"n_{modality}"] for modality in MODALITIES] == [3, 1, 0, 0]
    assert (row["vocabulary"], row["model_id"]) == (VOCABULARY, load_fusion().model_id)
    assert row["event_date"] == dt.date(2026, 8, 31), "the day on which the window starts"
    same = ("window_id", "window_start", "window_end", "subject_ref", "activity", "game_result")
    assert [row[name] for name in same] == [shown[name] for name in same]
    for place, name in enumerate(("valence", "arousal")):
        pairs = zip(row["scores"], EXPRESSIONS, strict=True)
        mean = sum(score * VALENCE_AROUSAL[label][place] for score, label in pairs)
        assert row[name] == pytest.approx(mean, abs=1e-6)


def test_decisions_are_made_on_panes_that_are_in_time() -> None:
    """All rows are features; those of late panes revise a row that was decided on already."""
    rows = [window(0, text="joy"), window(1, face="joy") | {"late": True}, window(2, voice="joy")]
    with beam.Pipeline(runner=FnApiRunner()) as p:
        windows = p | beam.Create([batch(*rows)]).with_output_types(pa.RecordBatch)
        out = windows | FuseModalities(model=SHIPPED)
        for tag, wanted in ((MAIN, fused(*rows)), (ON_TIME, fused(rows[0], rows[2]))):

            def check(found: list[pa.RecordBatch], wanted: list[dict] = wanted) -> None:
                names = EMOTION_FEATURES.names
                assert [row for part in found for row in part.select(names).to_pylist()] == wanted

            assert_that(out[tag], check, label=tag)


def test_what_decisions_are_made_on_says_how_far_modalities_disagree() -> None:
    rows = [window(0, text="joy"), window(1, text="joy", face="anger")]
    wanted = measure_disagreement(batch(*rows))
    with beam.Pipeline(runner=FnApiRunner()) as p:
        windows = p | beam.Create([batch(*rows)]).with_output_types(pa.RecordBatch)
        out = windows | FuseModalities(model=SHIPPED)

        def check(found: list[pa.RecordBatch]) -> None:
            (made,) = found
            assert made["disagreement"].to_pylist() == pytest.approx(wanted.tolist(), abs=1e-6)
            assert made["disagreement"][0].as_py() == 0 < made["disagreement"][1].as_py()

        assert_that(out[ON_TIME], check)


def any_windows(count: int) -> list[dict]:
    """Windows with any scores, of which every second has the modalities that chance gives it."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(count):
        scores = rng.dirichlet(np.full(7, 0.4), 4).astype(np.float32)
        counts = rng.integers(0, 3, 4) if number % 2 else rng.integers(1, 4, 4)
        rows.append(
            window(number)
            | {
                "counts": counts.tolist(),
                "modality_scores": scores.reshape(-1).tolist(),
                "modality_confidence": scores.max(axis=1).tolist(),
            }
        )
    return rows


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 13, 16, 17, 31, 64, 100])
def test_no_bit_of_a_row_depends_on_the_others_of_its_batch(size: int) -> None:
    """So that a run with other shards, whose batches are others, lands the same bytes."""
    rows = any_windows(200)
    whole = fuse_batch(load_fusion(), batch(*rows))
    parts = [
        fuse_batch(load_fusion(), batch(*rows[start : start + size]))
        for start in range(0, len(rows), size)
    ]
    assert pa.Table.from_batches(parts).combine_chunks().to_batches()[0].equals(whole)


@pytest.mark.parametrize("place", ["modality_scores", "modality_confidence"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_modality_that_is_not_finite_counts_as_missing(place: str, value: float) -> None:
    shown = window(0, text="joy", voice="anger")
    broken = shown | {place: [*shown[place]]}
    broken[place][-1 if place == "modality_confidence" else 7] = value  # motion, or voice
    if place == "modality_confidence":
        broken["counts"] = [2, 0, 0, 2]
    (row,), (sound,) = fused(broken), fused(window(0, text="joy"))
    names = ("scores", "expression", "confidence", "attention", "valence", "arousal", "abstained")
    assert [row[name] for name in names] == [sound[name] for name in names]
    assert row["n_text"] == 2
    assert sum(row[f"n_{modality}"] for modality in MODALITIES) == 4, "its events are counted"
    alone = shown | {"counts": [0, 2, 0, 0], "modality_scores": [value] * 28}
    (nothing,) = fused(alone)
    assert (nothing["abstained"], nothing["expression"]) == (True, None)
    assert nothing["scores"] == pytest.approx([1 / 7] * 7)
    assert measure_disagreement(batch(alone, broken)).tolist() == [0, 0]


def test_modalities_that_are_not_finite_are_counted() -> None:
    bad = window(0, text="joy", face="joy") | {"modality_scores": [float("nan")] * 28}
    p = beam.Pipeline(runner=FnApiRunner())
    given = beam.Create([batch(bad, window(1, text="joy"))]).with_output_types(pa.RecordBatch)
    _ = p | given | FuseModalities(model=SHIPPED)
    found = p.run().metrics().query(MetricsFilter().with_name(NOT_FINITE))["counters"]
    assert [counter.committed for counter in found] == [2]
