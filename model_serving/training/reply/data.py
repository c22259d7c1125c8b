"""Training items of replies: dialogues as token ids, and which of them the model learns to say."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import Dataset

from model_serving.corpora.dialogues import Dialogue
from model_serving.reply.prompt import (
    Cue,
    Language,
    Strategy,
    Turn,
    chat_messages,
    prompt_ids,
)
from model_serving.reply.safety import tells_of_oneself
from model_serving.training.harness import Batch

NOTHING: Final = -100
_MOST_TOKENS: Final = 128
_GENERIC_WORDS: Final = 9
_WITHOUT_CUE, _WITHOUT_TEXT = 0.3, 0.15  # parts of the turns, and of the dialogues
_SIGNS: Final[tuple[tuple[Strategy, re.Pattern[str]], ...]] = (
    (
        "encourage",
        re.compile(
            r"\b(?:good luck|best of luck|you(?:'ll| will| can| got this)|keep (?:it )?up|"
            r"(?:i'm|i am) sure|don't (?:give up|worry)|hope(?:fully)?|stay (?:strong|positive))\b",
            re.IGNORECASE,
        ),
    ),
    (
        "celebrate",
        re.compile(
            r"\b(?:congrat\w*|awesome|great|amazing|wonderful|fantastic|excellent|happy for you|"
            r"good for you|yay|exciting|proud|nice|cool|well done|way to go)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "comfort",
        re.compile(
            r"\b(?:sorry|oh no|oh my|terrible|awful|horrible|too bad|sucks?|sad|hard|tough|scary|"
            r"that's rough|frustrating|annoying|upset\w*)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "suggest",
        re.compile(
            r"\b(?:you (?:should|could|might|may want)|try|maybe|perhaps|how about|why don't you|"
            r"have you (?:tried|thought|considered))\b",
            re.IGNORECASE,
        ),
    ),
)
_TO_CELEBRATE: Final = {"joy", "neutral", "surprise"}


def strategy_of(reply: str, expression: str) -> Strategy:
    """Return how an English reply answers what was shown, by the first sign that it has.

    "Great" in a reply to sadness celebrates nothing.
    """
    for strategy, sign in _SIGNS:
        fits = strategy != "celebrate" or expression in _TO_CELEBRATE
        if fits and sign.search(reply):
            return strategy
    return "ask" if "?" in reply else "acknowledge"


def split_of(group: str) -> str:
    """Return ``train`` (93 %), ``dev`` (2 %) or ``test`` (5 %) for a group, by its hash."""
    place = int.from_bytes(hashlib.blake2b(group.encode(), digest_size=4).digest()) % 100
    return "test" if place < 5 else "dev" if place < 7 else "train"


@dataclass(frozen=True, slots=True)
class Item:
    """Token ids (n,) of a prompt with replies; ``targets`` (n,) are NOTHING outside the replies."""

    ids: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, slots=True)
class Items(Dataset[Item]):
    """Items in a fixed order."""

    rows: list[Item]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Item:
        return self.rows[row]


@dataclass(frozen=True, slots=True)
class Example:
    """A reply that was given, and what it followed; the last turn before it is the person's."""

    cue: Cue
    before: tuple[Turn, ...]
    reply: str


def examples(dialogues: Sequence[Dialogue], language: Language) -> Iterator[Example]:
    """Yield each reply with what came before it."""
    for dialogue in dialogues:
        for place in range(1, len(dialogue.turns), 2):
            reply = dialogue.turns[place].text
            cue = Cue(language, dialogue.expression, strategy_of(reply, dialogue.expression))
            yield Example(cue, dialogue.turns[:place], reply)


def training_items(
    dialogues: Sequence[Dialogue], language: Language, tokenizer: Any, seed: int
) -> Items:
    """Return whole dialogues, of which every reply that tells nothing of oneself is a target.

    Some turns stand without their cue, and some dialogues are a cue and its short reply alone, so
    that the model replies to each of them.
    """
    rng = np.random.default_rng(seed)
    found = []
    for dialogue in dialogues:
        rows = [row for row in examples([dialogue], language) if not tells_of_oneself(row.reply)]
        if not rows:
            continue
        if rng.random() < _WITHOUT_TEXT:
            short = [row for row in rows if len(row.reply.split()) <= _GENERIC_WORDS]
            if short:
                alone = Example(short[0].cue, (), short[0].reply)
                found.append(evaluation_item(alone, tokenizer))
                continue
        found.append(_whole_dialogue(dialogue, language, tokenizer, rng))
    return Items([item for item in found if (item.targets != NOTHING).any()])


def evaluation_item(example: Example, tokenizer: Any) -> Item:
    """Return the prompt as it is given at work, and the reply as the only target."""
    messages = chat_messages(example.cue, example.before)
    prompt = prompt_ids(tokenizer, messages, ask=True)
    reply = [*tokenizer(example.reply, add_special_tokens=False)["input_ids"], _end(tokenizer)]
    targets = [NOTHING] * len(prompt) + reply
    return Item(np.array([*prompt, *reply], np.int64), np.array(targets, np.int64))


def collate(items: Sequence[Item]) -> Batch:
    """Pad items on the right, which a causal net needs no mask for; (n, longest) each."""
    size = (len(items), max(len(item.ids) for item in items))
    ids, targets = np.zeros(size, np.int64), np.full(size, NOTHING, np.int64)
    for row, item in enumerate(items):
        ids[row, : len(item.ids)], targets[row, : len(item.ids)] = item.ids, item.targets
    return {"ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}


def _whole_dialogue(
    dialogue: Dialogue, language: Language, tokenizer: Any, rng: np.random.Generator
) -> Item:
    messages = chat_messages(Cue(language, dialogue.expression, "ask"))[:1]
    ids = prompt_ids(tokenizer, messages, ask=False)
    targets = [NOTHING] * len(ids)
    for row in examples([dialogue], language):
        cued = rng.random() >= _WITHOUT_CUE
        said = f"{row.before[-1].text} {row.cue}" if cued else row.before[-1].text
        messages.append({"role": "user", "content": said})
        prompt = prompt_ids(tokenizer, messages, ask=True)
        reply = [*tokenizer(row.reply, add_special_tokens=False)["input_ids"], _end(tokenizer)]
        if len(prompt) + len(reply) > _MOST_TOKENS or prompt[: len(ids)] != ids:
            break  # it is too long, or its template changes what stood before
        learnt = not tells_of_oneself(row.reply)
        targets += [NOTHING] * (len(prompt) - len(ids))
        targets += reply if learnt else [NOTHING] * len(reply)
        ids = [*prompt, *reply]
        messages.append({"role": "assistant", "content": row.reply})
    return Item(np.array(ids, np.int64), np.array(targets, np.int64))


def _end(tokenizer: Any) -> int:
    end: int = tokenizer.eos_token_id
    return end
