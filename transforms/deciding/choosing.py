"""What a decision says in the end: by no rule, by one, or as a law reminds of use."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from transforms.deciding.matching import NO_RULE, Matched, Shown, join_codes
from transforms.deciding.reminders import Reminder
from transforms.deciding.rules import Rule
from transforms.deciding.scenarios import ScenarioPolicy

_REMINDER: Final = "usage_reminder"
_ABSTAINED: Final = "abstained"


@dataclass(frozen=True, slots=True)
class Choice:
    """What follows in each row, and why.

    ``busy`` says that a person is wanted, or that a state is shown where the stakes are high.
    """

    action: np.ndarray
    reason: np.ndarray
    reply: np.ndarray
    rule_id: np.ndarray
    reasons: pa.Array
    needs_person: np.ndarray
    busy: np.ndarray


@dataclass(frozen=True, slots=True)
class Visibility:
    """Whose avatar may move.

    ``may_move`` (n,) is where the person's own avatar may mirror, ``hidden`` where it may not, for
    the reason ``reason``: that stands whatever else is so, since a player rests by it.
    """

    may_move: np.ndarray
    hidden: np.ndarray
    reason: str


def choose(policy: ScenarioPolicy, seen: Shown, matched: Matched, visible: Visibility) -> Choice:
    """Choose for each row by the rules, and by what may be seen."""
    count, rules = seen.rows.num_rows, policy.all_rules
    action = np.where(visible.may_move, "mirror", "observe").astype(object)
    reason = np.full(count, "default", object)
    reason[matched.settling] = "settling"
    reply, rule_id = np.full(count, None, object), np.full(count, None, object)
    matches, weak = matched.rule != NO_RULE, seen.weak
    stakes = seen.is_one_of("scenario", policy.of_high_stakes)
    wants_person = matches & stakes
    asks = np.array([bool(rule.needs_person) for rule in rules])
    wants_person[matches] |= asks[matched.rule[matches]]
    ruled = matches & ~weak
    which = matched.rule[ruled]
    action[ruled], reason[ruled] = _of_each(rules, "action")[which], "scenario_rule"
    reply[ruled], rule_id[ruled] = _of_each(rules, "reply")[which], _of_each(rules, "id")[which]
    action[~visible.may_move & (action == "mirror")] = "observe"  # a rule may say so too
    action[weak], reason[weak] = np.where(visible.hidden[weak], "observe", "hold"), _ABSTAINED
    codes = reason.copy()
    codes[visible.hidden] = [
        visible.reason if own == "default" else f"{visible.reason} {own}"
        for own in reason[visible.hidden]
    ]
    reasons = join_codes(codes, matched.codes, matched.marks & ~weak[:, None])
    reason[visible.hidden] = visible.reason
    needs_person = wants_person & ~weak
    busy = wants_person | (matched.settling & stakes)
    return Choice(action, reason, reply, rule_id, reasons, needs_person, busy)


def remind(
    choice: Choice,
    reminders: Sequence[Reminder],
    due: np.ndarray,
    visible: Visibility,
    weak: np.ndarray,
) -> Choice:
    """Return what follows where reminders are ``due``, by their number; -1 is none.

    That a window is ``weak`` (n,) stands behind in its reasons, since its expression is unsure.
    """
    now = due >= 0
    if not now.any():
        return choice
    action, reason, reply, rule_id = (
        column.copy() for column in (choice.action, choice.reason, choice.reply, choice.rule_id)
    )
    which = due[now]
    action[now] = _of_each(reminders, "action")[which]
    reply[now], rule_id[now] = _of_each(reminders, "reply")[which], None
    reason[now] = np.where(visible.hidden[now], visible.reason, _REMINDER)
    reasons = choice.reasons.to_numpy(zero_copy_only=False).copy()
    reasons[now] = reason[now]
    reasons[now & visible.hidden] += f" {_REMINDER}"
    reasons[now & weak] += f" {_ABSTAINED}"
    return replace(
        choice, action=action, reason=reason, reply=reply, rule_id=rule_id,
        reasons=pa.array(reasons, pa.string()),
    )  # fmt: skip


def _of_each(rules: Sequence[Rule | Reminder], name: str) -> np.ndarray:
    return np.array([getattr(rule, name) for rule in rules], object)
