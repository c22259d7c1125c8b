"""`affectstream policy check`: every problem of a policy at once, and what the gate makes of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.config import POLICIES
from pipelines.policy.check import find_problems

GATE = POLICIES / "gate.yaml"
POLICY = """version: v
high_stakes: []
judged_as: {escape-room: game}
replies: [hello]
rules:
  - {id: a, scenarios: [escape-room], state: joy, action: greet, reply: hello}
"""


def check(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return find_problems(path, GATE)


def test_the_shipped_policy_has_no_problem() -> None:
    assert find_problems(POLICIES / "scenarios.yaml", GATE) == []


def test_problems_stand_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    assert check(path, POLICY) == []
    text = POLICY.replace("joy", "jjoy").replace("greet", "announce").replace("[hello]", "[bye]")
    found = check(path, text)
    assert [line.split(":")[0] for line in found] == ["line 6"] * 3
    for said, part in zip(found, ("'jjoy'", "'hello'", "`announce`"), strict=True):
        assert part in said
    two = POLICY.replace("id: a", "id: a b").replace("version: v", "version: 3")
    assert [line.split(":")[0] for line in check(path, two)] == ["line 1", "line 6"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{escape-room: game}", "{other: game}",
         "line 6: the gate refuses every event of 'escape-room'"),
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
    path.write_text(POLICY.replace("joy", "jjoy").replace("greet", "ban"))
    done = CliRunner().invoke(app, ["policy", "check", str(path)])
    assert done.exit_code == 1
    assert done.stderr.count("error: line 6:") == 2
    path.write_text(POLICY)
    done = CliRunner().invoke(app, ["policy", "check", str(path)])
    assert (done.exit_code, done.stdout) == (0, "v: 1 rules, 0 states\n")
