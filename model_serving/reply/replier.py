"""Makes one reply: candidates within a time budget, through the safety filter, or none."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.safety import find_hazard
from model_serving.reply.templates import read_fixed_texts

Outcome = Literal["made", "help", "refused", "rejected", "nothing", "late", "failed"]
_LOG: Final = logging.getLogger(__name__)


class Candidates(Protocol):
    """What proposes replies: a language model, or a search."""

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        """Return replies, the best first; it should stop after ``within_s``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, or None where the template stands; ``outcome`` says why.

    ``made``: a model's text. ``help``: the fixed help text, since the person's words tell of harm
    to themselves; a person should look at it. ``refused``: the person's words ask for what no
    reply may be made to. ``rejected``: the filter passed no candidate. ``nothing``, ``late`` and
    ``failed``: the model gave none, not in time, or an error.
    """

    text: str | None
    outcome: Outcome

    @property
    def needs_review(self) -> bool:
        """Whether a person should look at what was said."""
        return self.outcome == "help"


@dataclass(slots=True)
class Replier:
    """Makes replies within ``budget_s`` seconds each, and counts how they came out."""

    candidates: Candidates
    budget_s: float
    clock: Callable[[], float] = time.monotonic
    counts: Counter[Outcome] = field(default_factory=Counter)

    def reply(self, cue: Cue, dialogue: Sequence[Turn] = (), *, seed: int = 0) -> Answer:
        """Return the reply to a cue and the dialogue before it; it never raises what a model does.

        A model's first answer may be late: it is then left out, and the template stands.
        """
        answer = self._answer(cue, dialogue, seed)
        self.counts[answer.outcome] += 1
        return answer

    def _answer(self, cue: Cue, dialogue: Sequence[Turn], seed: int) -> Answer:
        said = [find_hazard(turn.text, "person") for turn in dialogue if turn.by_person]
        if "self_harm" in said:
            return Answer(read_fixed_texts().help[cue.language], "help")
        if any(said):
            return Answer(None, "refused")
        start = self.clock()
        try:
            found = self.candidates.propose(cue, dialogue, seed=seed, within_s=self.budget_s)
        except Exception as error:  # whatever a model of others raises, the template stands
            _LOG.warning("no reply was made: the model raised %s", type(error).__name__)
            return Answer(None, "failed")
        if self.clock() - start > self.budget_s:
            return Answer(None, "late")
        if not found:
            return Answer(None, "nothing")
        passed = next((text for text in found if find_hazard(text, "reply") is None), None)
        return Answer(passed, "rejected" if passed is None else "made")
