"""Where the stakes are high by what a scenario is, and names that claim to be another."""

from typing import Any

import pytest

from schemas.settings import Decisions
from tests.transforms.deciding.test_rules import batch
from tests.transforms.test_decide import feature
from transforms.decide import Decider
from transforms.deciding.scenarios import ScenarioPolicy
from transforms.gating.classes import classes_of


def given(scenario: str, **more: Any) -> dict[str, Any]:
    rule = {"id": "a", "scenarios": [scenario], "state": "joy", "action": "encourage",
            "reply": None}  # fmt: skip
    own = {name: more.pop(name) for name in ("needs_person",) if name in more}
    return {"version": "v", "high_stakes": [], "rules": [rule | own]} | more


def problems(scenario: str, **more: Any) -> str:
    found: list[tuple[str, Any]] = []
    ScenarioPolicy.model_validate(given(scenario, **more), context=found)
    return " | ".join(said for said, _ in found)


WEIGHTY = [
    ("support", {}), ("work", {}), ("health", {}),
    ("calm-room", {"support": None}), ("clinic", {"support": None}), ("till-7", {"work": None}),
    ("hospital-lobby", {}), ("prison", {}), ("border-control", {}), ("retail-staff", {}),
    ("exam-hall", {"learning": None}), ("grading", {}), ("医院", {}),
]  # fmt: skip


@pytest.mark.parametrize(("scenario", "judged"), WEIGHTY)
def test_no_rule_acts_alone_where_the_stakes_are_high(
    scenario: str, judged: dict[str, None]
) -> None:
    more = {"judged_as": dict.fromkeys([scenario] if judged else [], *judged)}
    said = problems(scenario, needs_person=False, **more)
    assert f"a acts alone in {scenario}, where the stakes are high" in said
    policy = ScenarioPolicy.model_validate(given(scenario, **more))
    row = feature(0, "joy", scenario=scenario, purpose="research")
    weak = feature(1, "joy", scenario=scenario, purpose="research", abstained=True)
    out, reviews, _ = Decider(policy, Decisions()).drain([batch([row, weak])], None)
    assert out["needs_person"].to_pylist() == [True, False]
    assert reviews["reason"].to_pylist() == ["high_stakes", "low_confidence"]


@pytest.mark.parametrize("scenario", ["game", "social", "learning", "escape-room", "tennis"])
def test_a_rule_acts_alone_where_they_are_not(scenario: str) -> None:
    judged = {} if scenario in ("game", "social", "learning") else {scenario: "game"}
    assert problems(scenario, needs_person=False, judged_as=judged) == ""


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [
        ("hospital", "game", "reads as health_care: judge it as support"),
        ("therapy", "social", "reads as health_care"),
        ("医院", "game", "reads as health_care"),
        ("h0spital", "game", "reads as health_care"),
        ("prison", "game", "reads as justice: no scenario of the gate stands for that"),
        ("court", "support", "reads as justice"),
        ("border-control", "social", "reads as justice"),
        ("retail-staff", "social", "reads as workplace: judge it as work"),
        ("cashier-till-3", "social", "reads as workplace"),
        ("driver cab", "game", "reads as workplace"),
        ("nurse station", "social", "reads as"),
        ("hr", "social", "reads as workplace"),
        ("final-exams", "game", "reads as"),
    ],
)
def test_no_name_of_a_protected_class_is_judged_as_another(
    name: str, other: str, said: str
) -> None:
    assert said in problems("game", judged_as={name: other})


@pytest.mark.parametrize(
    ("name", "other"),
    [("hospital", "support"), ("health", "support"), ("retail-staff", "work"), ("shop", "social"),
     ("hospitality-suite", "social"), ("tourism", "social"), ("retail", "social")],
)  # fmt: skip
def test_what_is_judged_as_its_class_or_is_of_none_is_read(name: str, other: str) -> None:
    assert problems("game", judged_as={name: other}) == ""


@pytest.mark.parametrize(
    "name",
    ["retail-staff", "cashier-till-3", "nurse station", "driver cab", "hr", "till-operators",
     "front_desk", "ShopFloor", "taxi-drivers", "Payroll", "H.R. office"],
)  # fmt: skip
def test_names_of_places_of_work_read_as_it(name: str) -> None:
    assert "workplace" in classes_of(name)


@pytest.mark.parametrize(
    "name",
    [
        "hospital",
        "prison",
        "court",
        "dragon-rider",
        "screwdriver",
        "chris",
        "stafford",
        "clerkenwell",
    ],
)
def test_a_game_stays_one_at_the_gate(name: str) -> None:
    """Words of high stakes bind policies; they close nothing for a hospital level."""
    assert classes_of(name) == frozenset()


@pytest.mark.parametrize(
    "name",
    ["gаme", "g\x1b[31m", "ga\u200bme", "=game", "@room", "ро\u200dom", "rοοm", "\u202eemag", "-",
     "x" * 129, "a\nb"],
)  # fmt: skip
def test_a_name_that_cannot_be_read_is_refused(name: str) -> None:
    assert problems(name, judged_as={name: "game"}) != ""
    assert name == "-" or problems("game", version=name) != ""


@pytest.mark.parametrize("name", ["Küche", "кухня", "客厅", "salle-à-manger", "αίθουσα"])
def test_names_of_any_one_script_are_read(name: str) -> None:
    assert problems(name, judged_as={name: "game"}) == ""
    assert problems("game", version=name) == ""
