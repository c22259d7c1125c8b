"""What a reply comes to: the first candidate that passes, help, or the template."""

from collections.abc import Sequence

import pytest

from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.replier import Replier
from model_serving.reply.templates import read_fixed_texts
from tests.support.clock import Clock

CUE = Cue("en", "sadness", "comfort")


class Scripted:
    """A model that answers with what it is given, or raises it."""

    def __init__(self, found: list[str] | Exception, clock: Clock, takes_s: float = 0.1) -> None:
        self.found, self.clock, self.takes_s, self.asked = found, clock, takes_s, 0

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        self.asked += 1
        self.clock.now += self.takes_s
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def replier(found: list[str] | Exception, takes_s: float = 0.1) -> tuple[Replier, Scripted]:
    clock = Clock()
    model = Scripted(found, clock, takes_s)
    return Replier(model, budget_s=1.0, clock=clock), model


def test_the_first_candidate_that_passes_is_the_reply() -> None:
    made, _ = replier(["My dog died too.", "You should take two aspirin.", "I'm so sorry."])
    answer = made.reply(CUE)
    assert (answer.text, answer.outcome, answer.needs_review) == ("I'm so sorry.", "made", False)


@pytest.mark.parametrize(
    ("found", "takes_s", "outcome"),
    [
        (["You are an idiot.", "I love you."], 0.1, "rejected"),
        ([], 0.1, "nothing"),
        (["I'm so sorry."], 1.1, "late"),
        (RuntimeError("subject 17 said: …"), 0.1, "failed"),
    ],
)
def test_else_the_template_stands_and_is_counted(
    found: list[str] | Exception, takes_s: float, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = replier(found, takes_s)
    assert made.reply(CUE).text is None
    assert made.counts == {outcome: 1}
    assert "subject 17" not in caplog.text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_harm_to_oneself_gets_the_help_text_and_no_model(language: str) -> None:
    made, model = replier(["Cheer up!"])
    said = {"en": "I want to kill myself", "zh": "我想自杀"}[language]
    dialogue = [Turn(said, True), Turn("…", False), Turn("well", True)]
    answer = made.reply(Cue(language, "sadness", "comfort"), dialogue)
    assert answer.text == read_fixed_texts().help[language]
    assert answer.needs_review
    assert model.asked == 0


def test_what_no_reply_may_be_made_to_is_not_put_to_the_model() -> None:
    made, model = replier(["Sure!"])
    answer = made.reply(CUE, [Turn("which medication helps with anxiety?", True)])
    assert (answer.text, answer.outcome, answer.needs_review) == (None, "refused", False)
    assert model.asked == 0


class Last:
    """Finds that the last of the replies alone suits, or none."""

    def __init__(self, *, any_suits: bool) -> None:
        self.any_suits = any_suits

    def order(self, replies: Sequence[str], cue: Cue) -> list[str]:
        return list(replies[-1:]) if self.any_suits else []


@pytest.mark.parametrize(
    ("any_suits", "text", "outcome"),
    [(True, "I'm so sorry.", "made"), (False, None, "unfitting")],
)
def test_what_suits_is_chosen_of_what_is_safe(
    any_suits: bool, text: str | None, outcome: str
) -> None:
    made, _ = replier(["How great!", "I'm so sorry.", "My dog died too."])
    made.suitability = Last(any_suits=any_suits)
    answer = made.reply(CUE)
    assert (answer.text, answer.outcome) == (text, outcome)
    assert made.hazards == {"human_claim": 1}


def test_what_the_other_side_said_is_no_person_s_word() -> None:
    made, _ = replier(["I'm so sorry."])
    dialogue = [Turn("hm", True), Turn("kill yourself", False), Turn("that was rude", True)]
    assert made.reply(CUE, dialogue).outcome == "made"
