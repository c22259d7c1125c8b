"""Training of reply adapters: LoRA on a causal language model, with the loss on replies alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

import numpy as np
import peft
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_serving.card import Source
from model_serving.corpora.dialogues import Dialogue, read_empathetic, read_smilechat
from model_serving.reply.card import AdapterCard, FilterCard, write_card
from model_serving.reply.safety import tells_of_oneself
from model_serving.reply.weights import load_causal
from model_serving.training.common import figures
from model_serving.training.harness import Batch, Problem, Run, fit, is_main
from model_serving.training.recipe import Recipe
from model_serving.training.reply.data import (
    NOTHING,
    Items,
    collate,
    evaluation_item,
    examples,
    split_of,
    training_items,
)
from model_serving.training.reply.filter import train_filter
from schemas.errors import AffectstreamError

READERS: Final[Mapping[str, Callable[[Path], list[Dialogue]]]] = MappingProxyType(
    {"EmpatheticDialogues": read_empathetic, "SmileChat": read_smilechat}
)
_LICENCES: Final = MappingProxyType({"EmpatheticDialogues": "CC BY-NC 4.0", "SmileChat": "CC0"})
_CLOSED: Final = {"EmpatheticDialogues"}
_ATTENTION: Final = ["q_proj", "k_proj", "v_proj", "o_proj"]


class ReplyLoss(nn.Module):
    """A causal net that gives, in place of logits, what each row's replies cost.

    ``logits`` is (n, 2): the sum of negative log-probabilities in nats, and the count of tokens.
    The head is applied to the targets alone: it is a fifth of the arithmetic of 135 M parameters.
    Its state is that of the parameters that learn.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor, targets: Tensor) -> SimpleNamespace:
        base = self.net.get_base_model() if hasattr(self.net, "get_base_model") else self.net
        states = base.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        asked = targets[:, 1:] != NOTHING
        logits = base.get_output_embeddings()(states[:, :-1][asked])
        nats = functional.cross_entropy(logits.float(), targets[:, 1:][asked], reduction="none")
        place = asked.nonzero()[:, 0]
        sums = torch.zeros(len(ids)).index_add(0, place, nats)
        return SimpleNamespace(logits=torch.stack([sums, asked.sum(1).float()], dim=1))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().state_dict(*args, **kwargs)
        learnt = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in found.items() if name in learnt}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        found.missing_keys[:] = sorted(self.state_dict().keys() - state_dict.keys())
        if strict and (found.missing_keys or found.unexpected_keys):
            message = f"a state of other parameters: {found}"
            raise RuntimeError(message)
        return found


def train(recipe: Recipe, data: Path, out: Path, run: Run) -> AdapterCard | FilterCard:
    """Train an adapter, or the filter, by the recipe; write it and its card.

    The weights in ``out`` are of half precision.

    Raises:
        AffectstreamError: the recipe is for open use, but one of its corpora is not, or it is to
            be cross-validated.
    """
    if run.folds:
        message = "replies are not cross-validated: leave --folds out"
        raise AffectstreamError(message)
    if recipe.body("adapter", "filter") == "filter":
        return train_filter(recipe, data, out, run.build)
    return _train_adapter(recipe, data, out, run)


def _train_adapter(recipe: Recipe, data: Path, out: Path, run: Run) -> AdapterCard:
    """Train on the dialogues under ``data``."""
    closed = sorted(_CLOSED & recipe.corpora.keys())
    if recipe.licence == "open" and closed:
        message = (
            f"recipe {recipe.name} has `licence: open`, but {closed[0]} may be used for research "
            "only: set `licence: research`"
        )
        raise AffectstreamError(message)
    torch.manual_seed(recipe.seed)
    net, tokenizer = load_causal(recipe.net["base"], recipe.net.get("revision"))
    rank = int(recipe.net["rank"])
    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules=_ATTENTION,
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(net, settings)
    train_items, dev = _read_items(recipe, data, tokenizer)
    problem = Problem(
        net=ReplyLoss(adapted),
        train=train_items,
        dev={"dev": dev},
        collate=collate,
        loss=_mean_nats,
        score=_score,
        lengths=[len(item.ids) for item in train_items.rows],
    )
    best = fit(problem, recipe, run)
    card = AdapterCard(
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence,
        language=recipe.net["language"],
        base=recipe.net["base"],
        training_data=tuple(
            Source(name=corpus, licence=_LICENCES[corpus], rows=len(train_items))
            for corpus in recipe.corpora
        ),
        figures=tuple(figures("dev", {"perplexity": float(np.exp(-best))})),
        command=recipe.command,
        notes=recipe.notes.strip(),
    )
    if is_main():
        _save(adapted, out, card)
    return card


def _save(adapted: Any, out: Path, card: AdapterCard) -> None:
    """Write the adapter in half precision, and its card."""
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.half()
    adapted.peft_config["default"].base_model_name_or_path = card.base  # no place of this machine
    adapted.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # peft's own, which says nothing
    write_card(out, card)


def _read_items(recipe: Recipe, data: Path, tokenizer: Any) -> tuple[Items, Items]:
    known = [dialogue for corpus in recipe.corpora for dialogue in READERS[corpus](data)]
    language = recipe.net["language"]
    part = {name: [d for d in known if split_of(d.group) == name] for name in ("train", "dev")}
    dev = [row for row in examples(part["dev"], language) if not tells_of_oneself(row.reply)]
    order = np.random.default_rng(recipe.seed).permutation(len(dev))[: recipe.net["dev_rows"]]
    return (
        training_items(part["train"], language, tokenizer, recipe.seed),
        Items([evaluation_item(dev[row], tokenizer) for row in order]),
    )


def _mean_nats(output: Any, batch: Batch) -> Tensor:
    del batch
    sums: Tensor = output.logits
    return sums[:, 0].sum() / sums[:, 1].sum()


def _score(found: Mapping[str, np.ndarray]) -> float:
    nats, tokens = found["dev"].sum(axis=0)
    return float(-nats / tokens)
