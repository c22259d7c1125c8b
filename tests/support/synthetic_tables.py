"""Small Delta tables with a known truth, as a replay would leave them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from pipelines.show.accuracy import GroundTruth
from schemas.events import TIME
from schemas.ids import stable_ids
from schemas.modalities import MODALITIES
from schemas.tables import TABLES
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS, VOCABULARY
from tests.support.records import IDS, KEYS, write_key_file

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
LENGTH = timedelta(seconds=5)
SOURCE = "/world/test"
RECORD = {"content": 11}


def land(root: Path, name: str, rows: list[dict[str, object]]) -> None:
    """Append rows to a table; columns that a row lacks are null."""
    schema = TABLES[name].schema
    whole = [{column: row.get(column) for column in schema.names} for row in rows]
    table = pa.Table.from_pylist(whole, schema=schema)
    write_deltalake(root / name, table, partition_by=["event_date"], mode="append")


def scores_of(expression: str, confidence: float) -> list[float]:
    """A score vector whose top is this expression with this confidence."""
    rest = (1 - confidence) / (len(EXPRESSIONS) - 1)
    return [confidence if name == expression else rest for name in EXPRESSIONS]


def ref(text: str) -> str:
    return stable_ids(pa.array([text]))[0].as_py()


def event_id(raw_id: str, subject: str, at: datetime, kind: str) -> str:
    raw = (pa.array([value]) for value in (subject, SOURCE, raw_id))
    made, _ = IDS.of(kind, *raw, pa.array([at], TIME), pa.nulls(1, pa.string()))
    return made[0].as_py()


def expression_columns(expression: str, confidence: float, threshold: float) -> dict[str, object]:
    scores = scores_of(expression, confidence)
    valence, arousal = (np.array(scores) @ CIRCUMPLEX).tolist()
    abstained = confidence < threshold
    return {
        "vocabulary": VOCABULARY,
        "scores": scores,
        "expression": None if abstained else expression,
        "confidence": confidence,
        "abstained": abstained,
        "valence": valence,
        "arousal": arousal,
        "model_id": "test@1",
    }


def context(subject: str, session: str = "s1") -> dict[str, object]:
    return {
        "subject_ref": ref(subject),
        "session_ref": ref(f"{subject}/{session}"),
        "scene_id": "scene-1",
        "scenario": "game",
        "purpose": "entertainment",
        "region": "EU",
        "age_band": "adult",
    }


def observation(
    raw_id: str, subject: str, at: datetime, modality: str, expression: str, confidence: float
) -> dict[str, object]:
    return {
        "event_id": event_id(raw_id, subject, at, modality),
        **context(subject),
        "event_time": at,
        "modality": modality,
        **expression_columns(expression, confidence, 0.4),
        "embedding": [0.0] * 32,
        **RECORD,
        "event_date": at.date(),
    }


def feature(
    subject: str, start: datetime, expression: str, confidence: float, counts: dict[str, int]
) -> dict[str, object]:
    present = np.array([counts.get(m, 0) > 0 for m in MODALITIES], float)
    return {
        "window_id": ref(f"{subject} {start}"),
        **context(subject),
        "window_start": start,
        "window_end": start + LENGTH,
        "revision": sum(counts.values()),
        **{f"n_{m}": counts.get(m, 0) for m in MODALITIES},
        **expression_columns(expression, confidence, 0.4),
        "attention": (present / present.sum()).tolist(),
        "event_date": start.date(),
    }


def decision(row: dict[str, object], action: str, reason: str) -> dict[str, object]:
    return {
        "decision_id": ref(f"{row['window_id']} p"),
        **{name: row[name] for name in (*context("x"), "window_id", "window_end")},
        "expression": row["expression"],
        "confidence": row["confidence"],
        "valence_shift": 0.1,
        "arousal_shift": -0.1,
        "action": action,
        "reason": reason,
        "intensity": 0.5,
        "avatar_weights": [0.0] * 52,
        "policy_version": "game@1",
        "expires_at": row["window_end"] + LENGTH,
        "event_date": row["event_date"],
    }


def dead_letter(offset: int, code: str, stage: str = "decode") -> dict[str, object]:
    return {
        "dead_letter_id": ref(f"dead {offset}"),
        "stage": stage,
        "code": code,
        "topic": "session.text",
        "partition": 0,
        "offset": offset,
        "detail": "value is not JSON",
        "event_date": START.date(),
    }


def refusal(raw_id: str, subject: str, code: str, article: str) -> dict[str, object]:
    return {
        "event_id": event_id(raw_id, subject, START, "voice"),
        **context(subject),
        "event_time": START,
        "modality": "voice",
        "code": code,
        "article": article,
        "policy_version": "policy@1",
        **RECORD,
        "event_date": START.date(),
    }


def run(stages: dict[str, dict[str, float]], minutes: int = 0) -> dict[str, object]:
    return {
        "run_id": ref(f"run {minutes}"),
        "log": "log",
        "config": "config",
        "started_at": START + timedelta(minutes=minutes),
        "seconds": sum(stage["seconds"] for stage in stages.values()),
        "records": 1200,
        "stages": json.dumps(stages),
        "event_date": START.date(),
    }


def truth_row(
    raw_id: str,
    subject: str,
    at: datetime,
    kind: str,
    expression: str | None,
    corpus: str = "c",
    stand_in: str | None = None,
) -> dict[str, object]:
    return {
        "source": SOURCE,
        "id": raw_id,
        "subject": subject,
        "session_id": "s1",
        "region": "EU",
        "event_time": at,
        "kind": kind,
        "expression": expression,
        "lang": "en" if kind == "text" else None,
        "corpus": corpus,
        "stand_in": stand_in,
    }


TRUTH_SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("source", "id", "subject", "session_id", "region")],
        ("event_time", pa.timestamp("us", tz="UTC")),
        *[(name, pa.string()) for name in ("kind", "expression", "lang", "corpus", "stand_in")],
    ]
)


def write_truth(path: Path, rows: list[dict[str, object]]) -> GroundTruth:
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA), path)
    return ground_truth(path)


def ground_truth(path: Path) -> GroundTruth:
    """The truth at this path, and the keys that the ids of these tables are made with."""
    return GroundTruth(path, write_key_file(path.with_name("keys.yaml"), *KEYS.periods))


STAGES = {
    "decode": {"rows_in": 1200, "rows_out": 1190, "seconds": 0.21},
    "validate": {"rows_in": 1190, "rows_out": 1185, "seconds": 0.12},
    "pseudonymise": {"rows_in": 1185, "rows_out": 1185, "seconds": 0.05},
    "gate": {"rows_in": 1185, "rows_out": 1100, "seconds": 0.08},
    "scrub": {"rows_in": 400, "rows_out": 400, "seconds": 0.19},
    "recognise_text": {"rows_in": 400, "rows_out": 400, "seconds": 4.1, "forward_seconds": 3.7},
    "recognise_voice": {"rows_in": 300, "rows_out": 299, "seconds": 9.6, "forward_seconds": 8.8},
    "recognise_face": {"rows_in": 300, "rows_out": 300, "seconds": 5.2, "forward_seconds": 4.1},
    "recognise_motion": {"rows_in": 100, "rows_out": 100, "seconds": 0.1, "forward_seconds": 0.03},
    "window": {"rows_in": 1099, "rows_out": 360, "seconds": 0.3},
    "fuse": {"rows_in": 360, "rows_out": 360, "seconds": 0.15},
    "decide": {"rows_in": 360, "rows_out": 360, "seconds": 0.2},
    "land": {"rows_in": 2200, "rows_out": 2200, "seconds": 0.9},
}


def write_mixed_session(root: Path, truth: Path) -> GroundTruth:
    """Write one session in which a subject shows joy for one purpose and anger for another.

    The age band is null for one of them: it is no string, and joins no row to another.
    """
    others = [{}, {"purpose": "research", "age_band": None}, {"scenario": "social"}]
    seen, features, true = [], [], []
    for number, (own, shown) in enumerate(zip(others, ("joy", "anger", "fear"), strict=True)):
        for index in range(number, 4):
            start, raw = START + LENGTH * index, f"{shown}-{index}"
            row = observation(raw, "p", start + timedelta(seconds=1), "text", shown, 0.9)
            seen.append(row | own)
            made = feature("p", start, shown, 0.9, {"text": 1}) | own
            features.append(made | {"window_id": ref(f"{shown} {start}")})
            true.append(truth_row(raw, "p", start, "text", shown))
    land(root, "observations", seen)
    land(root, "emotion_features", features)
    land(root, "expression_decisions", [decision(row, "observe", "default") for row in features])
    return write_truth(truth, true)


def write_session(root: Path, truth: Path, *, subjects: int = 10, windows: int = 36) -> GroundTruth:
    """Write a whole small world: noisy recognisers, fused windows, decisions, a few bad records."""
    rng = np.random.default_rng(7)
    skill = {"text": 0.6, "voice": 0.6, "face": 0.7, "motion": 0.85}
    seen, features, decisions, true = [], [], [], []
    for who in range(subjects):
        subject, mood = f"player-{who}", rng.integers(7)
        for index in range(windows):
            start = START + LENGTH * index
            mood = rng.integers(7) if rng.random() < 0.2 else mood
            shown = EXPRESSIONS[mood]
            counts = {m: 1 for m in MODALITIES if rng.random() < 0.5}
            hits = 0
            for modality in counts:
                raw, at = f"{subject}-{index}-{modality}", start + timedelta(seconds=2)
                right = rng.random() < skill[modality]
                guess = shown if right else EXPRESSIONS[rng.integers(7)]
                hits += right
                sure = float(np.clip(rng.normal(0.7 if right else 0.45, 0.15), 0.2, 0.98))
                seen.append(observation(raw, subject, at, modality, guess, sure))
                true.append(truth_row(raw, subject, at, modality, shown, f"{modality}-set"))
            if not counts:
                continue
            guess = shown if hits * 2 > len(counts) else EXPRESSIONS[rng.integers(7)]
            sure = float(np.clip(rng.normal(0.4 + 0.4 * hits / len(counts), 0.12), 0.2, 0.98))
            features.append(feature(subject, start, guess, sure, counts))
            action = "mirror" if sure > 0.6 else "hold"
            decisions.append(decision(features[-1], action, "confident" if sure > 0.6 else "low"))
    land(root, "observations", seen)
    land(root, "emotion_features", features)
    land(root, "expression_decisions", decisions)
    bad = ["bad_json", "bad_json", "audio_undecodable", "unknown_topic"]
    land(root, "dead_letters", [dead_letter(i, code) for i, code in enumerate(bad)])
    land(
        root,
        "refusals",
        [
            refusal("r1", "player-0", "consent_withdrawn", "GDPR 7(3)"),
            refusal("r2", "player-0", "consent_withdrawn", "GDPR 7(3)"),
            refusal("r3", "player-1", "purpose_prohibited", "EU AI Act 5(1)(f)"),
        ],
    )
    land(root, "runs", [run(STAGES)])
    return write_truth(truth, true)
