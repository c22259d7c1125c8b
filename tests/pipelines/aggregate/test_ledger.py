"""The budget is spent once, for good, whoever asks at once and whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from pipelines.aggregate.answer import aggregate
from pipelines.aggregate.ledger import Asked, open_ledger
from pipelines.aggregate.settings import Aggregates
from schemas.errors import AffectstreamError
from tests.pipelines.aggregate.world import land, people, question, rows_of

WHO = "analysts"
ONE = Aggregates(budget_epsilon=1, budget_delta=1e-8)
"""A budget for just one question."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return land(tmp_path / "tables", people(120))


def test_a_spent_budget_refuses_new_questions_and_repeats_old_answers(root: Path) -> None:
    first = aggregate(root, question(), ONE, WHO)
    with pytest.raises(AffectstreamError, match=r"budget of analysts \(ε 1, δ 1e-08\) is spent"):
        aggregate(root, question(by=("hour",)), ONE, WHO)
    again = aggregate(root, question(), ONE, WHO)
    assert again.table.equals(first.table)
    raised = Aggregates(budget_epsilon=2, budget_delta=1e-7)
    assert aggregate(root, question(by=("hour",)), raised, WHO).spent.questions == 2
    with pytest.raises(AffectstreamError, match="is spent"):
        aggregate(root, question(by=("day",)), ONE, WHO)


def test_questions_are_composed_and_end_within_the_budget(root: Path) -> None:
    """Together they cost less than the sum of their ε, and never more than the budget."""
    settings = Aggregates()
    with open_ledger(root, settings, WHO) as ledger:

        def ask(number: int) -> None:
            ledger.debit(Asked("t", 0, str(number)), 0.0145, settings.delta / 2)

        with pytest.raises(AffectstreamError, match="is spent"):
            deque(map(ask, range(1_000)))
        spent = ledger.spent()
    assert spent.questions > settings.budget_epsilon / settings.epsilon
    assert 0.95 * settings.budget_epsilon < spent.epsilon <= settings.budget_epsilon
    assert spent.delta == pytest.approx(spent.questions * settings.delta / 2)


def test_a_spent_delta_refuses_too(root: Path) -> None:
    settings = Aggregates(delta=1e-8, budget_delta=1e-8, budget_epsilon=100)
    with open_ledger(root, settings, WHO) as ledger:
        ledger.debit(Asked("t", 0, "first"), 1e-9, 5e-9)
        with pytest.raises(AffectstreamError, match="is spent"):
            ledger.debit(Asked("t", 0, "second"), 1e-9, 5e-9)


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.aggregate import answer
from pipelines.aggregate.ledger import Ledger
from pipelines.aggregate.settings import Aggregates
from tests.pipelines.aggregate.world import question

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

place, name = sys.argv[2].split(".")
setattr({"answer": answer, "Ledger": Ledger}[place], name, die)
print(answer.aggregate(Path(sys.argv[1]), question(), Aggregates(), "analysts").table)
"""


@pytest.mark.parametrize(
    ("where", "paid"),
    [
        ("Ledger._check_budget", 0),  # before the debit
        ("Ledger.answer", 1),  # right after it
        ("answer.query", 1),  # before a row is read
        ("Ledger.keep_first", 1),  # when the answer is made, and not kept
        ("Ledger.spent", 1),  # when it is kept, and not shown
    ],
)
def test_a_process_that_is_killed_has_shown_nothing_that_was_not_paid(
    root: Path, where: str, paid: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, root, where], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not done.stdout
    with open_ledger(root, Aggregates(), WHO) as ledger:
        assert ledger.spent().questions == paid
    settings = ONE if paid else Aggregates()  # what was paid is answered out of a spent budget
    with open_ledger(root, Aggregates(), WHO) as ledger:
        kept = ledger.answer(1) if where == "Ledger.spent" else None
    answer = aggregate(root, question(), settings, WHO)
    assert (answer.paid_before, answer.spent.questions) == (bool(paid), 1)
    assert len(rows_of(answer.table)) == 1
    assert kept is None or answer.table.equals(kept)


RACERS = ("subjects", "windows", "valence")
RACE = """
import json, sys, time
from contextlib import nullcontext
from pathlib import Path
from pipelines.aggregate import ledger
from pipelines.aggregate.answer import aggregate
from pipelines.aggregate.ledger import Ledger
from pipelines.aggregate.settings import Aggregates
from schemas.errors import AffectstreamError
from tests.pipelines.aggregate.world import question

root, measure, locked = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "locked"
check = Ledger._check_budget

def check_slowly(*arguments):
    check(*arguments)
    time.sleep(0.5)

Ledger._check_budget = check_slowly
if not locked:
    ledger.transaction = lambda _: nullcontext()
asked = question(measures=(measure,))
settings = Aggregates(budget_epsilon=1, budget_delta=1e-8)
(root / measure).touch()
while not (root / "go").exists():
    time.sleep(0.01)
try:
    print(json.dumps(aggregate(root, asked, settings, "analysts").table.to_pylist()))
except AffectstreamError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.parametrize(("lock", "answered"), [("locked", 1), ("open", len(RACERS))])
def test_processes_that_ask_at_once_cannot_overspend(root: Path, lock: str, answered: int) -> None:
    """Without the transaction of a debit all would pass the check before one has paid."""
    command = [sys.executable, "-c", RACE, root]
    racers = [
        subprocess.Popen([*command, measure, lock], stdout=subprocess.PIPE, text=True)
        for measure in RACERS
    ]
    while not all((root / measure).exists() for measure in RACERS):
        assert all(racer.poll() is None for racer in racers)
        time.sleep(0.05)
    (root / "go").touch()
    said = [json.loads(racer.communicate(timeout=120)[0]) for racer in racers]
    assert sum(isinstance(each, list) for each in said) == answered
    assert all("is spent" in each for each in said if isinstance(each, str))


def test_of_two_answers_to_one_question_the_first_counts(root: Path) -> None:
    first, second = (aggregate(root, question(), Aggregates(ledger=root / n), WHO) for n in "ab")
    with open_ledger(root, Aggregates(), WHO) as ledger:
        number, _ = ledger.debit(Asked("t", 0, "q"), 0.01, 1e-9)
        assert ledger.keep_first(number, first.table).equals(first.table)
        assert ledger.keep_first(number, second.table).equals(first.table)
    assert not second.table.equals(first.table)


def test_a_ledger_that_cannot_be_used_answers_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database " * 100)
    for ledger in (tmp_path / "text", tmp_path / "no folder" / "file", tmp_path):
        with pytest.raises(AffectstreamError, match="and nothing is answered without it"):
            aggregate(root, question(), Aggregates(ledger=ledger), WHO)
    with pytest.raises(AffectstreamError, match=r"name a file as `aggregates\.ledger`"):
        Aggregates().ledger_file("s3://bucket/tables")


def test_only_its_owner_may_read_the_ledger(root: Path) -> None:
    aggregate(root, question(), Aggregates(), WHO)
    assert (root / "_aggregates.sqlite").stat().st_mode & 0o077 == 0
    assert os.listdir(root).count("_aggregates.sqlite") == 1
