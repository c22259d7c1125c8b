"""States and rules of a scenario policy: what is refused when it is read, and with which line."""

from pathlib import Path

import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.envelopes import envelopes
from transforms.deciding.scenarios import ScenarioPolicy, read_scenarios
from transforms.deciding.states import in_order

POLICY = """version: v
high_stakes: [support]
replies: [hello, break]
actions: {cheer: speaks_to_person, greet: speaks_to_person, suggest_game: offers_content}
scenarios:
  social:
    joy: {action: cheer, after: 2, priority: 5}
states:
  low:
    shows: low estimates
    expressions: [sadness, anger]
    where: {valence: {at_most: -0.2}}
  alone_and_low:
    shows: the same with nobody there
    all_of: [low]
    context: {activity: alone}
    windows: 3
rules:
  - id: greet
    scenarios: [social, support]
    state: alone_and_low
    priority: 20
    action: greet
    reply: hello
  - id: rest
    scenarios: [social]
    state: low
    priority: 10
    action: offer_break
    reply: break
"""
RULES = POLICY[POLICY.index("rules:") :]


def line_of(text: str, part: str) -> int:
    assert text.count(part) >= 1, part
    return text[: text.index(part)].count("\n") + 1


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(AffectstreamError, match=r"is not a scenario policy: ") as told:
        read_scenarios(path)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_the_policy_and_the_shipped_one_are_sound(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.yaml"
    path.write_text(POLICY)
    policy = read_scenarios(path)
    assert [rule.id for rule in policy.all_rules] == ["greet", "rest", "social.joy"]
    shipped = read_scenarios(POLICIES / "scenarios.yaml")
    ruled = {name for rule in shipped.all_rules for name in rule.scenarios}
    assert ruled == {
        "game", "social", "learning", "support", "health", "work", "entertainment", "retail",
        "tourism",
    }  # fmt: skip


def test_the_shipped_policy_answers_every_scenario_of_the_catalogue() -> None:
    """What each scenario is there for, by the state that is shown."""
    rules = read_scenarios(POLICIES / "scenarios.yaml").all_rules
    found = {(s, rule.state, rule.action) for rule in rules for s in rule.scenarios}
    assert found >= {
        ("social", "lonely", "suggest_company"),
        ("social", "lonely", "suggest_activity"),
        ("social", "upset", "offer_support"),
        ("learning", "struggling", "offer_tutoring"),
        ("learning", "struggling", "encourage"),
        ("learning", "excelling", "raise_difficulty"),
        ("health", "anxious", "offer_relaxation"),
        ("health", "low_over_days", "offer_help_of_person"),
        ("work", "tense", "encourage"),
        ("work", "dissatisfied", "offer_mediation"),
        ("entertainment", "bored", "suggest_something_new"),
        ("entertainment", "excited", "raise_difficulty"),
    }


@pytest.mark.parametrize(
    ("old", "new", "line_with", "said"),
    [
        ("state: low\n", "state: lwo\n", "state: lwo", "'lwo', which is not defined: did you mean"),
        ("all_of: [low]", "all_of: [lwo]", "all_of", "the state 'lwo', which is not defined"),
        ("    expressions: [sadness, anger]\n", "    any_of: [alone_and_low]\n", "  low:",
         "in a circle, low → alone_and_low → low"),
        ("all_of: [low]", "all_of: [alone_and_low]", "alone_and_low:", "in a circle"),
        ("priority: 10\n", "priority: 20\n", "  - id: rest", "greet and rest may both follow in"),
        ("    priority: 20\n", "", "  - id: rest", "give each a `priority` of its own"),
        ("    reply: break\n", "", "  - id: rest", "the reply is missing: name one of `replies`"),
        ("reply: break\n", "reply: braek\n", "reply: braek", "does not list: did you mean `break`"),
        ("replies: [hello, break]\n", "", "reply: hello", "'hello', which `replies` does not list"),
        ("[hello, break]", "[]", "replies", "replies is empty"),
        ("id: rest", "id: greet", "id: greet\n    scenarios: [social]\n", "stands twice"),
        ("id: rest", "id: two words", "id: two words", "is no id"),
        ("[sadness, anger]", "[sad]", "expressions", "'sad' is no expression: did you mean"),
        ("{valence: {at_most", "{valenc: {at_most", "valenc", "is no quantity: did you mean"),
        ("at_most: -0.2", "at_most: -1.2", "valence:", "from -1 to 1, so that this is never met"),
        ("{at_most: -0.2}", "{}", "valence:", "there is no bound"),
        ("{at_most: -0.2}", "{at_least: 0.5, at_most: 0.2}", "valence:", "is above at_most"),
        ("  low:\n    shows: low estimates\n    expressions: [sadness, anger]\n"
         "    where: {valence: {at_most: -0.2}}\n", "  low:\n    shows: all\n", "  low:",
         "it has no condition"),
        ("  low:\n", "  joy:\n    shows: x\n    expressions: [joy]\n  low:\n", "  joy:\n",
         "joy is an expression"),
        ("windows: 3", "windows: true", "windows", "write a number of windows for True"),
        ("{activity: alone}", "{scene: hall}", "context", "do not see `scene`"),
        ("action: offer_break", "action: announce_break", "action: ann", "whose `announce` says"),
        ("action: offer_break", "action: tell_teacher", "action: tell", "says that it shows"),
        ("action: offer_break", "action: ShareMood", "action: Share", "`share mood` says that"),
        ("action: offer_break", "action: diagnose", "action: diag", "says that it decides"),
        ("action: offer_break", "action: raise_price", "action: raise", "`price` says that"),
        ("action: offer_break", "action: suggest_game", "action: sugg", "may nudge a minor"),
        ("action: offer_break", "action: suggest_game\n    age_bands: [adult, teen]",
         "action: sugg", "may nudge a minor"),
        ("action: offer_break", "action: suggest_game\n    age_bands: [adult, unknown]",
         "action: sugg", "or people of an age that nobody made sure"),
        ("action: greet", "action: greet\n    needs_person: false", "needs_person",
         "acts alone in support, where the stakes are high"),
        ("action: offer_break", "action: offer_break\n    age_bands: [adlut]", "age_bands",
         "did you mean `adult`"),
        ("action: offer_break", "action: offer_break\n    purposes: [avatar]", "purposes",
         "read as avatar_mirroring"),
        ("action: offer_break", "action: offer_break\n    since: 2026-02-02\n    until: 2026-02-01",
         "since: 2026", "is after until"),
        ("scenarios: [social]", "scenarios: [school]", "scenarios: [school]", "read as learning"),
        ("scenarios: [social]", "scenarios: []", "scenarios: []", "at least 1 item"),
        ("joy: {action: cheer", "low: {action: cheer", "    low: {", "stands below `rules:`"),
    ],
)  # fmt: skip
def test_a_policy_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line_with: str, said: str
) -> None:
    assert old in POLICY
    text = POLICY.replace(old, new, 1)
    told = refused(tmp_path / "scenarios.yaml", text)
    assert said in told
    assert f"line {line_of(text, line_with)}: " in told


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("action: offer_break", "action: suggest_game\n    age_bands: [adult]"),
        ("reply: break\n", "reply: null\n"),
        ("action: greet", "action: greet\n    needs_person: true"),
        (
            "priority: 10\n    ",
            "until: 2026-01-01\n    ",
        ),  # but the other one is for ever: see below
    ],
)
def test_a_policy_that_can_be_is_read(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "scenarios.yaml"
    text = POLICY.replace(old, new, 1)
    if "until" in new:
        text = text.replace("priority: 20\n", "since: 2026-01-02\n", 1)
    path.write_text(text)
    assert read_scenarios(path).version == "v"


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({"state": "joy"}, {"state": "anger"}, True),
        ({"state": "joy"}, {"state": "bright"}, False),
        ({"state": "low"}, {"state": "bright"}, True),
        ({"state": "low"}, {"state": "either"}, False),
        (
            {"state": "low", "purposes": ["research"]},
            {"state": "low", "purposes": ["safety"]},
            True,
        ),
        ({"state": "low", "purposes": ["research"]}, {"state": "low"}, False),
        ({"state": "low", "age_bands": ["adult"]}, {"state": "low", "age_bands": ["teen"]}, True),
        ({"state": "low", "until": "2026-03-01"}, {"state": "low", "since": "2026-03-01"}, False),
        ({"state": "low", "until": "2026-02-28"}, {"state": "low", "since": "2026-03-01"}, True),
        ({"state": "low", "context": {"a": "x"}}, {"state": "low", "context": {"a": "y"}}, True),
        ({"state": "low", "context": {"a": "x"}}, {"state": "low", "context": {"b": "y"}}, False),
        ({"state": "low", "scenarios": ["social"]}, {"state": "low", "scenarios": ["game"]}, True),
    ],
)
def test_rules_overlap_where_one_window_could_be_of_both(
    one: dict, other: dict, apart: bool
) -> None:
    shared = {"scenarios": ["game"], "action": "check_in", "reply": None}
    given = {
        "version": "v",
        "high_stakes": [],
        "states": {
            "low": {"shows": "low", "where": {"valence": {"at_most": -0.1}}},
            "bright": {"shows": "bright", "where": {"valence": {"at_least": 0.1}}},
            "either": {"shows": "far from plain", "any_of": ["low", "bright"]},
        },
        "rules": [shared | {"id": "a"} | one, shared | {"id": "b"} | other],
    }
    if apart:
        assert ScenarioPolicy.model_validate(given).version == "v"
    else:
        with pytest.raises(ValueError, match="a and b may both follow in"):
            ScenarioPolicy.model_validate(given)


