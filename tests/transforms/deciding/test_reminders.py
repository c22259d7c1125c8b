"""Who has been there for two hours without a pause is reminded, where a law asks for it."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from tests.transforms.test_decide import DECIDER, START, everybody, feature
from transforms.decide import Decider
from transforms.deciding.scenarios import read_scenarios


def drained(*rows: dict[str, Any], parts: int = 1) -> list[dict[str, Any]]:
    """Decide on rows of five-minute steps, at once or in parts that go on from each other."""
    found, before = [], None
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    size = -(-len(full) // parts)
    for start in range(0, len(full), size):
        decisions, _, before = DECIDER.drain([batch_of(full[start : start + size])], before)
        found += decisions.to_pylist()
    return found


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    return pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)


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
    assert (row["action"], row["reasons"]) == ("remind_of_use", "usage_reminder abstained")
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


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_a_reminder_waits_while_a_person_is_wanted(parts: int) -> None:
    """A hand-over of two hours ago would otherwise be swallowed, and nobody look."""
    calm, upset = hours(3, scenario="support"), []
    for n, row in enumerate(calm):
        alarmed = 23 <= n <= 26
        shown = "anger" if alarmed else "neutral"
        ends = row["window_end"]
        upset += [
            feature(n, shown, region="CN", scenario="support", window_id=f"{n}-{k}",
                    window_end=ends + dt.timedelta(seconds=5 * k))
            for k in range(4)
        ]  # fmt: skip
    rows = drained(*upset, parts=parts)
    alarm = [row for row in rows if row["action"] == "hand_over_to_person"]
    assert len(alarm) >= 8
    assert all(row["needs_person"] for row in alarm)
    (first,) = (row for row in rows if row["reason"] == "usage_reminder")
    assert first["window_end"] > max(row["window_end"] for row in alarm)
    assert (first["action"], first["needs_person"]) == ("remind_of_use", False)


def test_a_reminder_waits_for_all_that_a_person_does_at_once() -> None:
    """Somebody who is handed over in one scene is not told to rest in the other."""
    rows = []
    for n, row in enumerate(hours(3)):
        shown = "anger" if 20 < n < 28 else "neutral"
        rows += [row, row | feature(0, shown, region="CN", scenario="support", window_id=f"s{n}",
                                    scene_id="b", window_end=row["window_end"])]  # fmt: skip
    decider = Decider(DECIDER.policy.model_copy(update={"high_stakes": frozenset()}),
                      Decisions(forget_s=600, follow=1.0), everybody, length_s=300)  # fmt: skip
    found = decider.drain([batch_of(rows)], None)[0].to_pylist()
    busy = {row["window_end"] for row in found if row["action"] == "hand_over_to_person"}
    due = {row["window_end"] for row in found if row["reason"] == "usage_reminder"}
    assert len(busy) >= 5
    assert len(due) == 1
    assert min(due) > max(busy)


def test_a_reminder_where_an_avatar_may_not_move_says_both() -> None:
    closed = Decider(DECIDER.policy, Decisions())
    found = closed.drain([batch_of(hours(3))], None)[0].to_pylist()
    (row,) = (row for row in found if row["action"] == "remind_of_use")
    assert (row["reason"], row["reasons"]) == ("not_opted_in", "not_opted_in usage_reminder")


def test_what_is_too_weak_where_stakes_are_high_is_reviewed_though_a_reminder_stands() -> None:
    rows = hours(3, abstained=True, scenario="support")
    decisions, reviews, _ = DECIDER.drain([batch_of(rows)], None)
    (row,) = (r for r in decisions.to_pylist() if r["reason"] == "usage_reminder")
    assert row["decision_id"] in reviews["decision_id"].to_pylist()
    assert set(reviews["reason"].to_pylist()) == {"low_confidence"}


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
