"""Every case of the shipped policy against a table of verdicts that is written from the law."""

import csv
import datetime as dt
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipelines.config import POLICIES
from schemas.modalities import MODALITIES
from schemas.tables import TABLES
from transforms.gating.classes import classes_of
from transforms.gating.policy import Policy, read_policy
from transforms.gating.rules import NEEDS, Case

HERE = Path(__file__).parent
SHIPPED = POLICIES / "gate.yaml"
VERDICTS, CONSENTS = HERE / "verdicts.csv", HERE / "consents.csv"

BIO = [name for name, its in MODALITIES.items() if its.biometric]
SCENES = {"classroom": "Classroom-7b", "office": "main_office", "dating": "blind-dating"}
GROUPS = {
    "bio": BIO,
    "minors": ["child", "teen", "unknown"],
    "class": ["learning", "work", "game@classroom", "game@office"],
    "intimate": ["intimacy", "game@dating"],
    "watching": ["workplace_monitoring", "education_monitoring", "classroom_watch"],
}
PURPOSES = [
    "avatar_mirroring", "recommendation", "safety", "medical", "research", "training",
    *GROUPS["watching"], "selling",
]  # fmt: skip
REGIONS = ["EU", "US", "US-IL", "CN", "OTHER", "MARS"]
SCENARIOS = ["game", "social", "support", *GROUPS["class"], *GROUPS["intimate"], "casino"]
BANDS = ["child", "teen", "adult", "unknown", "senior"]
WAYS = ["text", *BIO, "context", "gaze"]
EVIDENCE = [
    (),
    ("medical_reason", "safety_reason"),
    ("human_oversight",),
    ("eu_registration",),
    ("human_oversight", "eu_registration"),
    ("medical_reason", "safety_reason", "human_oversight", "eu_registration"),
]


def rows_of(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def first_day(row: dict[str, str]) -> dt.date:
    return dt.date.fromisoformat(row["from"]) if row["from"] else dt.date.min


@cache
def days() -> list[dt.date]:
    """The first day of each rule, whether table or policy has it, and the day before."""
    policy = read_policy(SHIPPED)
    told = {first_day(row) for path in (VERDICTS, CONSENTS) for row in rows_of(path)}
    told |= {rule.since for rule in (*policy.rules, *policy.consent)}
    told |= {rule.until + dt.timedelta(1) for rule in policy.rules if rule.until < dt.date.max}
    return sorted(day - dt.timedelta(n) for day in told - {dt.date.min} for n in (0, 1))


def places(said: str, values: list[str]) -> list[int]:
    """Where what a cell of the table says stands among the values of its dimension."""
    names = {one for part in said.split("|") for one in GROUPS.get(part, [part])}
    chosen = [n for n, value in enumerate(values) if said == "*" or value in names]
    assert chosen, f"{said!r} is none of {values}"
    return chosen


@cache
def expected() -> np.ndarray:
    """The row of the table for each case, which is its place on each of the axes."""
    axes = PURPOSES, REGIONS, SCENARIOS, BANDS, WAYS, ["yes", "no"], days(), EVIDENCE
    grid = np.full([len(axis) for axis in axes], -1)
    for number, row in reversed(list(enumerate(rows_of(VERDICTS)))):
        names = ("purpose", "region", "scenario", "age_band", "modality", "notice")
        chosen = [places(row[name], list(axis)) for name, axis in zip(names, axes, strict=False)]
        without = set(filter(None, row["without"].split("|")))
        chosen.append([n for n, day in enumerate(days()) if day >= first_day(row)])
        lacking = [n for n, has in enumerate(EVIDENCE) if not without or without - set(has)]
        grid[np.ix_(*chosen, lacking)] = number
    assert (grid >= 0).all()
    return grid


def case_of(purpose: str, region: str, scenario: str, band: str, way: str, day: dt.date,
            noticed: bool = True) -> Case:  # fmt: skip
    scenario, _, scene = scenario.partition("@")
    return Case(
        purpose, region, scenario, band, way, day, noticed, classes_of(SCENES.get(scene, "arena-7"))
    )


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Policy]:
    """The shipped policy with each set of evidence on record."""
    found = []
    for number, names in enumerate(EVIDENCE):
        path = tmp_path_factory.mktemp("evidence") / f"{number}.yaml"
        entry = {"reference": "https://records.example/1", "since": dt.date(2020, 1, 1)}
        path.write_text(yaml.safe_dump({"evidence": dict.fromkeys(names, entry)}))
        found.append(read_policy(SHIPPED, evidence=path))
    return found


