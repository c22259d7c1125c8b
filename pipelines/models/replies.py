"""``affectstream evaluate --only reply``: figures of a reply adapter, on its card and in a file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from rich.console import Console
from tabulate import tabulate

from model_serving.corpora.dialogues import read_empathetic
from model_serving.loader import load_recogniser
from model_serving.reply.candidates import CausalReplies
from model_serving.reply.card import read_adapter_card, write_card
from model_serving.reply.prompt import Strategy
from model_serving.reply.replier import Replier
from model_serving.reply.suits import Suitability
from model_serving.reply.templates import read_fixed_texts
from model_serving.reply.weights import load_causal
from model_serving.training.common import figures
from model_serving.training.reply import evaluate as of
from model_serving.training.reply.evaluate import Drawn
from pipelines.config import WEIGHTS
from pipelines.models.train import explain_missing_data
from schemas.vocabularies import EXPRESSIONS

_SEED: Final = 13
_BUDGET_S: Final = 60.0
"""A budget that none of the replies is late for: how long they take is measured."""
_TEMPLATE_OF: Final[dict[Strategy, str]] = {
    "acknowledge": "social-space",
    "ask": "support-check-in",
    "celebrate": "game-celebrate",
    "comfort": "social-check-in",
    "encourage": "game-encourage",
    "suggest": "learning-hint",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """How many held-out replies each figure is measured on."""

    perplexity: int = 400
    ranked: int = 150
    drawn: int = 80
    searched: int = 400


def evaluate_replies(
    adapter: Path, data: Path, docs: Path, console: Console, rows: Rows | None = None
) -> dict[str, float]:
    """Measure an adapter beside its untuned base and a 5-gram model; write card and figures.

    Raises:
        AffectstreamError: the data, the base or a package is missing.
    """
    counts, card = rows or Rows(), read_adapter_card(adapter)
    with explain_missing_data(data):
        dialogues = read_empathetic(data)
    net, tokenizer = load_causal(card.base)
    known = of.held_out(dialogues, counts.perplexity, _SEED)
    found = {"perplexity, untuned": of.perplexity(net, tokenizer, known)}
    console.print(found)
    found["perplexity, 5-gram"] = of.ngram_perplexity(dialogues, tokenizer, known, _SEED)
    console.print(found)
    net, tokenizer = load_causal(card.base, adapter=adapter, precision="bfloat16")
    found["perplexity, bfloat16"] = of.perplexity(net, tokenizer, known)
    console.print(found)
    candidates = CausalReplies(net, tokenizer)
    ranked = of.recalls(candidates, known[: counts.ranked])
    found |= {f"recall at 1 of 10, {name}": value for name, value in ranked.items()}
    console.print(found)
    recogniser = load_recogniser("text", str(WEIGHTS / "text-compact"), None, "cpu")
    replier = Replier(candidates, _BUDGET_S, Suitability(recogniser))
    drawn = of.draw(replier, known[: counts.drawn])
    found |= _of_drawn(drawn)
    search = of.retrieval_recall(data, counts.searched, _SEED)
    found["search over SmileChat, recall at 1 of 10"] = search["recall at 1 of 10"]
    _write(adapter, docs, found)
    table = tabulate(found.items(), headers=("figure", "value"), floatfmt=".3f")
    console.print(table, highlight=False)
    for row, text in list(zip(drawn.rows, drawn.texts, strict=True))[:20]:
        console.print(f"{row.before[-1].text} {row.cue}\n  → {text}", highlight=False, markup=False)
    return found


def _of_drawn(drawn: Drawn) -> dict[str, float]:
    """Return the figures of what was said: how varied, how fitting, how often and how fast."""
    pairs = zip(drawn.rows, drawn.texts, strict=True)
    made = [(row.cue.strategy, text) for row, text in pairs if text is not None]
    strategies = [strategy for strategy, _ in made]
    texts = [text for _, text in made]
    fixed = read_fixed_texts().templates
    templates = [fixed[_TEMPLATE_OF[strategy]]["en"] for strategy in strategies]
    return {
        "replies made": len(made) / len(drawn.rows),
        "distinct-2": of.distinct_2(texts),
        "distinct-2, people": of.distinct_2([row.reply for row in drawn.rows]),
        "consistency": of.consistency(_shown(texts), strategies),
        "consistency, templates": of.consistency(_shown(templates), strategies),
        "consistency, people": of.consistency(
            _shown([row.reply for row in drawn.rows]), [row.cue.strategy for row in drawn.rows]
        ),
        "processor seconds a reply, p50": float(np.quantile(drawn.seconds, 0.5)),
        "processor seconds a reply, p95": float(np.quantile(drawn.seconds, 0.95)),
    }


def _shown(texts: Sequence[str]) -> list[str]:
    """Return the expression that the shipped text recogniser sees in each text."""
    model = load_recogniser("text", str(WEIGHTS / "text-compact"), None, "cpu")
    found = model.estimate(pa.record_batch({"text": pa.array(texts, pa.string())}))
    shown = ["neutral"] * len(texts)
    for row, place in zip(found.rows, found.scores.argmax(axis=1), strict=True):
        shown[row] = EXPRESSIONS[place]
    return shown


def _write(adapter: Path, docs: Path, found: dict[str, float]) -> None:
    card = read_adapter_card(adapter)
    told = tuple(figures("held-out EmpatheticDialogues", found))
    write_card(adapter, card.model_copy(update={"figures": told}))
    latest = docs / "latest" / "replies.json"
    latest.parent.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date().isoformat()
    flat = {"date": day, "adapter": card.model_id} | {k: round(v, 4) for k, v in found.items()}
    latest.write_text(json.dumps(flat, indent=2) + "\n", encoding="utf-8")
