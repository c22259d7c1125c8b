"""Replies that suit their strategy, as the shipped text recogniser sees them."""

import pytest

from model_serving.loader import load_recogniser
from model_serving.reply.prompt import Cue
from model_serving.reply.suits import Suitability
from pipelines.config import WEIGHTS

SORRY = "Oh no, I am so sorry to hear that."
PRAISE = "That is really good! What are you doing?"


@pytest.fixture(scope="module")
def suitability() -> Suitability:
    return Suitability(load_recogniser("text", str(WEIGHTS / "text-compact"), None, "cpu"))


def test_comfort_is_not_glad_and_celebration_is_not_sad(suitability: Suitability) -> None:
    assert suitability.order([PRAISE, SORRY], Cue("en", "sadness", "comfort")) == [SORRY]
    assert suitability.order([SORRY, PRAISE], Cue("en", "joy", "celebrate")) == [PRAISE]


def test_praise_is_no_encouragement_of_the_sad(suitability: Suitability) -> None:
    hope = "I hope it gets better soon, you can do it."
    assert suitability.order([PRAISE, hope], Cue("en", "sadness", "encourage")) == [hope]
    assert PRAISE in suitability.order([PRAISE, hope], Cue("en", "joy", "encourage"))


def test_the_chance_is_of_what_suits_and_of_nothing_that_cannot_be_read(
    suitability: Suitability,
) -> None:
    comfort, cheer = (
        suitability.shares([SORRY, PRAISE], strategy) for strategy in ("comfort", "celebrate")
    )
    assert comfort[0] > 0.5 > comfort[1]
    assert cheer[1] > 0.5 > cheer[0]
    assert suitability.order([], Cue("en", "joy", "celebrate")) == []
