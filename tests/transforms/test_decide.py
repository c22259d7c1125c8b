import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES, EXPRESSION_DECISIONS, REVIEW_QUEUE
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS
from transforms.decide import Decider
from transforms.deciding.history import HISTORY
from transforms.deciding.scenarios import read_scenarios

START = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
DECIDER = Decider(read_scenarios(POLICIES / "scenarios.yaml"), Decisions())


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


def drain(*rows: dict, state: pa.RecordBatch | None = None):
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
    assert state.schema == HISTORY
    second, _, rest = drain(*rows[2:], state=state)
    assert pa.Table.from_batches([first, second]).equals(pa.Table.from_batches([whole]))
    assert rest.equals(end)


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
    _, _, state = drain(*rows)
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
