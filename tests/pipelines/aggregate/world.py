"""Tables of people for questions about groups, and answers to them without noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.aggregate.bound import Sums, sum_by_group
from pipelines.aggregate.question import Question, parse_question
from pipelines.config import POLICIES
from schemas.tables import EMOTION_FEATURES
from tests.support import synthetic_tables
from tests.support.served import feature
from transforms.gating.policy import read_policy
from transforms.landing.prepare import prepare_tables

POLICY = read_policy(POLICIES / "gate.yaml")


def question(**given: Any) -> Question:
    """A question about one purpose, if it names none."""
    asked = {"by": (), "where": (), "since": None, "until": None, "measures": ()} | given
    if "purpose" not in asked["by"] and not any("purpose=" in each for each in asked["where"]):
        asked["where"] = (*asked["where"], "purpose=recommendation")
    return parse_question(policy=POLICY, **asked)


def people(number: int, windows: int = 1, name: str = "p", **more: Any) -> list[dict[str, Any]]:
    """Feature rows of so many subjects, whose names end with a dash: the helper adds zeros."""
    return [feature(f"{name}{n}-", w, **more) for n in range(number) for w in range(windows)]


def land(root: Path, *rows: list[dict[str, Any]]) -> Path:
    """Tables with these feature rows."""
    prepare_tables(root)
    synthetic_tables.land(root, "emotion_features", [row for each in rows for row in each])
    return root


def in_memory(*rows: list[dict[str, Any]]) -> pa.Table:
    """Feature rows as the query engine returns them."""
    names = ("subject_ref", "window_start", "scene_id", "region")
    names += ("expression", "valence", "arousal", "confidence")
    schema = pa.schema([EMOTION_FEATURES.field(name) for name in names])
    return pa.Table.from_pylist(
        [{name: row[name] for name in names} for each in rows for row in each], schema=schema
    )


def sums_of(
    windows: pa.Table, asked: Question, max_groups: int = 4, max_windows: int = 100
) -> Sums:
    return sum_by_group(
        windows,
        asked,
        max_groups=max_groups,
        max_windows=max_windows,
        rng=np.random.default_rng(7),
    )


def no_noise(values: np.ndarray, scale: float) -> np.ndarray:
    """Shows the exact sums, for tests of everything but the noise."""
    return values


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    return table.to_pylist()
