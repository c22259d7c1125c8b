"""Candidates of a causal language model: a tiny one with random weights."""

import pytest
import torch

from model_serving.reply.candidates import CausalReplies, SentenceEnd, is_presentable, rank
from model_serving.reply.prompt import Cue, Turn, chat_messages, prompt_ids
from model_serving.reply.replier import Replier
from model_serving.reply.weights import load_causal
from tests.support.model_folders import tiny_causal

CUE = Cue("en", "joy", "celebrate")
DIALOGUE = [Turn("we won the raid", True)]


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> CausalReplies:
    net, tokenizer = load_causal(str(tiny_causal(tmp_path_factory.mktemp("causal"))))
    return CausalReplies(net, tokenizer)


def test_a_seed_gives_the_same_candidates_and_leaves_the_generator_alone(
    replies: CausalReplies,
) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    prompt = prompt_ids(replies.tokenizer, chat_messages(CUE, DIALOGUE), ask=True)
    drawn = [replies._draw(prompt, seed, 60.0, keep=False)[0] for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == replies.count


def test_garbage_is_no_candidate_and_the_template_stands(replies: CausalReplies) -> None:
    replier = Replier(replies, budget_s=60.0)
    outcomes = [replier.reply(CUE, DIALOGUE, seed=seed) for seed in range(5)]
    assert all(answer.text is None for answer in outcomes)
    assert replier.counts.total() == 5
    assert set(replier.counts) <= {"nothing", "rejected"}


def test_a_model_without_time_gives_nothing_in_the_end(replies: CausalReplies) -> None:
    replier = Replier(replies, budget_s=1e-6)
    assert replier.reply(CUE, DIALOGUE).outcome == "late"


@pytest.mark.parametrize("keep", [False, True])
def test_probabilities_are_those_of_the_whole_net(replies: CausalReplies, keep: bool) -> None:
    net, tokenizer = replies.net, replies.tokenizer
    prompt = prompt_ids(tokenizer, chat_messages(CUE, DIALOGUE), ask=True)
    texts = ["Well done!", "Oh."]
    for _ in range(2):
        found = replies.log_probabilities(prompt, texts, keep=keep)
        for text, value in zip(texts, found.tolist(), strict=True):
            reply = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            with torch.inference_mode():
                logits = net(input_ids=torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
            each = [logits[len(prompt) + at - 1, token].item() for at, token in enumerate(reply)]
            assert value == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_a_drawn_reply_has_the_probability_of_its_tokens_and_a_kept_prompt_changes_nothing(
    replies: CausalReplies,
) -> None:
    prompt = prompt_ids(replies.tokenizer, chat_messages(CUE), ask=True)
    drawn = [replies._draw(prompt, 3, 60.0, keep=keep) for keep in (False, True, True)]
    assert drawn[0][0] == drawn[1][0] == drawn[2][0]
    assert drawn[0][1] == pytest.approx(drawn[1][1])
    assert drawn[0][1] == pytest.approx(drawn[2][1])
    assert all(score < 0 for score in drawn[0][1])


def test_a_reply_ends_with_a_sentence_once_it_is_long_enough() -> None:
    stop = SentenceEnd(least=3, ends=frozenset({5}))
    scores = torch.zeros(2, 9)
    assert stop(torch.tensor([[1, 5], [5, 5]]), scores).tolist() == [False, False]
    assert stop(torch.tensor([[1, 2, 5], [1, 5, 2]]), scores).tolist() == [True, False]


def test_what_fits_anything_is_ranked_after_what_fits_here() -> None:
    here, anywhere = torch.tensor([-1.0, -1.2]), torch.tensor([-1.0, -3.0])
    assert rank(here, None) == [0, 1]
    assert rank(here, anywhere) == [1, 0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Well done!", True),
        ("", False),
        ("W", False),
        ("12 345 6", False),
        ("see http://a.b", False),
        ("call 5551234", False),
        ("no no no no", False),
        ("aaaaaaa", False),
        ("[joy; celebrate] Well done", False),
        ("太好了，恭喜你！", False),
        ("Well done! " * 30, False),
    ],
)
def test_a_reply_looks_like_one(text: str, shown: bool) -> None:
    assert is_presentable(text, CUE) is shown


def test_a_chinese_reply_is_written_in_chinese() -> None:
    cue = Cue("zh", "joy", "celebrate")
    assert is_presentable("太好了，恭喜你！", cue)
    assert not is_presentable("Well done!", cue)
