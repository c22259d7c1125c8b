import datetime as dt
import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import TimestampedValue

from pipelines.config import POLICIES
from schemas.arkit import EXPRESSION_WEIGHTS
from schemas.errors import AffectstreamError
from schemas.events import WINDOW
from schemas.settings import Decisions
from schemas.stages import MAIN, REVIEWS
from schemas.tables import EMOTION_FEATURES, EXPRESSION_DECISIONS, REVIEW_QUEUE
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS
from transforms.decide import Before, DecideExpressions, Decider
from transforms.deciding.history import HISTORY
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios

START = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)


def everybody(subjects: pa.Array, times: pa.Array, prior: pa.Array | None = None) -> np.ndarray:
    """Return that all of them opted in to be shown."""
    del prior
    assert len(subjects) == len(times)
    return np.ones(len(subjects), bool)


class Everybody:
    may_show = staticmethod(everybody)

    @staticmethod
    def erased_subjects() -> dict[str, int]:
        return {}


DECIDER = Decider(read_scenarios(POLICIES / "scenarios.yaml"), Decisions(), everybody)


def feature(window: int, expression: str, *, peak: float = 0.8, subject: str = "a", **more) -> dict:
    scores = np.full(7, (1 - peak) / 6)
    scores[EXPRESSIONS.index(expression)] = peak
    valence, arousal = scores @ CIRCUMPLEX
    end = START + dt.timedelta(seconds=5 * (window + 1))
    return {
        "window_id": f"{subject}-{window}",
        "subject_ref": subject * 32,
        "session_ref": "5" * 32,
        "scene_id": "scene",
        "scenario": "social",
        "purpose": "avatar_mirroring",
        "region": "US",
        "age_band": "adult",
        "window_end": end,
        "scores": scores.tolist(),
        "abstained": False,
        "valence": valence,
        "arousal": arousal,
    } | more


def drain(*rows: dict, state: Before | None = None):
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    return DECIDER.drain([pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)], state)


def decisions(*rows: dict) -> list[dict]:
    out, _, _ = drain(*rows)
    assert out.schema == EXPRESSION_DECISIONS
    return out.to_pylist()


def test_one_odd_window_does_not_change_the_held_expression() -> None:
    odd = feature(2, "anger", peak=0.4)
    rows = [feature(0, "joy"), feature(1, "joy"), odd, feature(3, "joy")]
    assert [row["expression"] for row in decisions(*rows)] == ["joy"] * 4
    turned = [feature(0, "joy"), *(feature(n, "anger") for n in range(1, 4))]
    assert [row["expression"] for row in decisions(*turned)][-1] == "anger"


def test_intensity_changes_slowly_and_mirrors_only_the_own_avatar() -> None:
    rows = decisions(*(feature(n, "joy") for n in range(4)))
    steps = np.diff([0.0, *(row["intensity"] for row in rows)])
    assert (np.abs(steps) <= 0.25 + 1e-6).all()
    assert rows[-1]["intensity"] > 0.7
    assert max(rows[-1]["avatar_weights"]) > 0
    (other,) = decisions(feature(0, "joy", purpose="recommendation"))
    assert other["action"] == "observe"
    assert max(other["avatar_weights"]) == 0


def test_scenario_rules_need_time_or_a_game_result() -> None:
    game = {"scenario": "game"}
    rows = decisions(*(feature(n, "sadness", **game) for n in range(3)))
    assert [row["action"] for row in rows] == ["mirror", "encourage", "encourage"]
    assert [row["reason"] for row in rows] == ["settling", "scenario_rule", "scenario_rule"]
    (lost,) = decisions(feature(0, "sadness", game_result="lost", **game))
    assert (lost["action"], lost["reply_id"]) == ("encourage", "game-encourage")


def test_abstention_holds_and_high_stakes_go_to_a_person() -> None:
    weak = feature(0, "anger", abstained=True, scenario="support")
    out, reviews, _ = drain(weak)
    assert out["action"].to_pylist() == ["hold"]
    assert out["expression"].to_pylist() == [None]
    assert reviews.schema == REVIEW_QUEUE
    assert reviews["reason"].to_pylist() == ["low_confidence"]
    angry = [feature(n, "anger", scenario="support") for n in range(2)]
    out, reviews, _ = drain(*angry)
    assert out["action"].to_pylist()[-1] == "hand_over_to_person"
    assert reviews["reason"].to_pylist() == ["high_stakes"]
    assert drain(feature(0, "anger", abstained=True))[1].num_rows == 0


