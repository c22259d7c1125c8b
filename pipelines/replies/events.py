"""Replies as CloudEvents: one event for each reply, beside that of its decision."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from model_serving.reply.prompt import Cue, Language, Strategy
from model_serving.reply.replier import Replier
from pipelines.serve.events import COLUMNS, NOTICE, SOURCE, Event

REPLY = "affectstream.reply.v1"
SUFFIX = ":reply"
"""What the id of a reply's event has behind its decision's."""
REPLY_COLUMNS = (*COLUMNS, "age_band")
AI_NOTICE = f"Written by a machine, not by a person. {NOTICE}"
"""What every reply says of itself (EU AI Act Art. 50)."""
_ADULT = "adult"
_BY_RULE = "scenario_rule"
_PASSED_ON = ("session_ref", "scene_id", "scenario", "purpose", "reply_id", "policy_version")


def asking(rows: pa.Table, strategies: Mapping[str, Strategy]) -> pa.Table:
    """Return the decisions that ask for a reply: by a rule, on an adult, for one of these actions.

    What is due by law, what a person takes over and what is said to minors stay templates.
    """
    wanted = pc.is_in(rows["action"], pa.array(list(strategies), pa.string()))
    ruled = pc.and_(pc.equal(rows["reason"], _BY_RULE), pc.is_valid(rows["reply_id"]))
    return rows.filter(pc.and_(pc.and_(wanted, ruled), pc.equal(rows["age_band"], _ADULT)))


@dataclass(frozen=True, slots=True)
class ReplyEvents:
    """Makes the events of replies; ``made_by`` is the model's name, or its and the adapter's."""

    replier: Replier
    language: Language
    strategies: Mapping[str, Strategy]
    made_by: str
    now: Callable[[], datetime]

    def events(self, rows: pa.Table) -> Iterator[Event]:
        """Yield an event for each decision that asks for a reply and gets one.

        A reply depends on its decision and the time it may take, so that it is the same when it is
        asked for again. Those whose turn comes after their expiry get none.
        """
        for row in asking(rows, self.strategies).to_pylist():
            if row["expires_at"] <= self.now():
                self.replier.counts["late"] += 1
                continue
            strategy = self.strategies[row["action"]]
            cue = Cue(self.language, row["expression"] or "neutral", strategy)
            seed = int.from_bytes(row["decision_id"].encode()[:7])
            answer = self.replier.reply(cue, seed=seed)
            if answer.text is not None:
                yield self._event(row, cue, answer.text)

    def _event(self, row: Mapping[str, Any], cue: Cue, text: str) -> Event:
        event = {
            "specversion": "1.0",
            "type": REPLY,
            "source": SOURCE,
            "id": row["decision_id"] + SUFFIX,
            "subject": row["subject_ref"],
            "time": row["window_end"],
            "expirytime": row["expires_at"],
            "datacontenttype": "application/json",
            "data": {name: row[name] for name in _PASSED_ON}
            | {
                "decision_id": row["decision_id"],
                "text": text,
                "language": cue.language,
                "strategy": cue.strategy,
                "made_by": self.made_by,
                "notice": AI_NOTICE,
            },
        }
        return Event(row["subject_ref"], msgspec.json.encode(event))
