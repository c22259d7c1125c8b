"""The answer to a question: paid for, then made, then kept, then shown."""

import json
import secrets
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.aggregate.bound import sum_by_group
from pipelines.aggregate.ledger import Asked, Spent, open_ledger
from pipelines.aggregate.noise import Noise, Plan, discrete_gaussian, plan_noise, release
from pipelines.aggregate.question import TABLE, Question
from pipelines.aggregate.settings import Aggregates
from pipelines.tables.query import open_tables, query
from schemas.errors import AffectstreamError
from schemas.table import Root


@dataclass(frozen=True, slots=True)
class Answer:
    """What may be shown: the groups, and how they were made.

    An answer that was ``paid_before`` cost nothing now.
    """

    table: pa.Table
    question: Question
    plan: Plan
    version: int
    paid_before: bool
    spent: Spent


def aggregate(
    root: Root,
    question: Question,
    settings: Aggregates,
    audience: str,
    *,
    noise: Noise = discrete_gaussian,
) -> Answer:
    """Answer a question about the newest version of the features, with differential privacy.

    The loss is debited before any row is read, and stays debited whatever happens then; a question
    that was paid for and has no answer yet is answered when it is asked again.

    Raises:
        AffectstreamError: there is no such audience or table, the ledger cannot be used, or the
            budget is spent.
    """
    plan = plan_noise(question, settings)
    newest = _open(root)
    asked = Asked(newest.metadata().id, newest.version(), _key(question, settings))
    with open_ledger(root, settings, audience) as ledger:
        number, paid_before = ledger.debit(asked, plan.rho, plan.threshold_delta)
        table = ledger.answer(number)
        if table is None:
            made = _make(root, question, settings, plan, asked.version, noise)
            table = ledger.keep_first(number, made)
        return Answer(table, question, plan, asked.version, paid_before, ledger.spent())


def _open(root: Root) -> DeltaTable:
    tables = open_tables(root)
    if TABLE not in tables:
        message = f"{root} has no {TABLE}: give the folder that a replay or live job writes to"
        raise AffectstreamError(message)
    return tables[TABLE]


def _key(question: Question, settings: Aggregates) -> str:
    """Return what an answer depends on beside the table: the question, and how it is answered."""
    names = ("epsilon", "delta", "min_subjects", "max_groups", "max_windows")
    chosen = {name: getattr(settings, name) for name in names}
    return json.dumps(asdict(question) | chosen)


def _make(
    root: Root, question: Question, settings: Aggregates, plan: Plan, version: int, noise: Noise
) -> pa.Table:
    sums = sum_by_group(
        query(root, question.sql, as_of={TABLE: version}),
        question,
        max_groups=settings.max_groups,
        max_windows=settings.max_windows,
        rng=np.random.default_rng(secrets.randbits(128)),
    )
    return release(sums, plan, settings, noise)