def test_a_restored_history_goes_on_as_if_nothing_happened() -> None:
    rows = [feature(n, e, subject=s) for n, e in enumerate(("joy", "fear", "fear")) for s in "ab"]
    whole, _, end = drain(*rows)
    first, _, state = drain(*rows[:2])
    assert state.history.schema == HISTORY
    second, _, rest = drain(*rows[2:], state=state)
    assert pa.Table.from_batches([first, second]).equals(pa.Table.from_batches([whole]))
    assert all(one.equals(other) for one, other in zip(rest, end, strict=True))


@pytest.mark.parametrize(
    "own",
    [
        {"purpose": "research"},
        {"scenario": "game"},
        {"age_band": "unknown"},
        {"age_band": None},
        {"session_ref": "6" * 32},
    ],
)
def test_each_purpose_scenario_and_age_band_has_a_history_of_its_own(own: dict) -> None:
    """Side by side or alone, also when going on from a state: the same decisions."""
    one = [feature(n, "joy") for n in range(4)]
    other = [feature(n, "anger", **own) | {"window_id": f"b-{n}"} for n in range(1, 4)]
    apart = decisions(*one) + decisions(*other)
    mixed = decisions(*other[::-1], *one)
    by_id = {row["decision_id"]: row for row in apart}
    assert {row["decision_id"]: row for row in mixed} == by_id
    _, _, state = drain(*one[:2], *other[:1])
    later, _, _ = drain(*one[2:], *other[1:], state=state)
    assert all(row == by_id[row["decision_id"]] for row in later.to_pylist())


def test_null_is_no_age_band_that_is_called_so() -> None:
    bands = [None, "", "unknown", "null", "None"]
    rows = [
        feature(n, e, age_band=band) | {"window_id": f"{band!r}-{n}"}
        for n, e in enumerate(("joy", "fear"))
        for band in bands
    ]
    state = drain(*rows)[2].history
    assert len(state) == len(set(state["history_id"].to_pylist())) == len(bands)


def test_motion_for_research_moves_no_avatar() -> None:
    shown = [feature(n, "joy", purpose="research") for n in range(3)]
    text = [feature(2, "neutral", peak=0.9) | {"window_id": "text"}]
    by_purpose = {row["purpose"]: row for row in decisions(*shown, *text)}
    assert by_purpose["avatar_mirroring"]["intensity"] == 0
    assert by_purpose["avatar_mirroring"]["expression"] == "neutral"
    assert max(by_purpose["research"]["avatar_weights"]) == 0


def test_order_of_arrival_does_not_matter() -> None:
    rows = [
        feature(n, "joy" if (n + len(p)) % 3 else "anger", subject=s, purpose=p, age_band=band)
        | {"window_id": f"{n}-{s}-{p}-{band}"}
        for n in range(9)
        for s in "ab"
        for p in ("research", "avatar_mirroring")
        for band in ("adult", None)
    ]
    assert decisions(*rows) == decisions(*rows[::-1])


def test_a_long_silence_begins_anew() -> None:
    rows = decisions(feature(0, "joy"), feature(1, "joy"), feature(40, "anger", peak=0.4))
    assert rows[-1]["expression"] == "anger"
    assert rows[-1]["valence_shift"] == 0


def test_a_policy_with_unknown_expressions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.yaml"
    rule = "{rage: {action: x, after: 1}}"
    path.write_text(f"version: v\nhigh_stakes: []\nscenarios: {{game: {rule}}}")
    with pytest.raises(AffectstreamError, match="rage"):
        read_scenarios(path)


