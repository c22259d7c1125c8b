"""How far answers with differential privacy are from the truth, and what they cost in time.

The truth is the same sums without noise: of each subject the mean over their windows, and of the
group the mean over subjects. Errors are means over ``_DRAWS`` answers.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.bench.serve.query import write_features
from pipelines.aggregate.accounting import epsilon_of
from pipelines.aggregate.answer import aggregate
from pipelines.aggregate.bound import GRID, Sums, sum_by_group
from pipelines.aggregate.noise import Plan, discrete_gaussian, plan_noise, release
from pipelines.aggregate.question import Question, parse_question
from pipelines.aggregate.settings import Aggregates
from pipelines.config import POLICIES
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS
from tests.pipelines.aggregate.attacker import advantage
from transforms.gating.policy import read_policy

_SUBJECTS = 500
_WINDOWS = 60
"""Windows of each subject: five minutes of them."""
_DRAWS = 300
_SETTINGS = Aggregates(epsilon=1.0, max_groups=1, max_windows=_WINDOWS)
_ROWS = 1_000_000
_COUNTS = ("subjects", "windows")


def measure(folder: Path) -> dict[str, float]:
    """Return errors at ε 1 on 500 subjects, and seconds of a question over a million windows.

    Subjects are in one group, or each of them in one of four.
    """
    whole = _errors(_question(), scenes=1)
    valence = _errors(_question("valence"), scenes=1)
    quarters = _errors(_question("valence", by="scene_id"), scenes=4)
    return {
        **{f"aggregate_{name}_error_percent": whole[name] for name in _COUNTS},
        "aggregate_valence_error": whole["valence"],
        "aggregate_confidence_error": whole["confidence"],
        "aggregate_confidence_error_percent": whole["confidence_percent"],
        "aggregate_share_joy_error": whole["share_joy"],
        "aggregate_valence_alone_error": valence["valence"],
        "aggregate_4_groups_shown_percent": 100 * quarters["shown"],
        "aggregate_4_groups_subjects_error_percent": quarters["subjects"],
        "aggregate_4_groups_valence_error": quarters["valence"],
        **_attacks(),
        "aggregate_1m_windows_s": _seconds(folder),
    }


def _question(*measures: str, by: str = "") -> Question:
    return parse_question(
        by=[by] if by else [],
        where=["purpose=recommendation"],
        since=None,
        until=None,
        measures=measures,
        policy=read_policy(POLICIES / "gate.yaml"),
    )


def _errors(question: Question, scenes: int) -> dict[str, float]:
    """Return mean errors of the groups that are shown, and the share of groups that are.

    Errors of counts are in percent of the truth, those of means in their own units.
    """
    sums = _sums(question, scenes)
    plan = plan_noise(question, _SETTINGS)
    truth = release(sums, plan, _SETTINGS, lambda values, _: values).to_pylist()
    exact = {tuple(row[name] for name in question.by): row for row in truth}
    errors: dict[str, list[float]] = {"shown": []}
    for _ in range(_DRAWS):
        answer = release(sums, plan, _SETTINGS, discrete_gaussian)
        errors["shown"].append(answer.num_rows / scenes)
        for row in answer.to_pylist():
            right = exact[tuple(row[name] for name in question.by)]
            for name in set(row) - set(question.by):
                error = abs(row[name] - right[name])
                errors.setdefault(f"{name}_percent", []).append(100 * error / abs(right[name]))
                errors.setdefault(name, []).append(error)
    means = {name: float(np.mean(found)) for name, found in errors.items()}
    return means | {name: means[f"{name}_percent"] for name in _COUNTS if name in means}


def _sums(question: Question, scenes: int) -> Sums:
    """Return the sums of subjects who stay in one scene each and are calm most of the time."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(_SUBJECTS), _WINDOWS)
    usual = rng.dirichlet(np.array([0.3, 0.1, 0.1, 0.8, 0.3, 0.2, 2.0]), _SUBJECTS)
    shown = np.array([rng.choice(len(EXPRESSIONS), _WINDOWS, p=p) for p in usual]).ravel()
    values = CIRCUMPLEX[shown] + rng.normal(0, 0.1, (len(who), 2)).astype(np.float32)
    abstained = pa.array(rng.random(len(who)) < 0.1)
    names = pa.array(EXPRESSIONS).take(pa.array(shown))
    windows = pa.table(
        {
            "subject_ref": pa.array([f"{n:032x}" for n in who.tolist()]),
            "scene_id": pa.array([f"scene-{n % scenes}" for n in who.tolist()]),
            "expression": pc.if_else(abstained, None, names),
            "valence": pa.array(values[:, 0]),
            "arousal": pa.array(values[:, 1]),
            "confidence": pa.array(rng.uniform(0.4, 1, len(who)).astype(np.float32)),
        }
    )
    return sum_by_group(
        windows,
        question,
        max_groups=_SETTINGS.max_groups,
        max_windows=_SETTINGS.max_windows,
        rng=rng,
    )


def _attacks() -> dict[str, float]:
    """Return how surely an attacker tells a person by one question, and by a whole budget.

    The advantage is the share of right guesses that somebody is there minus that of wrong ones.
    """
    settings = Aggregates()
    question = _question("valence")
    plan = plan_noise(question, settings)
    number = _questions_in_a_budget(plan, settings)
    without = _sums(question, 1)
    added = {"subjects": 1, "estimated": GRID, "valence": GRID}
    with_one = {name: without.of[name] + more for name, more in added.items()}
    worlds = without, Sums(without.groups, with_one)
    return {
        "aggregate_questions_in_a_budget": number,
        "aggregate_attack_one_question": advantage(worlds, plan, settings, 10_000),
        "aggregate_attack_whole_budget": advantage(worlds, plan, settings, 200, number),
    }


def _questions_in_a_budget(plan: Plan, settings: Aggregates) -> int:
    """Return how many questions of the default cost the default budget is for."""
    number = 0
    while True:
        left = settings.budget_delta - (number + 1) * plan.threshold_delta
        if left <= 0 or epsilon_of([plan.rho] * (number + 1), left) > settings.budget_epsilon:
            return number
        number += 1


def _seconds(folder: Path) -> float:
    tables = str(write_features(folder / "tables", _ROWS, 3))
    aggregate(tables, _question(by="day"), _SETTINGS, "analysts")  # engine and libraries load
    began = time.perf_counter()
    aggregate(tables, _question(by="scene_id"), _SETTINGS, "analysts")
    return time.perf_counter() - began
