"""What rules and reminders may ask for: known actions, declared effects, and nothing else."""

from typing import Any

import pytest

from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.actions import action_table, read_as
from transforms.deciding.scenarios import ScenarioPolicy

NEAR = [
    "tell_parent", "mark_as_banned", "bans_player", "BANuser", "sh4re_te4m", "tell_guild_mood",
    "notify_supervisor", "email_mood_to_friends", "display_emotion_to_room", "leaderboard_show",
    "diagnosis", "treatment", "grading", "pricing", "kick", "demote", "SHAREWithTEAM", "dismissal",
    "s.e.l.l", "score_applicants", "message_the_manager", "lower_her_pay", "Prescriptions",
]  # fmt: skip
NUDGES = ["suggestion_box_offer", "unlock_purchases", "offer_lootbox", "keep_playing", "b0nus"]


def problems(*rules: dict[str, Any], **more: Any) -> str:
    """All that is wrong with a policy of rules for one expression each."""
    found: list[tuple[str, Any]] = []
    full = [
        {"id": f"r{n}", "scenarios": ["game"], "state": EXPRESSIONS[n], "reply": None} | rule
        for n, rule in enumerate(rules)
    ]
    given = {"version": "v", "high_stakes": [], "rules": full} | more
    ScenarioPolicy.model_validate(given, context=found)
    return " | ".join(said for said, _ in found)


@pytest.mark.parametrize("name", [*NEAR, *NUDGES, "wave", "Encourage", "offer_hints"])
def test_what_is_no_known_action_is_refused(name: str) -> None:
    assert name.split("_", maxsplit=1)[0] in problems({"action": name, "age_bands": ["teen"]})


def test_an_unknown_action_is_told_how_to_be_declared() -> None:
    said = problems({"action": "wave"})
    assert "'wave', which is no known action: declare it as `actions: {wave: EFFECT}`" in said
    assert "speaks_to_person" in said
    assert "did you mean `encourage`?" in problems({"action": "encourge"})
    assert problems({"action": "wave"}, actions={"wave": "speaks_to_person"}) == ""


@pytest.mark.parametrize("name", [name for name in NEAR if "." not in name])
def test_no_declaration_makes_a_decision_on_a_person_or_a_reveal_harmless(name: str) -> None:
    for effect in ("speaks_to_person", "offers_content", "asks_a_person"):
        said = problems({"action": name, "age_bands": ["adult"]}, actions={name: effect})
        assert f"{name} is refused: its `" in said


@pytest.mark.parametrize("name", NUDGES)
def test_what_nudges_is_declared_as_content_for_adults(name: str) -> None:
    assert "declare it as `offers_content`" in problems(actions={name: "speaks_to_person"})
    content = {name: "offers_content"}
    assert "may nudge a minor" in problems({"action": name}, actions=content)
    assert "may nudge a minor" in problems(
        {"action": name, "age_bands": ["adult", "unknown"]}, actions=content
    )
    assert problems({"action": name, "age_bands": ["adult"]}, actions=content) == ""


@pytest.mark.parametrize(
    "name",
    ["fire_alarm", "level_class", "encourage_team_play", "explain_share_of_cake", "open_door",
     "band_music", "show_banner", "greet", "dim_lights", "rest_on_bench"],
)  # fmt: skip
def test_harmless_names_can_be_declared(name: str) -> None:
    assert problems({"action": name}, actions={name: "changes_scene_for_person"}) == ""


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"wave": "reveals_state"}, "'reveals_state' is no effect to declare: name one of"),
        ({"wave": "mirrors"}, "'mirrors' is no effect to declare"),
        ({"encourage": "offers_content"}, "encourage is an action that ships"),
        ({"mirror": "speaks_to_person"}, "mirror is an action that ships"),
        ({"Mirror": "speaks_to_person"}, "Mirror is refused"),
    ],
)
def test_effects_are_a_closed_set(declared: dict[str, str], said: str) -> None:
    assert said in problems(actions=declared)


def test_every_shipped_action_has_an_effect_and_only_content_is_for_adults() -> None:
    table = action_table()
    assert set(table.actions.values()) <= set(table.effects)
    assert {name for name, effect in table.effects.items() if effect.adults_only} == {
        "offers_content"
    }
    assert {name for name, effect in table.effects.items() if effect.seen_by == "others"} == {
        "mirrors"
    }
    assert not any(e.declarable for e in table.effects.values() if e.seen_by == "others")


def test_replies_are_read_too() -> None:
    lists = {"replies": ["buy-gems-now", "you-are-banned", "tell-your-teacher", "well-done"]}
    minor = {"action": "encourage", "age_bands": ["child"]}
    assert "gives the reply buy-gems-now" in problems(minor | {"reply": "buy-gems-now"}, **lists)
    adult = {"action": "encourage", "age_bands": ["adult"]}
    assert problems(adult | {"reply": "buy-gems-now"}, **lists) == ""
    for reply in ("you-are-banned", "tell-your-teacher"):
        assert f"gives the reply {reply}" in problems(adult | {"reply": reply}, **lists)
    assert problems(minor | {"reply": "well-done"}, **lists) == ""


def test_nobody_mirrors_for_another_purpose() -> None:
    assert "would mirror for other purposes" in problems(
        {"action": "mirror", "purposes": ["recommendation"]}
    )
    assert problems({"action": "mirror"}) == ""
    assert problems({"action": "mirror", "purposes": ["avatar_mirroring"]}) == ""


REMINDER = {"regions": ["EU"], "after_minutes": 60, "action": "remind_of_use", "article": "GDPR"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"action": "ban_and_tell_parents"}, "reminder 1 asks for ban_and_tell_parents"),
        ({"action": "wave"}, "reminder 1 asks for 'wave', which is no known action"),
        ({"action": "suggest_company"}, "reminder 1 may nudge a minor"),
        ({"action": "lower_difficulty"}, "a reminder speaks to the person alone"),
        ({"action": "mirror"}, "a reminder speaks to the person alone"),
        ({"reply": "pause"}, ""),
        ({"reply": "pasue"}, "'pasue', which `replies` does not list: did you mean `pause`?"),
        ({"reply": "buy-now"}, "reminder 1 gives the reply buy-now"),
    ],
)
def test_a_reminder_is_read_as_a_rule_is(change: dict[str, Any], said: str) -> None:
    found = problems(
        {"action": "encourage"}, replies=["pause", "buy-now"], reminders=[REMINDER | change]
    )
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    "change", [{"reply": "=HYPERLINK(1)\x1b[31m"}, {"article": ""}, {"article": "a\u200bb"},
               {"action": "say it"}, {"since": 86_400}]
)  # fmt: skip
def test_a_reminder_holds_codes_a_law_and_a_day(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        problems({"action": "encourage"}, reminders=[REMINDER | change])


def test_words_are_read_in_the_forms_in_which_they_are_written() -> None:
    assert read_as("banning", "forbidden") == "banning"
    assert read_as("band", "forbidden") is None
    assert read_as("ReWard", "nudging") is not None
