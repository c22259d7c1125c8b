"""Makes one reply: candidates within a time budget, through the filter and by what suits."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from model_serving.reply.hazard import Hazard, Side
from model_serving.reply.outcome import Outcome
from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.safety import find_hazards
from model_serving.reply.templates import read_fixed_texts

_LOG: Final = logging.getLogger(__name__)


class Candidates(Protocol):
    """What proposes replies: a language model, or a search."""

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        """Return replies, the best first; it should stop after ``within_s``."""


class Suits(Protocol):
    """What tells which replies suit a cue."""

    def order(self, replies: Sequence[str], cue: Cue) -> list[str]:
        """Return those that suit it, the best first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, or None where the template stands; ``outcome`` says why."""

    text: str | None
    outcome: Outcome

    @property
    def needs_review(self) -> bool:
        """Whether a person should look at what was said."""
        return self.outcome == "help"


@dataclass(slots=True)
class Replier:
    """Makes replies within ``budget_s`` seconds each, and counts how they came out.

    ``hazards`` counts what the filter found, in what persons said and in candidates.
    """

    candidates: Candidates
    budget_s: float
    suitability: Suits | None = None
    clock: Callable[[], float] = time.monotonic
    counts: Counter[Outcome] = field(default_factory=Counter)
    hazards: Counter[Hazard] = field(default_factory=Counter)

    def reply(self, cue: Cue, dialogue: Sequence[Turn] = (), *, seed: int = 0) -> Answer:
        """Return the reply to a cue and the dialogue before it; it never raises what a model does.

        A model's first answer may be late: it is then left out, and the template stands.
        """
        answer = self._answer(cue, dialogue, seed)
        self.counts[answer.outcome] += 1
        return answer

    def _answer(self, cue: Cue, dialogue: Sequence[Turn], seed: int) -> Answer:
        said = self._find_hazards([turn.text for turn in dialogue if turn.by_person], "person")
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
        chosen = self._choose(found, cue) if found else Answer(None, "nothing")
        return chosen if self.clock() - start <= self.budget_s else Answer(None, "late")

    def _choose(self, found: Sequence[str], cue: Cue) -> Answer:
        """Return the first of the candidates that is safe and suits best."""
        hazards = self._find_hazards(found, "reply")
        safe = [text for text, hazard in zip(found, hazards, strict=True) if hazard is None]
        if not safe:
            return Answer(None, "rejected")
        fitting = safe if self.suitability is None else self.suitability.order(safe, cue)
        return Answer(fitting[0], "made") if fitting else Answer(None, "unfitting")

    def _find_hazards(self, texts: Sequence[str], side: Side) -> list[Hazard | None]:
        found = find_hazards(texts, side)
        self.hazards.update(hazard for hazard in found if hazard is not None)
        return found
