"""Training of the filter's learnt part: packs the encoder, trains the judge, sets thresholds."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, PreTrainedTokenizerFast

from model_serving.card import Source
from model_serving.reply.card import FilterCard, write_card
from model_serving.reply.hazard import HAZARDS
from model_serving.reply.hazard_net import (
    ENCODER,
    JUDGE,
    PREFIX,
    READ_AFTER,
    TOKENIZER,
    judge_odds,
    load_encoder,
    make_judge,
    with_side,
)
from model_serving.training.common import figures
from model_serving.training.recipe import Recipe
from model_serving.training.reply.lines import (
    SETS,
    Line,
    read_benign,
    read_corpora,
    read_written,
)
from model_serving.training.text.start import Start, build_base, fetch_start, prune

_LICENCES: Final = MappingProxyType(
    {"GoEmotions": "CC BY 4.0", "CPED": "Apache-2.0", "SmileChat": "CC0"}
)
_WEIGHT_OF_SETS: Final = 3.0
"""A line that was written for itself counts as much as three readings of one with brackets."""
_ALARMS, _ALARMS_OF_HARM = 0.03, 0.015
"""Shares of the written benign lines that may be taken for a hazard, and for harm to oneself."""
_NOISE: Final = 0.3  # of standardised states
_SIZES: Final = (
    *("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "pad_token_id"),
)
_WHOLE_LINE: Final = 96  # tokens
_MOST_COUNTED: Final = 20_000  # texts of a corpus from which the vocabulary is counted


def train_filter(recipe: Recipe, data: Path, out: Path, build: Path) -> FilterCard:
    """Train by the recipe; write the encoder, the judge and their card into ``out``.

    The thresholds come from judges that never saw the set that they are measured on. The card has
    what those find: each of ``SETS`` by a judge of everything else.
    """
    lines = [*read_written(recipe.seed), *read_benign(data, recipe.seed)]
    out.mkdir(parents=True, exist_ok=True)
    texts = [text for _, _, part in read_corpora(data) for text in part[:_MOST_COUNTED]]
    texts = [PREFIX + text for text in (*texts, *(line.text for line in lines))]
    _pack_encoder(fetch_start(build), texts, int(recipe.net["vocabulary"]), out)
    states, numbers = load_encoder(out, _WHOLE_LINE).states([line.text for line in lines])
    kept = [lines[number] for number in numbers]
    unseen = np.zeros((len(kept), 1 + len(HAZARDS)))
    for name in SETS:
        held = np.array([line.source.startswith(f"{name}.") for line in kept])
        judge = train_judge(states[~held], [line for line in kept if _not_of(line, name)], recipe)
        unseen[held] = _odds(judge, states[held], [k for k in kept if not _not_of(k, name)])
    of_sets = np.array([line.source.partition(".")[0] in SETS for line in kept])
    any_above, self_harm_above, found = choose_thresholds(
        unseen[of_sets], [line for line, ours in zip(kept, of_sets, strict=True) if ours]
    )
    judge = train_judge(states, kept, recipe)
    save_file({name: value.half() for name, value in judge.state_dict().items()}, out / JUDGE)
    card = FilterCard(
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence,
        base="multilingual-e5-small",
        training_data=tuple(
            Source(name=corpus, licence=licence, rows=sum(k.source == corpus for k in kept))
            for corpus, licence in _LICENCES.items()
        ),
        figures=tuple(figures("first and second set, unseen", found)),
        command=recipe.command,
        notes=recipe.notes.strip(),
        any_above=any_above,
        self_harm_above=self_harm_above,
    )
    write_card(out, card)
    return card


def _not_of(line: Line, name: str) -> bool:
    return not line.source.startswith(f"{name}.")


def _odds(judge: nn.Module, states: np.ndarray, lines: Sequence[Line]) -> np.ndarray:
    """Return the log-odds (n, 6) of lines of both sides."""
    sides = np.array([line.side for line in lines])
    found = np.zeros((len(lines), 1 + len(HAZARDS)))
    for side in ("person", "reply"):
        found[sides == side] = judge_odds(judge, states[sides == side], side)
    return found


def choose_thresholds(
    odds: np.ndarray, lines: Sequence[Line]
) -> tuple[float, float, dict[str, float]]:
    """Return the two thresholds of a card, and what they find and pass of these lines."""
    kinds = np.array([line.hazard or "benign" for line in lines])
    benign = odds[kinds == "benign"]
    any_above = round(float(np.quantile(benign[:, 0], 1 - _ALARMS)), 3)
    harm_above = round(float(np.quantile(benign[:, 1], 1 - _ALARMS_OF_HARM)), 3)
    flagged = (odds[:, 0] > any_above) | (odds[:, 1] > harm_above)
    found = {
        f"{language}, {name}": float(flagged[part & ours].mean())
        for language in ("en", "zh")
        for ours in [np.array([line.source.endswith(language) for line in lines])]
        for name, part in (
            ("found", kinds != "benign"),
            ("harm to oneself found", kinds == "self_harm"),
            ("false alarms", kinds == "benign"),
        )
    }
    return any_above, harm_above, found


def train_judge(states: np.ndarray, lines: Sequence[Line], recipe: Recipe) -> nn.Sequential:
    """Return a judge of these lines, which takes states as the encoder gives them."""
    torch.manual_seed(recipe.seed)
    mean, spread = states.mean(axis=0), states.std(axis=0) + 1e-6
    inputs = with_side((states - mean) / spread, [line.side for line in lines])
    kinds = torch.tensor([0 if k.hazard is None else 1 + HAZARDS.index(k.hazard) for k in lines])
    weights = torch.tensor(
        [_WEIGHT_OF_SETS if k.source.partition(".")[0] in SETS else 1.0 for k in lines]
    )
    by_kind = torch.bincount(kinds, minlength=1 + len(HAZARDS)).float().clamp(min=1) ** -0.5
    weights = weights * (by_kind / by_kind.mean())[kinds]
    judge = make_judge(states.shape[1])
    _fit(judge, inputs, kinds, weights, recipe)
    _fold_in(judge, torch.from_numpy(mean), torch.from_numpy(spread))
    return judge.eval()


def _fit(judge: nn.Module, inputs: Tensor, kinds: Tensor, weights: Tensor, recipe: Recipe) -> None:
    plan = recipe.schedule
    steps = max(len(inputs) // plan.batch, 1)
    rate = plan.learning_rate
    optimiser = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=int(plan.epochs) * steps + 1
    )
    for _ in range(int(plan.epochs)):
        order = torch.randperm(len(inputs))
        for step in range(steps):
            rows = order[step * plan.batch : (step + 1) * plan.batch]
            noisy = inputs[rows] + _NOISE * torch.randn(len(rows), inputs.shape[1])
            each = functional.cross_entropy(
                judge(noisy), kinds[rows], reduction="none", label_smoothing=plan.label_smoothing
            )
            optimiser.zero_grad()
            torch.autograd.backward((each * weights[rows]).mean())
            optimiser.step()
            schedule.step()


def _fold_in(judge: nn.Sequential, mean: Tensor, spread: Tensor) -> None:
    """Let the first layer take states that are not standardised."""
    first = judge.get_submodule("1")
    if not isinstance(first, nn.Linear):
        message = f"the judge begins with {first}, and not with a linear layer"
        raise TypeError(message)
    with torch.no_grad():
        first.weight[:, :-1] /= spread
        first.bias.sub_(first.weight[:, :-1] @ mean)


def _pack_encoder(start: Start, texts: list[str], vocabulary: int, out: Path) -> None:
    """Write the layers that are read, over the commonest lower-cased pieces of these texts."""
    tokenizer, pieces = prune(start, texts, vocabulary, lower=True)
    net = build_base(start, pieces, {0: "none"}).bert
    net.encoder.layer = net.encoder.layer[: max(READ_AFTER)]
    save_file(pack(net.state_dict()), out / ENCODER)
    known = {name: getattr(net.config, name) for name in _SIZES}
    BertConfig(**known, num_hidden_layers=max(READ_AFTER)).save_pretrained(out)
    _save_tokenizer(tokenizer, out)


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    tokenizer.backend_tokenizer.save(str(out / TOKENIZER))


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices in blocks of 32 values: four bits each, and the scale that they share.

    What came from such blocks comes out as it was: the value furthest from 0 is -8 scales.
    """
    found = {}
    for name, value in state.items():
        if value.ndim < 2 or value.numel() % 32 or "position" in name or "token_type" in name:
            found[name] = value.half() if value.is_floating_point() else value
            continue
        blocks = value.reshape(-1, 32)
        peak = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
        scale = (peak / -8).half()
        unit = torch.where(scale == 0, torch.ones_like(peak), scale.float())
        q = (blocks / unit).round().add(8).clamp(0, 15).to(torch.uint8)
        found[f"{name}.q"] = q[:, :16] | (q[:, 16:] << 4)
        found[f"{name}.scale"] = scale[:, 0]
    return found
