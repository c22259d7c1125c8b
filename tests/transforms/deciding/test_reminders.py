"""Who has been there for two hours without a pause is reminded, where a law asks for it."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.tables import EMOTION_FEATURES
from tests.transforms.test_decide import DECIDER, START, feature
from transforms.deciding.scenarios import read_scenarios


def drained(*rows: dict[str, Any], parts: int = 1) -> list[dict[str, Any]]:
    """Decide on rows of five-minute steps, at once or in parts that go on from each other."""
    found, before = [], None
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    size = -(-len(full) // parts)
    for start in range(0, len(full), size):
        batch = pa.RecordBatch.from_pylist(full[start : start + size], schema=EMOTION_FEATURES)
        decisions, _, before = DECIDER.drain([batch], before)
        found += decisions.to_pylist()
    return found


def hours(length: float, **more: Any) -> list[dict[str, Any]]:
    """A window every five minutes."""
    return [
        feature(n, "joy", **{"region": "CN"} | more) for n in range(0, int(length * 60) * 12, 60)
    ]


def reminded(rows: list[dict[str, Any]]) -> list[float]:
    """The hours from START at which a reminder stands, each once."""
    ends = {row["window_end"] for row in rows if row["reason"] == "usage_reminder"}
    return sorted(round((end - START).total_seconds() / 3600, 1) for end in ends)


@pytest.mark.parametrize("parts", [1, 2, 7, 50])
def test_a_reminder_follows_each_two_hours_of_use(parts: int) -> None:
    rows = drained(*hours(5), parts=parts)
    assert reminded(rows) == [2.0, 4.0]
    (first, _) = (row for row in rows if row["reason"] == "usage_reminder")
    assert (first["action"], first["reply_id"]) == ("remind_of_use", "usage-break")


def test_a_pause_begins_anew_and_a_silence_of_minutes_does_not() -> None:
    whole = hours(5)
    paused = [row for n, row in enumerate(whole) if not 12 < n < 17]  # 25 minutes
    assert reminded(drained(*paused)) == [pytest.approx(17 * 5 / 60 + 2, abs=0.06)]
    brief = [row for n, row in enumerate(whole) if not 12 < n < 15]  # 15 minutes
    assert reminded(drained(*brief)) == [2.0, 4.0]


def test_other_scenes_sessions_and_purposes_are_the_same_use() -> None:
    turns = [{"scene_id": "a", "session_ref": "1" * 32}, {"scene_id": "b", "purpose": "research"}]
    rows = [row | turns[n % 2] | {"window_id": str(n)} for n, row in enumerate(hours(3))]
    assert reminded(drained(*rows)) == [2.0]


def test_whoever_shows_nothing_for_sure_is_reminded_too() -> None:
    (row,) = (r for r in drained(*hours(3, abstained=True)) if r["reason"] == "usage_reminder")
    assert row["action"] == "remind_of_use"
    assert max(row["avatar_weights"]) == 0


def test_people_elsewhere_and_days_before_the_law_have_none() -> None:
    assert reminded(drained(*hours(5, region="EU"))) == []
    early = [row | {"window_end": row["window_end"] - dt.timedelta(days=100)} for row in hours(5)]
    assert not [row for row in drained(*early) if row["reason"] == "usage_reminder"]


def test_use_goes_on_when_keys_are_rotated() -> None:
    rows = hours(3)
    for row in rows[12:]:
        row |= {"subject_ref": "b" * 32, "prior_subject_ref": "a" * 32}
    assert reminded(drained(*rows)) == [2.0]
    assert reminded(drained(*rows, parts=5)) == [2.0]


def test_two_people_in_one_batch_are_counted_apart() -> None:
    late = [
        row for row in hours(3, subject="c") if row["window_end"] > START + dt.timedelta(hours=1)
    ]
    rows = drained(*hours(3), *late)
    told = [row["subject_ref"] for row in rows if row["reason"] == "usage_reminder"]
    assert told == ["a" * 32]


@pytest.mark.parametrize(
    ("line", "change", "said"),
    [
        ("regions: [CN]", "regions: [China]", "no event is read as"),
        ("regions: [CN]", "regions: []", "regions"),
        ("after_minutes: 120", "after_minutes: 0", "after_minutes"),
        ("action: remind_of_use", "action: say what you like", "action"),
    ],
)
def test_a_reminder_that_cannot_be_is_refused(
    tmp_path: Path, line: str, change: str, said: str
) -> None:
    text = (POLICIES / "scenarios.yaml").read_text()
    assert line in text
    path = tmp_path / "scenarios.yaml"
    path.write_text(text.replace(line, change))
    with pytest.raises(AffectstreamError, match=said):
        read_scenarios(path)
