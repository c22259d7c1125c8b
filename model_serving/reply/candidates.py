"""Candidates for a reply: drawn from a causal language model, and ranked by its own measure."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from model_serving.reply.prompt import Cue, Turn, chat_messages, prompt_ids
from model_serving.text.language import language_share

MOST_TOKENS: Final = 40
LIFT: Final = 0.5
"""How much of what a reply scores anywhere is taken off its score here (see ``rank``)."""
_WHOLE: Final = re.compile(r".*[.!?…。！？]", re.DOTALL)
_LETTER: Final = re.compile(r"[^\W\d_]")
_LATIN_WORD: Final = re.compile(r"[^\s\u2e80-\uffef]*[A-Za-z][^\s\u2e80-\uffef]*")
_BUILT: Final = re.compile(
    r"(?=.*[aeiouy])(?!.*[b-df-hj-np-tv-xz]{6})[\"'(]*(?:[a-z]|[A-Z])[a-z]{0,17}"
    r"(?:['’-][A-Za-z]{1,12})*[\"')]*[.,!?;:…]*|[A-Z]{1,4}[.,!?]*"
)
_IN_LANGUAGE: Final = 0.8
_FOREIGN: Final = re.compile(r"[\[\]{}<>|\\#*_@=]|https?:|www\.|\d{5}|(.)\1{4}|\b(\w+)( \2\b){2}")
_LONGEST, _SHORTEST = 200, 2  # characters

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class CausalReplies:
    """Draws replies from a causal language model.

    ``count`` are drawn at once, as one batch, from the likeliest 0.9 of each token's distribution
    at a temperature of 0.7.
    """

    net: Any
    tokenizer: Any
    count: int = 3

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        """Return what may be shown of the drawn replies, the best first.

        The same seed gives the same replies where the time suffices. After ``within_s`` it stops
        at the next token, and leaves out what has no end of a sentence yet.
        """
        started = time.monotonic()
        messages = chat_messages(cue, dialogue)
        drawn = self._draw(messages, seed, within_s)
        found = list(dict.fromkeys(text for text in drawn if is_presentable(text, cue)))
        if len(found) < 2 or time.monotonic() - started > within_s:
            return found
        plain = chat_messages(cue)
        scores = rank(
            log_probabilities(self.net, self.tokenizer, messages, found),
            log_probabilities(self.net, self.tokenizer, plain, found) if dialogue else None,
        )
        return [found[place] for place in scores]

    def _draw(self, messages: Messages, seed: int, within_s: float) -> list[str]:
        ids = torch.tensor([prompt_ids(self.tokenizer, messages, ask=True)])
        end = self.tokenizer.eos_token_id
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(seed)
            found = self.net.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=0.7,
                top_p=0.9,
                top_k=0,
                repetition_penalty=1.1,
                num_return_sequences=self.count,
                max_new_tokens=MOST_TOKENS,
                max_time=within_s,
                eos_token_id=end,
                pad_token_id=end,
            )
        return [self._read(row, ended=end in row.tolist()) for row in found[:, ids.shape[1] :]]

    def _read(self, row: Tensor, *, ended: bool) -> str:
        text = self.tokenizer.decode(row, skip_special_tokens=True).strip().partition("\n")[0]
        if ended:
            return str(text).strip()
        whole = _WHOLE.match(text)
        return whole[0].strip() if whole else ""


def is_presentable(text: str, cue: Cue) -> bool:
    """Return whether a text looks like a short reply in the cue's language, and like no garbage.

    Nine in ten of its words in Latin letters must be built like words.
    """
    if not _SHORTEST <= len(text) <= _LONGEST or _FOREIGN.search(text):
        return False
    words = _LATIN_WORD.findall(text)
    built = sum(_BUILT.fullmatch(word) is not None for word in words)
    letters = len(_LETTER.findall(text))
    return (
        2 * letters > len(text)
        and built >= 0.9 * len(words)
        and language_share(text, [cue.language]) > _IN_LANGUAGE
    )


def log_probabilities(
    net: Any, tokenizer: Any, messages: Messages, replies: Sequence[str]
) -> Tensor:
    """Return the mean log-probability of a token of each reply after these messages, (replies,)."""
    prompt = prompt_ids(tokenizer, messages, ask=True)
    rows = [
        [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for reply in replies
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([prompt + row + [0] * (longest - len(row)) for row in rows])
    asked = torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
    with torch.inference_mode():
        states = net.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        logits = net.get_output_embeddings()(states[:, len(prompt) - 1 : -1])
    chosen = logits.float().log_softmax(-1).gather(-1, ids[:, len(prompt) :, None])[..., 0]
    return (chosen * asked).sum(1) / asked.sum(1)


def rank(here: Tensor, anywhere: Tensor | None) -> list[int]:
    """Return the places of replies by their score, the best first.

    The score is the log-probability after the dialogue, less ``LIFT`` times that without it: what
    fits any dialogue fits this one no better.
    """
    score = here if anywhere is None else here - LIFT * anywhere
    order: list[int] = score.argsort(descending=True, stable=True).tolist()
    return order
