"""Replies by search: the most similar words' reply, through the same filter as a model's."""

from model_serving.reply.prompt import Cue, Turn
from model_serving.reply.replier import Replier
from model_serving.reply.retrieval import Pair, RetrievedReplies

PAIRS = [
    Pair("考试没考好，很难过", "一次考试不能说明一切。"),
    Pair("和朋友吵架了", "吵架之后你们聊过吗？"),
    Pair("朋友不理我了", "我的朋友也这样。"),
    Pair("工作压力很大", "Take a break"),
]
CUE = Cue("zh", "sadness", "comfort")


def test_similar_words_get_the_reply_that_they_got() -> None:
    found = RetrievedReplies(PAIRS)
    assert found.similar("昨天考试又没考好")[0][0] == 0
    dialogue = [Turn("昨天考试又没考好", True)]
    assert found.propose(CUE, dialogue, seed=0, within_s=1)[0] == "一次考试不能说明一切。"
    own, other = found.fits("昨天考试又没考好", [PAIRS[0].reply, PAIRS[1].reply])
    assert own > other


def test_the_same_words_are_a_cosine_of_one() -> None:
    found = RetrievedReplies(PAIRS)
    for number, pair in enumerate(PAIRS):
        best, cosine = found.similar(pair.said)[0]
        assert best == number
        assert abs(cosine - 1) < 1e-9


def test_what_tells_of_a_life_of_its_own_or_is_in_another_language_is_left_out() -> None:
    replier = Replier(RetrievedReplies(PAIRS), budget_s=60.0)
    assert replier.reply(CUE, [Turn("朋友不理我了", True)]).text == "吵架之后你们聊过吗？"
    assert replier.reply(CUE, [Turn("工作压力很大", True)]).outcome == "nothing"


def test_without_words_or_likeness_there_is_none() -> None:
    replier = Replier(RetrievedReplies(PAIRS), budget_s=60.0)
    assert replier.reply(CUE).outcome == "nothing"
    assert replier.reply(CUE, [Turn("xyz", True)]).outcome == "nothing"
