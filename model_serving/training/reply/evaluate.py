"""Figures of replies: how likely held-out ones are, how varied and fitting, how well ranked."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_serving.corpora.dialogues import Dialogue, read_smilechat
from model_serving.reply.candidates import LIFT, CausalReplies
from model_serving.reply.prompt import Strategy, chat_messages, prompt_ids
from model_serving.reply.replier import Replier
from model_serving.reply.retrieval import Pair, RetrievedReplies
from model_serving.reply.safety import tells_of_oneself
from model_serving.reply.suits import SUITING
from model_serving.training.harness import predict
from model_serving.training.reply.data import (
    NOTHING,
    Example,
    Items,
    collate,
    evaluation_item,
    examples,
    split_of,
    training_items,
)
from model_serving.training.reply.ngram import KneserNey
from model_serving.training.reply.train import ReplyLoss

CHOICES: Final = 10


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a replier answered to held-out dialogues, and the processor seconds of each answer."""

    rows: list[Example]
    texts: list[str | None]
    seconds: np.ndarray


def held_out(dialogues: Sequence[Dialogue], count: int, seed: int) -> list[Example]:
    """Return so many replies of the test split that tell of no life of their own."""
    known = [d for d in dialogues if split_of(d.group) == "test"]
    rows = [row for row in examples(known, "en") if not tells_of_oneself(row.reply)]
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    return [rows[place] for place in order]


def perplexity(net: Any, tokenizer: Any, rows: Sequence[Example]) -> float:
    """Return the perplexity of a token of the replies, as they are asked for at work."""
    items = Items([evaluation_item(row, tokenizer) for row in rows])
    lengths = [len(item.ids) for item in items.rows]
    nats, tokens = predict(ReplyLoss(net), items, collate, batch=8, lengths=lengths).sum(axis=0)
    return float(np.exp(nats / tokens))


def ngram_perplexity(
    dialogues: Sequence[Dialogue], tokenizer: Any, rows: Sequence[Example], seed: int
) -> float:
    """Return the same of a 5-gram model of the training split, over the same tokens."""
    known = [d for d in dialogues if split_of(d.group) == "train"]
    learnt = training_items(known, "en", tokenizer, seed).rows
    model = KneserNey(np.concatenate([item.ids for item in learnt]), len(tokenizer))
    total, count = 0.0, 0
    for row in rows:
        item = evaluation_item(row, tokenizer)
        asked = item.targets != NOTHING
        total -= model.log_probabilities(item.ids)[asked].sum()
        count += int(asked.sum())
    return float(np.exp(total / count))


def recalls(candidates: CausalReplies, rows: Sequence[Example]) -> dict[str, float]:
    """Return how often the true reply is ranked first of ten, the nine others of other dialogues.

    By log-probability alone, and less ``LIFT`` times that without the dialogue.
    """
    first = {"log-probability": 0, "lift": 0}
    for place, row in enumerate(rows):
        others = [rows[(place + step) % len(rows)].reply for step in range(1, CHOICES)]
        texts = [row.reply, *others]
        prompts = (chat_messages(row.cue, row.before), chat_messages(row.cue))
        here, anywhere = (
            candidates.log_probabilities(prompt_ids(candidates.tokenizer, said, ask=True), texts)
            for said in prompts
        )
        first["log-probability"] += int(here.argmax() == 0)
        first["lift"] += int((here - LIFT * anywhere).argmax() == 0)
    return {name: count / len(rows) for name, count in first.items()}


def draw(replier: Replier, rows: Sequence[Example]) -> Drawn:
    """Ask for a reply to each held-out dialogue; the first, which warms up, is asked twice."""
    replier.reply(rows[0].cue, rows[0].before)
    texts, seconds = [], []
    for number, row in enumerate(rows):
        start = time.process_time()
        texts.append(replier.reply(row.cue, row.before, seed=number).text)
        seconds.append(time.process_time() - start)
    return Drawn(list(rows), texts, np.array(seconds))


def distinct_2(texts: Sequence[str]) -> float:
    """Return the share of different pairs of words among all pairs of words of the texts."""
    pairs = [
        pair for words in (text.casefold().split() for text in texts) for pair in pairwise(words)
    ]
    return len(set(pairs)) / max(len(pairs), 1)


def consistency(expressions: Sequence[str], strategies: Sequence[Strategy]) -> float:
    """Return how often what the text recogniser sees in a reply suits its strategy."""
    fits = [shown in SUITING[how] for shown, how in zip(expressions, strategies, strict=True)]
    return float(np.mean(fits))


def retrieval_recall(data: Path, count: int, seed: int) -> dict[str, float]:
    """Return the recall at 1 of 10 of the search over SmileChat; and of how many pairs."""
    dialogues = read_smilechat(data)
    parts = {
        name: list(_pairs([d for d in dialogues if split_of(d.group) == name]))
        for name in ("train", "test")
    }
    search = RetrievedReplies(parts["train"])
    order = np.random.default_rng(seed).permutation(len(parts["test"]))[:count]
    rows = [parts["test"][place] for place in order]
    first = 0
    for place, row in enumerate(rows):
        others = [rows[(place + step) % len(rows)].reply for step in range(1, CHOICES)]
        first += int(np.argmax(search.fits(row.said, [row.reply, *others])) == 0)
    return {"recall at 1 of 10": first / len(rows), "pairs": float(len(parts["train"]))}


def _pairs(dialogues: Sequence[Dialogue]) -> Iterator[Pair]:
    for dialogue in dialogues:
        for place in range(1, len(dialogue.turns), 2):
            yield Pair(dialogue.turns[place - 1].text, dialogue.turns[place].text)
