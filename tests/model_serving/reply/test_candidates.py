"""Candidates of a causal language model: a tiny one with random weights."""

import pytest
import torch

from model_serving.reply.candidates import CausalReplies, is_presentable, log_probabilities, rank
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
    drawn = [replies._draw(chat_messages(CUE, DIALOGUE), seed, 60.0) for seed in (1, 1, 2)]
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


def test_probabilities_are_those_of_the_whole_net(replies: CausalReplies) -> None:
    net, tokenizer = replies.net, replies.tokenizer
    messages = chat_messages(CUE, DIALOGUE)
    texts = ["Well done!", "Oh."]
    found = log_probabilities(net, tokenizer, messages, texts)
    prompt = prompt_ids(tokenizer, messages, ask=True)
    for text, value in zip(texts, found.tolist(), strict=True):
        reply = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        with torch.inference_mode():
            logits = net(input_ids=torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
        each = [logits[len(prompt) + place - 1, token].item() for place, token in enumerate(reply)]
        assert value == pytest.approx(sum(each) / len(each), abs=1e-5)


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
