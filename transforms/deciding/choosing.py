"""What a decision says in the end: by no rule, by one, or as a law reminds of use."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.deciding.history import NOTHING
from transforms.deciding.matching import NO_RULE, Matched, Shown, join_codes
from transforms.deciding.rules import Rule
from transforms.deciding.scenarios import ScenarioPolicy


@dataclass(frozen=True, slots=True)
class Choice:
    """What follows in each row, and why."""

    action: np.ndarray
    reason: np.ndarray
    reply: np.ndarray
    rule_id: np.ndarray
    reasons: pa.Array
    needs_person: np.ndarray


def choose(
    policy: ScenarioPolicy,
    seen: Shown,
    matched: Matched,
    may_move: np.ndarray,
    hidden: np.ndarray,
    unseen: str,
    due: np.ndarray,
) -> Choice:
    """Choose for each row.

    ``may_move`` is where the person's own avatar may mirror, ``hidden`` where it may not, for the
    reason ``unseen``; ``due`` is the number of the reminder that is due, -1 for none.
    """
    count, rules = seen.rows.num_rows, policy.all_rules
    action = np.where(may_move, "mirror", "observe").astype(object)
    reason = np.where(hidden, unseen, "default").astype(object)
    reason[matched.settling] = "settling"
    reply, rule_id = np.full(count, None, object), np.full(count, None, object)
    weak = seen.rows["abstained"].to_numpy(zero_copy_only=False) | (seen.step.held == NOTHING)
    ruled = (matched.rule != NO_RULE) & ~weak
    which = matched.rule[ruled]
    action[ruled], reason[ruled] = _of_each(rules, "action")[which], "scenario_rule"
    reply[ruled], rule_id[ruled] = _of_each(rules, "reply")[which], _of_each(rules, "id")[which]
    needs_person = ruled & seen.is_one_of("scenario", policy.high_stakes)
    needs_person[ruled] |= np.array([bool(rule.needs_person) for rule in rules])[which]
    action[hidden & (action == "mirror")] = "observe"  # a rule may say so too
    action[weak], reason[weak] = "hold", "abstained"
    for number, reminder in enumerate(policy.reminders):  # before all else: a law asks
        now = due == number
        action[now], reason[now], reply[now] = reminder.action, "usage_reminder", reminder.reply
    reminded = due >= 0
    rule_id[reminded], needs_person[reminded] = None, False
    marks = matched.marks & ~(weak | reminded)[:, None]
    reasons = join_codes(reason, matched.codes, marks)
    return Choice(action, reason, reply, rule_id, reasons, needs_person)


def _of_each(rules: Sequence[Rule], name: str) -> np.ndarray:
    return np.array([getattr(rule, name) for rule in rules], object)
