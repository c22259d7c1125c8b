"""A scenario of one's own: its rules, its context fields, and as what the gate judges it."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.events import CONTEXT_FIELDS, WINDOW
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
actions: {dim_lights: changes_scene_for_person}
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
    row = feature(0, "fear", scenario="escape-room", purpose="research", **context)
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


ASKED = "at_once: {door: opened, lesson_state: review}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("after: 9", "after: 0", "greater than or equal to 1"),
        ("after: 9", "after: -1", "greater than or equal to 1"),
        ("after: 9", "after: 10001", "less than or equal to 10000"),
        ("after: 9", "after: true", "write a number of windows for True"),
        ("dim_lights", "''", "action: .*'' is no code: write up to 64"),
        ("dim_lights", '"dim\\n"', "action: .*is no code"),
        ("dim_lights", "dim lights", "action: .*is no code"),
        ("dim_lights,", 'dim_lights, reply: "\\0",', "reply: .*is no code"),
        ("high_stakes: []", "high_stakes: [suport]", "'suport', .*did you mean `support`"),
        ("high_stakes: []", "high_stakes: [escape]", "did you mean `escape-room`"),
        ("high_stakes: []", "high_stakes: ['']", "'', which scenarios does not list: name one of"),
        ("high_stakes: []", "high_stakes: [school]", "'school', which scenarios does not list"),
        (ASKED, "at_once: {scene: hall}", "do not see `scene`: ask for activity"),
        (ASKED, "at_once: {Door: opened}", "'Door' is no name of a context field"),
        (ASKED, "at_once: {on: opened}", "True is no name of a context field"),
        (ASKED, "at_once: {door: two words}", "door is never 'two words'"),
        (ASKED, "at_once: {lesson_state: two words}", "lesson_state is never 'two words'"),
        (ASKED, "at_once: {door: ''}", "door is never ''"),
        (ASKED, "at_once: {activity: ''}", "activity is never ''"),
        (ASKED, 'at_once: {activity: "a\\tb"}', "activity is never"),
        (ASKED, "at_once: {won: True}", 'of won as True: quote what events say, such as "true"'),
        (ASKED, "at_once: {lamp: off}", "of lamp as False: quote what events say"),
        ("{escape-room: game}", "{'': game}", "empty name"),
        ("{escape-room: game}", "{' ': game}", "empty name"),
        (
            "{escape-room: game}",
            "{school: game}",
            "'school' are read as learning: write `learning`",
        ),
        ("  escape-room:", "  Games:", "'Games' are read as game: write `game`"),
    ],
)
def test_a_rule_without_effect_is_refused_with_what_to_do(
    policy: Path, old: str, new: str, said: str
) -> None:
    assert old in ESCAPE_ROOM
    policy.write_text(ESCAPE_ROOM.replace(old, new))
    with pytest.raises(AffectstreamError, match=said) as refused:
        read_scenarios(policy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("after: 9", "after: 1"),
        ("after: 9", "after: 10000"),
        ("dim_lights", "Dim.the-lights_2"),
        ("high_stakes: []", "high_stakes: [escape-room]"),
        ("high_stakes: []", "high_stakes: [work]"),  # where nothing is ruled, the weak are reviewed
        (ASKED, "at_once: {activity: group_work}"),
        (ASKED, 'at_once: {won: "true"}'),
        (ASKED, 'at_once: {won: "True"}'),  # as a client may send it: in quotes
    ],
)
def test_a_rule_that_can_follow_is_read(policy: Path, old: str, new: str) -> None:
    policy.write_text(ESCAPE_ROOM.replace(old, new))
    assert read_scenarios(policy).version == "rooms-1"


@pytest.mark.parametrize("field", CONTEXT_FIELDS)
def test_a_rule_may_ask_for_every_code_that_goes_on_and_for_no_text(
    policy: Path, field: str
) -> None:
    policy.write_text(ESCAPE_ROOM.replace(ASKED, f"at_once: {{{field}: {'x' * 32}}}"))
    assert read_scenarios(policy).scenarios
    for never in ("x" * 33, "group work"):
        policy.write_text(ESCAPE_ROOM.replace(ASKED, f"at_once: {{{field}: {never}}}"))
        with pytest.raises(AffectstreamError, match=f"{field} is never"):
            read_scenarios(policy)


def test_the_gate_judges_a_new_scenario_as_the_listed_one_that_it_names(policy: Path) -> None:
    assert read_policy(GATE, policy).judged_as == {"escape-room": "game"}
    for judged_as, said in (
        ("{social: game}", "social, which has rules of its own"),
        ("{escape-room: gmae}", "names gmae for escape-room: name one of game, intimacy, learning"),
    ):
        policy.write_text(ESCAPE_ROOM.replace("{escape-room: game}", judged_as))
        with pytest.raises(AffectstreamError, match=said):
            read_policy(GATE, policy)
