"""What may be shown, and what never can: contradictions, bounds, sizes of a policy."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.deciding.envelopes import ROUNDING
from transforms.deciding.scenarios import ScenarioPolicy
from transforms.deciding.states import MOST_DEPTH, MOST_STATES

RULE = {"id": "a", "scenarios": ["game"], "state": "x", "action": "encourage", "reply": None}


def problems(states: dict[str, Any], *rules: dict[str, Any]) -> str:
    found: list[tuple[str, Any]] = []
    states = {name: {"shows": "it"} | state for name, state in states.items()}
    full = [RULE | {"id": f"r{n}"} | rule for n, rule in enumerate(rules or [{}])]
    policy = {"version": "v", "high_stakes": [], "states": states, "rules": full}
    ScenarioPolicy.model_validate(policy, context=found)
    return " | ".join(said for said, _ in found)


def bound(low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"at_least": low, "at_most": high}


LOW = {"where": {"valence": bound(high=-0.5)}}
HIGH = {"where": {"valence": bound(0.5)}}
ALONE = {"context": {"activity": "alone"}}


@pytest.mark.parametrize(
    ("states", "rule", "said"),
    [
        ({"low": LOW, "high": HIGH, "x": {"all_of": ["low", "high"]}}, {}, "no value of valence"),
        ({"sad": {"expressions": ["sadness"]}, "x": {"expressions": ["joy"], "all_of": ["sad"]}},
         {}, "two expressions at once"),
        ({"x": ALONE}, {"context": {"activity": "together"}}, "two values of the context field"),
        ({"one": ALONE, "two": {"context": {"activity": "b"}}, "x": {"all_of": ["one", "two"]}},
         {}, "two values of the context field activity"),
        ({"x": {"where": {"days_seen": bound(1.2, 1.8)}}}, {}, "no value of days_seen"),
        ({"x": {"where": {"low_days": bound(2.5, 2.7)}}}, {}, "no value of low_days"),
        ({"x": {"where": {"share_joy": bound(0.6), "share_anger": bound(0.6)}}}, {}, "more than 1"),
        ({"x": ALONE}, {"at_once": {"activity": "b"}, "after": 2}, "never follows at once"),
        ({"x": LOW}, {"context": {"a": "b"}, "at_once": {"a": "c"}}, "never follows at once"),
    ],
)  # fmt: skip
def test_what_can_never_be_shown_is_refused(
    states: dict[str, Any], rule: dict[str, Any], said: str
) -> None:
    assert said in problems(states, rule)


def test_what_may_be_shown_is_not() -> None:
    either = {"low": LOW, "high": HIGH, "x": {"any_of": ["low", "high"]}}
    assert problems(either) == ""
    assert problems({"x": ALONE}, {"context": {"activity": "alone", "door": "open"}}) == ""
    assert problems({"x": {"where": {"low_days": bound(2.5, 3.2)}}}) == ""
    assert problems({"x": {"where": {"share_joy": bound(0.6), "share_anger": bound(0.4)}}}) == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_bound_is_a_finite_number(value: float) -> None:
    for side in ("at_least", "at_most"):
        with pytest.raises(ValueError, match="finite"):
            problems({"x": {"where": {"valence": {side: value}}}})


@given(st.floats(-0.9, 0.9), st.sampled_from([-3.0, -0.5, 0.0, 0.5, 1.0, 1.9, 3.0, 10.0]))
def test_rules_overlap_where_matching_would_meet_both(edge: float, steps: float) -> None:
    """Matching lets a value be over a bound by ROUNDING: bounds so near meet in a window."""
    states = {"x": {"where": {"valence": bound(high=edge)}},
              "y": {"where": {"valence": bound(edge + steps * ROUNDING)}}}  # fmt: skip
    said = problems(states, {}, {"state": "y"})
    assert ("may both follow" in said) == (steps < 2)


def test_states_of_different_context_do_not_meet() -> None:
    states = {"x": ALONE, "y": {"context": {"activity": "together"}}}
    assert problems(states, {}, {"state": "y"}) == ""


def chain(length: int) -> dict[str, Any]:
    links = {f"s{n}": {"all_of": [f"s{n - 1}"]} for n in range(1, length)}
    return {"s0": {"expressions": ["joy"]}, **links}


@pytest.mark.parametrize("length", [MOST_DEPTH + 1, 1_200, 20_000])
def test_a_long_chain_of_states_is_refused_in_one_sentence(length: int) -> None:
    said = problems(chain(length) | {"x": LOW})
    assert f"s{MOST_DEPTH} ends a chain of {MOST_DEPTH + 1} states" in said
    assert (f"at most {MOST_STATES} are read" in said) == (length > MOST_STATES)
    assert problems(chain(MOST_DEPTH) | {"x": LOW}) == ""


def test_a_lattice_of_states_is_gone_through_once() -> None:
    """Twenty states a level, each of all below: 20^14 paths, which nobody could wait for."""
    states: dict[str, Any] = {f"s0_{k}": {"expressions": ["joy"]} for k in range(20)}
    for n in range(1, MOST_DEPTH - 1):
        below = [f"s{n - 1}_{k}" for k in range(20)]
        states |= {f"s{n}_{k}": {("any_of" if k % 2 else "all_of"): below} for k in range(20)}
    last = [f"s{MOST_DEPTH - 2}_{k}" for k in range(20)]
    assert problems(states | {"x": {"all_of": last}}) == ""


def test_a_circle_is_told_as_it_goes() -> None:
    states = {"x": {"all_of": ["y"]}, "y": {"any_of": ["z"]}, "z": {"all_of": ["x"]}}
    assert "in a circle, x → y → z → x: take one out" in problems(states)


def test_so_many_rules_are_refused() -> None:
    rules = [{"priority": n % 1001} for n in range(1_001)]
    assert problems({"x": LOW}, *rules) == "there are 1001 rules: at most 1000 are read"
