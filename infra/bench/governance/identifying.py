"""Whether what lands tells which of 10,000 sentences was said, by whoever has the weights.

The attack of docs/security.md: the scores of every candidate are computed and looked up among the
landed rows. ``found`` is how many of 10,000 targets a guess within the candidates left hits, which
is exactly the number of rows that differ; by chance it is one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from model_serving.handler import RecogniserHandler
from model_serving.recogniser import Recogniser
from pipelines.config import WEIGHTS
from schemas.events import TIME, pseudonymous_schema
from transforms.scrub import scrub

Recognise = Callable[[pa.RecordBatch], pa.RecordBatch]
"""What makes observations of text events."""

CODES: Final = tuple(f"{number:04}" for number in range(10_000))
CODE_SENTENCES: Final = {
    "en": "my door code is {}",
    "zh": "我家的门禁密码是{}",
    "de": "Mein Türcode ist {}, leider",
    "es": "¡el código de mi puerta es {}!",
    "phone": "call me, I am so alone, my number ends in {}",
}
NAME_SENTENCES: Final = {
    "en": "I am so angry at {} today",
    "zh": "今天和{}一起玩真开心",
    "de": "Ich vermisse {} so sehr",
    "es": "me da miedo {}",
}
_HEADS = "al be ca da el fa ga ha in jo ka le ma na ol pa ra sa ta vi"
_MIDDLES = "ri la mo ne ti sha lu vi de ro na ke li ma so ya be ho ni ta"
_TAILS = "na ra s n lia nne ck a us el io y ton ine ard sha rt x lla m d on ie th l"
NAMES: Final = tuple(
    (h + m + t).title() for h in _HEADS.split() for m in _MIDDLES.split() for t in _TAILS.split()
)
_FAMILY = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚"
CHINESE_NAMES: Final = tuple(f + a + b for f in _FAMILY for a in _GIVEN for b in _GIVEN)[:10_000]
LANDED: Final = (
    "scores", "confidence", "valence", "arousal", "expression", "abstained", "quality", "embedding",
)  # fmt: skip


def candidates(language: str) -> tuple[str, ...]:
    """Return 10,000 names of people in a language."""
    return CHINESE_NAMES if language == "zh" else NAMES


def land(
    sentences: Sequence[str], recognise: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> list[str]:
    """Return what lands of each sentence said by one person at one time, as text."""
    rows = recognise(events(scrub(pa.array(sentences, pa.string()))))
    return [str(row) for row in rows.select(list(LANDED)).to_pylist()]


def events(texts: pa.Array) -> pa.RecordBatch:
    """Return pseudonymous text events with these texts."""
    schema = pseudonymous_schema("text")
    columns = {"text": texts, "event_time": pa.array([0] * len(texts), pa.int64()).cast(TIME)}
    given = [columns.get(f.name, pa.nulls(len(texts), f.type)) for f in schema]
    return pa.record_batch(given, schema=schema)


def recogniser(
    folder: Path = WEIGHTS / "text-compact",
) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Return the stage that recognises texts with these weights."""
    handler = RecogniserHandler(modality="text", model=str(folder))
    model: Recogniser = handler.load_model().model
    return lambda batch: handler.recognise(batch, model).observations


def found_of(landed: Sequence[str]) -> int:
    """Return how many of all candidates, as targets, one guess each finds on average."""
    return len(set(landed))


def left_of(landed: Sequence[str]) -> float:
    """Return how many candidates are left of a target's on average."""
    _, counts = np.unique(landed, return_counts=True)
    return float((counts.astype(float) ** 2).sum() / counts.sum())


def measure(folder: Path) -> dict[str, float]:
    """Attack door codes, ends of phone numbers and names, 10,000 of each in each sentence."""
    del folder
    recognise = recogniser()
    codes = [land([s.format(c) for c in CODES], recognise) for s in CODE_SENTENCES.values()]
    names = [
        land([s.format(name) for name in candidates(language)], recognise)
        for language, s in NAME_SENTENCES.items()
    ]
    return {
        "identified_codes_of_10000": max(map(found_of, codes)),
        "identified_names_of_10000": max(map(found_of, names)),
        "names_left_least": min(map(left_of, names)),
    }
