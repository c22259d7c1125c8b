"""What labels propose, in several languages, and what proposes nothing."""

import pytest

from model_serving.folders.names import propose, propose_labels
from schemas.vocabularies import EXPRESSIONS


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("happy", "joy"),
        ("HAPPINESS", "joy"),
        (" Joy ", "joy"),
        ("开心", "joy"),
        ("emotion_joy", "joy"),
        ("emotion: anger", "anger"),
        ("3. anger", "anger"),
        ("anger (1)", "anger"),
        ("0_neutral", "neutral"),
        ("ＳＡＤ", "sadness"),
        ("😡", "anger"),
        ("怒", "anger"),
        ("tristesse", "sadness"),
        ("Ekel", "disgust"),
        ("страх", "fear"),
        ("놀람", "surprise"),
        ("Valence", "valence"),
        ("no_emotion", "neutral"),
        ("noemotion", "neutral"),
        ("anger/annoyance", "anger"),
        ("Happiness (H)", "joy"),
        ("Surprise (Su)", "surprise"),
        ("is_joy", "joy"),
        ("fear_score", "fear"),
        ("sad label", "sadness"),
        ("__label__disgust", "disgust"),
        ("B-joy", "joy"),
        ("joy 😀", "joy"),
        ("😢 sadness", "sadness"),
        ("joy ❤️", "joy"),
        ("Frightened", "fear"),
        ("Sorrowful", "sadness"),
        ("Astonished", "surprise"),
        ("Disgusting", "disgust"),
        ("Normal", "neutral"),
        ("高兴情绪", "joy"),
        ("无情绪", "neutral"),
        ("高兴 (joy)", "joy"),
        ("惧", "fear"),
        ("ニュートラル", "neutral"),
    ],
)
def test_names_that_mean_an_expression(name: str, expression: str) -> None:
    assert propose(name) == expression


@pytest.mark.parametrize(
    "name",
    [
        "not happy",
        "not_happy",
        "不开心",
        "no anger",
        "non-neutral",
        "love",
        "contempt",
        "calm",
        "positive",
        "negative",
        "LABEL_0",
        "0",
        "",
        "happy/sad",
        "bittersweet joy",
        "other",
        "none",
        "curiosity",
        "平静",
        "平靜",
        "joy/love",
        "fear/anxiety",
        "joy 😢",
        "!joy",
        "is_not_joy",
        "不高兴情绪",
        "surprise (positive)",
        "emotion",
        "angry_cat",
        "a",
    ],
)
def test_names_that_propose_nothing(name: str) -> None:
    assert propose(name) is None


def test_every_expression_proposes_itself_and_a_value_once() -> None:
    assert [propose(name) for name in EXPRESSIONS] == list(EXPRESSIONS)
    assert propose_labels(["valence", "valencia"]) == {"valence": "valence", "valencia": None}
