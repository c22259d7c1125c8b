"""Candidates for a reply: drawn from a causal language model, and ranked by its own measure."""

import copy
import functools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from model_serving.reply.prompt import Cue, Turn, chat_messages, prompt_ids
from model_serving.text.language import language_share

MOST_TOKENS: Final = 28
"""Of 200 held-out replies 98 % are no longer; one that is ends with its last whole sentence."""
ENOUGH_TOKENS: Final = 8
"""From this many on, the end of a sentence is the end of the reply."""
LIFT: Final = 0.5
"""How much of what a reply scores anywhere is taken off its score here (see ``rank``)."""
_MOST_PROMPTS: Final = 32
_END: Final = ".!?…。！？"
_WHOLE: Final = re.compile(rf".*[{_END}]", re.DOTALL)
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

    ``count`` are drawn at once, as one batch over one reading of the prompt, from the likeliest 0.9
    of each token's distribution at a temperature of 0.7. What was read of a prompt without a
    dialogue is kept: there is one for each cue.
    """

    net: Any
    tokenizer: Any
    count: int = 3
    _read: dict[tuple[int, ...], Any] = field(default_factory=dict)

    def propose(
        self, cue: Cue, dialogue: Sequence[Turn], *, seed: int, within_s: float
    ) -> list[str]:
        """Return what may be shown of the drawn replies, the best first.

        The same seed gives the same replies where the time suffices. After ``within_s`` it stops
        at the next token, and leaves out what has no end of a sentence yet.
        """
        started = time.monotonic()
        prompt = prompt_ids(self.tokenizer, chat_messages(cue, dialogue), ask=True)
        drawn, here = self._draw(prompt, seed, within_s, keep=not dialogue)
        scores = {
            text: score
            for text, score in zip(drawn, here, strict=True)
            if is_presentable(text, cue)
        }
        found = list(scores)
        if len(found) < 2 or time.monotonic() - started > within_s:
            return found
        anywhere = None
        if dialogue:
            plain = prompt_ids(self.tokenizer, chat_messages(cue), ask=True)
            anywhere = self.log_probabilities(plain, found, keep=True)
        return [found[place] for place in rank(torch.tensor(list(scores.values())), anywhere)]

    def log_probabilities(
        self, prompt: Sequence[int], replies: Sequence[str], *, keep: bool = False
    ) -> Tensor:
        """Return the mean log-probability of a token of each reply after a prompt, (replies,).

        With ``keep`` what was read of the prompt is kept for the next time.
        """
        end = self.tokenizer.eos_token_id
        rows = [
            [*self.tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in replies
        ]
        longest = max(map(len, rows))
        ids = torch.tensor([[prompt[-1], *row, *[end] * (longest - len(row))] for row in rows])
        asked = torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
        with torch.inference_mode():
            state = self._read_prompt(tuple(prompt[:-1]), len(rows), keep=keep)
            logits = self.net(input_ids=ids[:, :-1], past_key_values=state).logits
        chosen = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return (chosen * asked).sum(1) / asked.sum(1)

    def _draw(
        self, prompt: Sequence[int], seed: int, within_s: float, *, keep: bool
    ) -> tuple[list[str], list[float]]:
        """Return the drawn replies and the mean log-probability of a token of each."""
        started = time.monotonic()
        ids = torch.tensor([prompt]).repeat(self.count, 1)
        end = self.tokenizer.eos_token_id
        stop = SentenceEnd(len(prompt) + ENOUGH_TOKENS, _sentence_ends(self.tokenizer))
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(seed)
            state = self._read_prompt(tuple(prompt[:-1]), self.count, keep=keep)
            found = self.net.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=state,
                do_sample=True,
                temperature=0.7,
                top_p=0.9,
                top_k=0,
                repetition_penalty=1.1,
                max_new_tokens=MOST_TOKENS,
                max_time=max(within_s - (time.monotonic() - started), 0.0),
                stopping_criteria=StoppingCriteriaList([stop]),
                eos_token_id=end,
                pad_token_id=end,
                output_logits=True,
                return_dict_in_generate=True,
            )
        rows = found.sequences[:, len(prompt) :]
        logits = torch.stack(found.logits, dim=1).float().log_softmax(-1)
        chosen = logits.gather(-1, rows[..., None])[..., 0]
        after_end = (rows == end).cumsum(1) - (rows == end).long() > 0
        texts = [self._text(row, ended=end in row.tolist()) for row in rows]
        return texts, chosen.masked_fill(after_end, 0).sum(1).div((~after_end).sum(1)).tolist()

    def _read_prompt(self, prompt: tuple[int, ...], count: int, *, keep: bool) -> Any:
        """Return the keys and values of a prompt, for so many replies."""
        state = self._read.get(prompt)
        if state is None:
            ids = torch.tensor([prompt])
            state = self.net.get_decoder()(input_ids=ids, use_cache=True).past_key_values
            if keep and len(self._read) < _MOST_PROMPTS:
                self._read[prompt] = state
        own = copy.deepcopy(state) if prompt in self._read else state
        own.batch_repeat_interleave(count)
        return own

    def _text(self, row: Tensor, *, ended: bool) -> str:
        text = self.tokenizer.decode(row, skip_special_tokens=True).strip().partition("\n")[0]
        if ended:
            return str(text).strip()
        whole = _WHOLE.match(text)
        return whole[0].strip() if whole else ""


@dataclass(frozen=True, slots=True)
class SentenceEnd(StoppingCriteria):
    """Ends a row whose last token ends a sentence, once it is ``least`` tokens long."""

    least: int
    ends: frozenset[int]

    def __call__(self, input_ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
        del scores, more
        long_enough = input_ids.shape[1] >= self.least
        return torch.tensor([long_enough and row in self.ends for row in input_ids[:, -1].tolist()])


@functools.lru_cache(maxsize=2)
def _sentence_ends(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end with a mark that ends a sentence."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return frozenset(n for n, text in enumerate(texts) if text.strip().endswith(tuple(_END)))


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


def rank(here: Tensor, anywhere: Tensor | None) -> list[int]:
    """Return the places of replies by their score, the best first.

    The score is the log-probability after the dialogue, less ``LIFT`` times that without it: what
    fits any dialogue fits this one no better.
    """
    score = here if anywhere is None else here - LIFT * anywhere
    order: list[int] = score.argsort(descending=True, stable=True).tolist()
    return order