def test_a_decision_names_what_it_was_made_from_and_when_it_ends() -> None:
    end = dt.datetime(2026, 9, 2, 0, 0, 2, tzinfo=dt.UTC)
    (row,) = decisions(feature(0, "joy", window_end=end))
    assert row["window_end"] == end
    assert row["expires_at"] == end + dt.timedelta(seconds=30)
    assert row["event_date"] == end.date()
    assert row["policy_version"] == DECIDER.policy.version
    assert (row["window_id"], row["scene_id"], row["region"]) == ("a-0", "scene", "US")
    brief = Decider(DECIDER.policy, Decisions(valid_s=0.25, hold_s=0), everybody)
    rows = [{name: feature(0, "joy").get(name) for name in EMOTION_FEATURES.names}]
    given = [pa.RecordBatch.from_pylist(rows, schema=EMOTION_FEATURES)]
    (short,) = brief.drain(given, None)[0].to_pylist()
    assert short["expires_at"] - short["window_end"] == dt.timedelta(milliseconds=250)


def test_decisions_of_two_policies_on_one_window_are_two_rows() -> None:
    newer = Decider(DECIDER.policy.model_copy(update={"version": "next"}), DECIDER.rules, everybody)
    rows = [feature(n, "anger", scenario="support") for n in range(2)]
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    given = [pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)]
    found = [decider.drain(given, None)[:2] for decider in (DECIDER, newer)]
    ids = [row["decision_id"] for out, _ in found for row in out.to_pylist()]
    assert len(set(ids)) == 4
    reviews = [row for _, queue in found for row in queue.to_pylist()]
    assert [row["decision_id"] for row in reviews] == [ids[1], ids[3]]
    assert len({row["review_id"] for row in reviews}) == 2


RULES = ScenarioPolicy.model_validate(
    {
        "version": "v",
        "high_stakes": ["support", "work"],
        "actions": {"ease": "changes_scene_for_person", "close": "speaks_to_person"},
        "scenarios": {
            "game": {
                "joy": {"action": "celebrate", "after": 3, "reply": "well-done"},
                "anger": {"action": "ease", "after": 2, "at_once": {"game_result": "lost"}},
            },
            "support": {"joy": {"action": "close", "after": 2, "reply": "bye"}},
        },
    }
)


def ruled(*rows: dict[str, Any]) -> tuple[list[tuple[Any, ...]], list[tuple[str, str]]]:
    """Return (action, reason, reply) of each window, and (window, reason) of each review."""
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    given = [pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)]
    out, reviews, _ = Decider(RULES, Decisions(), everybody).drain(given, None)
    assert reviews.schema == REVIEW_QUEUE
    assert set(reviews["reviewer_decision"].to_pylist()) <= {None}
    return (
        [(r["action"], r["reason"], r["reply_id"]) for r in out.to_pylist()],
        [(r["window_id"], r["reason"]) for r in reviews.to_pylist()],
    )


def test_a_rule_follows_after_its_number_of_windows() -> None:
    game = {"scenario": "game"}
    found, reviews = ruled(*(feature(n, "joy", **game) for n in range(4)))
    assert (
        found
        == [("mirror", "settling", None)] * 2 + [("celebrate", "scenario_rule", "well-done")] * 2
    )
    assert reviews == [], "a game is no matter of high stakes"
    found, _ = ruled(*(feature(n, "joy", purpose="research", **game) for n in range(2)))
    assert found == [("observe", "settling", None)] * 2
    assert ruled(feature(0, "fear", **game))[0] == [("mirror", "default", None)]
    assert ruled(feature(0, "joy", scenario="social"))[0] == [("mirror", "default", None)]


@pytest.mark.parametrize(
    ("result", "expression", "reason"),
    [
        ("lost", "anger", "scenario_rule"),
        ("won", "anger", "settling"),
        (None, "anger", "settling"),
        ("lost", "joy", "settling"),
    ],
)
def test_a_game_result_makes_only_its_own_rule_follow_at_once(
    result: str | None, expression: str, reason: str
) -> None:
    (row,), _ = ruled(feature(0, expression, scenario="game", game_result=result))
    assert row == ("ease" if reason == "scenario_rule" else "mirror", reason, None)


