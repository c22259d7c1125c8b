"""A scenario of one's own: its rules, its context fields, and as what the gate judges it."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.events import WINDOW
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from tests.transforms.test_decide import feature
from transforms.decide import Decider
from transforms.deciding.scenarios import read_scenarios
from transforms.gating.policy import read_policy

GATE = POLICIES / "gate.yaml"
ESCAPE_ROOM = """
version: rooms-1
high_stakes: []
judged_as: {escape-room: game}
scenarios:
  escape-room:
    fear: {action: dim_lights, after: 9, at_once: {door: opened, lesson_state: review}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "scenarios.yaml"
    path.write_text(ESCAPE_ROOM)
    return path


def reason(policy: Path, **context: object) -> str:
    details = context.pop("details", None)
    row = feature(0, "fear", scenario="escape-room", **context)
    row["details"] = None if details is None else json.dumps(details)
    schema = pa.schema([*EMOTION_FEATURES, WINDOW.field("details")])
    batch = pa.RecordBatch.from_pylist([{n: row.get(n) for n in schema.names}], schema=schema)
    decisions, _, _ = Decider(read_scenarios(policy), Decisions()).drain([batch], None)
    return str(decisions["reason"][0])


def test_a_rule_follows_at_once_where_all_that_it_asks_for_was_told(policy: Path) -> None:
    review = {"lesson_state": "review"}
    assert reason(policy, **review, details={"door": "opened", "lamp": "on"}) == "scenario_rule"
    assert reason(policy, **review, details={"door": "closed"}) == "settling"
    assert reason(policy, **review) == "settling"
    assert reason(policy, details={"door": "opened"}) == "settling"


def test_the_old_name_of_a_rule_says_the_new_one(policy: Path) -> None:
    policy.write_text(ESCAPE_ROOM.replace("at_once: {door: opened, lesson_state: review}",
                                          "at_once_after: lost"))  # fmt: skip
    with pytest.raises(AffectstreamError, match=r"write at_once: \{game_result: lost\}"):
        read_scenarios(policy)


def test_the_gate_judges_a_new_scenario_as_the_listed_one_that_it_names(policy: Path) -> None:
    assert read_policy(GATE, policy).judged_as == {"escape-room": "game"}
    for judged_as, said in (
        ("{learning: game}", "learning, which has rules of its own"),
        ("{escape-room: gmae}", "names gmae for escape-room: name one of game, learning"),
    ):
        policy.write_text(ESCAPE_ROOM.replace("{escape-room: game}", judged_as))
        with pytest.raises(AffectstreamError, match=said):
            read_policy(GATE, policy)