UNLISTED = {"selling", "MARS", "casino", "senior", "gaze"}


def broken(
    policies: list[Policy], only: set[int] | None = None, on: set[dt.date] | None = None
) -> Iterator[tuple[Any, ...]]:
    """Yield each case that the policies judge otherwise than its row of the table.

    What is not listed is refused as that on each day, so one day will do for it.
    """
    rows = [((row["code"], row["article"]) if row["code"] else None) for row in rows_of(VERDICTS)]
    grid = expected()
    axes = [list(enumerate(axis)) for axis in (PURPOSES, REGIONS, SCENARIOS, BANDS, WAYS)]
    for (p, purpose), (r, region), (s, scenario), (b, band), (w, way) in itertools.product(*axes):
        unlisted = UNLISTED & {purpose, region, scenario, band, way}
        for n, noticed in enumerate((True, False)):
            for d, day in list(enumerate(days()))[: 1 if unlisted else None]:
                if on is not None and day not in on:
                    continue
                case = case_of(purpose, region, scenario, band, way, day, noticed)
                for e, policy in enumerate(policies if noticed else policies[:1]):
                    row = int(grid[p, r, s, b, w, n, d, e])
                    if (only is None or row in only) and policy.judge(case) != rows[row]:
                        yield row, rows[row], policy.judge(case), case, EVIDENCE[e]


def test_every_case_is_judged_as_the_table_says(policies: list[Policy]) -> None:
    found = next(broken(policies), None)
    assert found is None, "row {}, {}, is broken: the gate says {} to {} with {}".format(*found)


RULES = read_policy(SHIPPED).rules


@pytest.mark.parametrize("number", range(len(RULES)))
def test_a_rule_that_is_missing_breaks_its_row(policies: list[Policy], number: int) -> None:
    """So the table would find a policy with a hole, and each row is about something."""
    rules = tuple(rule for n, rule in enumerate(RULES) if n != number)
    without = [policy.model_copy(update={"rules": rules}) for policy in policies]
    gone = RULES[number]
    told = [(row["code"], row["article"]) for row in rows_of(VERDICTS)]
    wanted = ("", "") if gone.code is None else (str(gone.code), gone.article)
    only = {n for n, said in enumerate(told) if said == wanted}
    assert only
    found = next(broken(without, only), None)
    assert found is not None
    assert found[0] in only


@pytest.mark.parametrize("number", [n for n, rule in enumerate(RULES) if rule.since > dt.date.min])
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_date_that_is_a_day_off_breaks_a_row(
    policies: list[Policy], number: int, shift: int
) -> None:
    moved = RULES[number].model_copy(
        update={"since": RULES[number].since + dt.timedelta(days=shift)}
    )
    rules = (*RULES[:number], moved, *RULES[number + 1 :])
    around = {RULES[number].since - dt.timedelta(days=1), RULES[number].since}
    shifted = [policy.model_copy(update={"rules": rules}) for policy in policies]
    assert next(broken(shifted, on=around), None)


def test_every_case_asks_for_the_consent_that_the_table_says() -> None:
    policy = read_policy(SHIPPED)
    listed = PURPOSES[:8], REGIONS[:5], ["game"], BANDS[:4], WAYS[:5]
    for values in itertools.product(*listed, days()):
        case = case_of(*values)
        needs = {
            row["needs"]
            for row in rows_of_consents()
            if all(
                value in (row[name], None) or row[name] == "*" or value in GROUPS.get(row[name], [])
                for name, value in (
                    ("purpose", case.purpose), ("region", case.region),
                    ("age_band", case.age_band), ("modality", case.modality),
                )
            )
            and case.day >= first_day(row)
        }  # fmt: skip
        assert policy.verdict(case).needs == sum(NEEDS[need] for need in needs), case


@cache
def rows_of_consents() -> list[dict[str, str]]:
    return rows_of(CONSENTS)


def test_no_table_of_estimates_is_kept_for_more_than_three_years() -> None:
    """BIPA 15(a); what proves a consent is no estimate."""
    kept = {name: table.retention_days for name, table in TABLES.items() if table.subject}
    del kept["consent_ledger"]
    assert len(kept) >= 5
    assert all(days is not None and days <= 3 * 365 for days in kept.values()), kept