def test_a_person_looks_at_weak_and_ruled_decisions_of_high_stakes_alone() -> None:
    """Neither what merely settles, nor what is ruled or weak in another scenario."""
    support = [feature(n, "joy", scenario="support") for n in range(2)]
    weak = feature(2, "joy", scenario="support", abstained=True)
    game = [feature(n, "anger", scenario="game", subject="b") for n in range(3)]
    unsure = feature(3, "anger", scenario="game", subject="b", abstained=True)
    other = feature(0, "fear", scenario="work", subject="c")
    found, reviews = ruled(*support, weak, *game, unsure, other)
    assert reviews == [("a-1", "high_stakes"), ("a-2", "low_confidence")]
    assert Counter(reason for _, reason, _ in found) == {
        "settling": 2, "scenario_rule": 3, "abstained": 2, "default": 1,
    }  # fmt: skip


def test_weights_are_those_of_the_expression_by_its_intensity() -> None:
    rows = decisions(*(feature(n, "joy") for n in range(2)), feature(2, "joy", abstained=True))
    weights = EXPRESSION_WEIGHTS[EXPRESSIONS.index("joy")]
    for row, intensity in zip(rows[:2], (0.25, 0.5), strict=True):
        assert row["intensity"] == pytest.approx(intensity)
        assert row["avatar_weights"] == pytest.approx((weights * intensity).tolist(), abs=1e-6)
    assert (rows[2]["action"], rows[2]["expression"]) == ("hold", "joy")
    assert rows[2]["avatar_weights"] == rows[1]["avatar_weights"], "who is unsure moves no avatar"
    assert rows[2]["confidence"] == pytest.approx(0.8)


def earlier(rows: pa.Table, before: dt.datetime) -> pa.Table:
    """Return what landed before a time, of all shards, as a job's tables would."""
    return rows.filter(pa.array([end < before for end in rows["window_end"].to_pylist()]))


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Feature rows on their way: with shard, what else the context told, and disagreement."""
    apart = pa.field("disagreement", pa.float32())
    schema = pa.schema([*EMOTION_FEATURES, WINDOW.field("details"), WINDOW.field("shard"), apart])
    shards = [{"shard": int(row["subject_ref"][0], 16) % 2} for row in rows]
    full = [
        {name: (row | shard).get(name) for name in schema.names}
        for row, shard in zip(rows, shards, strict=True)
    ]
    return pa.RecordBatch.from_pylist(full, schema=schema)


def same_rows(wanted: list[dict[str, Any]], key: str) -> Callable[[list[pa.RecordBatch]], None]:
    def check(batches: list[pa.RecordBatch]) -> None:
        found = [row for one in batches for row in one.to_pylist()]
        assert sorted(found, key=lambda row: row[key]) == sorted(wanted, key=lambda row: row[key])

    return check


@pytest.mark.parametrize("known", [0, 6])
def test_the_graph_decides_in_order_and_goes_on_from_what_landed(known: int) -> None:
    """Each window comes as a batch of its own, the last first; the first ``known`` have landed."""
    rows = [
        feature(window, "sadness" if window < 3 else "joy", subject=subject, scenario="support")
        | {"disagreement": 0.9 if (window, subject) == (4, "b") else 0.1}
        for window in range(5)
        for subject in "abc"
    ]
    decided, reviews, _ = DECIDER.drain([batch_of(rows)], None)
    apart = [row for row in reviews.to_pylist() if row["reason"] == "disagreement"]
    assert [row["window_id"] for row in apart] == ["b-4"]
    before = {row["window_id"] for row in rows[:known]}
    wanted, queued = (
        [row for row in out.to_pylist() if row["window_id"] not in before]
        for out in (decided, reviews)
    )
    assert {row["reason"] for row in wanted} == {"settling", "scenario_rule"}
    landed = functools.partial(earlier, pa.Table.from_batches([batch_of(rows[:known])]))
    with beam.Pipeline(runner=FnApiRunner()) as p:
        out = (
            p
            | beam.Create(
                [
                    TimestampedValue(batch_of([row]), row["window_end"].timestamp() - 0.001)
                    for row in rows[:known:-1] + rows[known : known + 1]
                ]
            ).with_output_types(pa.RecordBatch)
            | DecideExpressions(
                policy=POLICIES / "scenarios.yaml",
                rules=Decisions(),
                landed=landed if known else None,
                opt_ins=Everybody,
            )
        )
        assert_that(out[MAIN], same_rows(wanted, "decision_id"), label="decisions")
        assert_that(out[REVIEWS], same_rows(queued, "review_id"), label="reviews")
