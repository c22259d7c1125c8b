"""`affectstream policy check`: every problem of a policy at once, and what the gate makes of it."""

import datetime as dt
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.config import POLICIES
from pipelines.policy.check import find_problems, find_warnings
from transforms.gating.policy import read_policy

GATE = POLICIES / "gate.yaml"
POLICY = """version: v
high_stakes: []
judged_as: {escape-room: game}
replies: [hello]
rules:
  - {id: a, scenarios: [escape-room], state: joy, action: greet, reply: hello}
actions: {greet: speaks_to_person}
"""
TODAY = dt.date(2026, 11, 30)


def check(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return find_problems(path, GATE)


def test_the_shipped_policy_has_no_problem() -> None:
    assert find_problems(POLICIES / "scenarios.yaml", GATE) == []


def test_problems_stand_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    assert check(path, POLICY) == []
    text = (
        POLICY.replace("joy", "jjoy")
        .replace("action: greet", "action: announce")
        .replace("[hello]", "[bye]")
    )
    found = check(path, text)
    assert [line.split(": ")[:2] for line in found] == [[str(path), "line 6"]] * 3
    for said, part in zip(found, ("'jjoy'", "'hello'", "`announce`"), strict=True):
        assert part in said
    two = POLICY.replace("id: a", "id: a b").replace("version: v", "version: 3")
    assert [line.split(": ")[1] for line in check(path, two)] == ["line 1", "line 6"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("action: greet", "action: greet, purposes: [recommend]",
         "line 6: the gate knows no purpose 'recommend': did you mean `recommendation`?"),
        ("{escape-room: game}", "{escape-room: gmae}", "judged_as names gmae for escape-room"),
        ("rules:", "rules: [", "line "),
    ],
)  # fmt: skip
def test_what_no_event_can_follow_is_a_problem(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in POLICY
    (problem,) = check(tmp_path / "p.yaml", POLICY.replace(old, new))
    assert said in problem


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (problem,) = find_problems(tmp_path / "none.yaml", GATE)
    assert "none.yaml is not a scenario policy" in problem


def test_the_command_prints_each_problem_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY.replace("joy", "jjoy").replace("action: greet", "action: ban"))
    done = CliRunner().invoke(app, ["policy", "check", str(path)])
    assert done.exit_code == 1
    assert done.stderr.count(f"error: {path}: line 6:") == 2
    path.write_text(POLICY)
    done = CliRunner().invoke(app, ["policy", "check", str(path)])
    assert (done.exit_code, done.stdout) == (0, "v: rules: 1, states: 0\n")
    assert done.stderr == ""


def test_the_shipped_policy_says_which_rules_wait_for_the_gate() -> None:
    """Nobody who consented for a game is judged in a shop or clinic by an upgrade."""
    shipped = POLICIES / "scenarios.yaml"
    waits = {s.split("'")[1] for s in find_warnings(shipped, GATE, TODAY)}
    assert waits == {"health", "entertainment", "retail", "tourism"}
    assert not read_policy(GATE, shipped).judged_as
    done = CliRunner().invoke(app, ["policy", "check", str(shipped)])
    assert done.exit_code == 0
    assert done.stderr.count("warning: ") == 4
    assert "health-relax, health-help wait there" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{escape-room: game}", "{other: game}", "the gate refuses every event of 'escape-room'"),
        ("reply: hello", "reply: hello, until: 2026-11-29", "a follows no more: its `until`"),
        ("reply: hello", "reply: hello, age_bands: [child], purposes: [recommendation]",
         "a never follows: the gate refuses whatever"),
        ("rules:", "rules:\n  - {id: b, scenarios: [escape-room], state: joy, action: greet, "
         "reply: hello, priority: 0, after: 3, since: 2026-12-01}",
         "b never follows: a goes before it"),
        ("rules:", "states: {idle: {shows: x, expressions: [neutral]}}\nrules:",
         "no rule asks for the state idle"),
        ("[hello]", "[hello, bye]", "no rule gives the reply bye"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_a_warning(tmp_path: Path, old: str, new: str, said: str) -> None:
    path, base = tmp_path / "p.yaml", POLICY.replace("state: joy,", "state: joy, priority: 9,")
    assert check(path, base) == []
    assert find_warnings(path, GATE, TODAY) == []
    assert old in base
    assert check(path, base.replace(old, new, 1)) == []
    (warning,) = find_warnings(path, GATE, TODAY)
    assert said in warning
    assert warning.startswith(f"{path}: line ")


def test_the_gate_s_own_file_may_say_where_stakes_are_high(tmp_path: Path) -> None:
    gate, path = tmp_path / "gate.yaml", tmp_path / "p.yaml"
    gate.write_text(GATE.read_text() + "judged_as: {quiet-room: support}\n")
    path.write_text(POLICY.replace("escape-room", "quiet-room").replace("judged_as", "#"))
    (problem,) = find_problems(path, gate)
    assert "list quiet-room in `high_stakes`" in problem
    path.write_text(path.read_text().replace("high_stakes: []", "high_stakes: [quiet-room]"))
    assert find_problems(path, gate) == []


def test_what_a_policy_says_acts_on_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        POLICY.replace("escape-room", '"r\\e[31m"').replace("version: v", 'version: "=1"')
    )
    done = CliRunner().invoke(app, ["policy", "check", str(path)])
    assert done.exit_code == 1
    assert "\x1b" not in done.stderr
    assert "a spreadsheet reads" in done.stderr