def test_every_problem_is_told_at_once() -> None:
    problems: list = []
    given = {
        "version": "v",
        "high_stakes": ["nowhere"],
        "rules": [
            {"id": "a", "scenarios": ["game"], "state": "x", "action": "announce", "reply": "r"},
            {"id": "b", "scenarios": ["game"], "state": "joy", "action": "check_in", "reply": None},
            {"id": "b", "scenarios": ["game"], "state": "joy", "action": "ban", "reply": None},
        ],
    }
    ScenarioPolicy.model_validate(given, context=problems)
    said = " ".join(each for each, _ in problems)
    for part in (
        "'nowhere'",
        "the state 'x'",
        "`announce`",
        "'r'",
        "b stands twice",
        "`ban`",
        "both",
    ):
        assert part in said


def test_what_a_state_may_be_is_narrowed_by_all_and_widened_by_any() -> None:
    policy = ScenarioPolicy.model_validate(
        {
            "version": "v", "high_stakes": [],
            "scenarios": {"game": {"joy": {"action": "celebrate", "after": 1}}},
            "states": {
                "a": {"shows": "a", "expressions": ["joy"],
                      "where": {"valence": {"at_least": 0.5}}},
                "b": {"shows": "b", "expressions": ["joy", "anger"],
                      "where": {"valence": {"at_most": 0.7}}},
                "both": {"shows": "c", "all_of": ["a", "b"]},
                "some": {"shows": "d", "any_of": ["a", "b"], "expressions": ["anger"]},
            },
        }
    )  # fmt: skip
    known = envelopes(policy.states)
    both, some = known["both"], known["some"]
    assert both.expressions == {"joy"}
    assert both.bounds == {"valence": (0.5, 0.7)}
    assert some.expressions == {"anger"}
    assert some.bounds["valence"] == (float("-inf"), float("inf"))
    assert not both.meets(some)
    assert in_order(policy.states, ["some", "both"]) == ("a", "b", "some", "both")
    assert known[EXPRESSIONS[0]].expressions == {EXPRESSIONS[0]}
