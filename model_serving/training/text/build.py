"""The nets of the text models before training: base over e5's body, compact over its words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from model_serving.corpora.head import Head
from model_serving.text.front_end import MAX_TOKENS
from model_serving.training.harness import Run
from model_serving.training.heads import id2label, label_maps
from model_serving.training.recipe import Recipe
from model_serving.training.text.start import build_base, fetch_start, prune


def build(
    recipe: Recipe, texts: list[str], heads: tuple[Head, ...], run: Run
) -> tuple[Any, nn.Module]:
    """Return the tokenizer and the untrained net of the recipe."""
    settings = recipe.net
    start = fetch_start(run.build)
    compact = recipe.body("base", "compact") == "compact"
    tokenizer, kept = prune(start, texts, int(settings["vocabulary"]), lower=compact)
    if compact:
        return tokenizer, build_compact(start.embeddings[kept], settings, id2label(heads))
    net = build_base(start, kept, id2label(heads))
    frozen = int(settings.get("frozen_layers", 0))
    if frozen:
        net.bert.embeddings.requires_grad_(requires_grad=False)
        for layer in net.bert.encoder.layer[:frozen]:
            layer.requires_grad_(requires_grad=False)
    return tokenizer, net


def build_compact(
    embeddings: np.ndarray, settings: Mapping[str, Any], labels: dict[int, str]
) -> ModernBertForSequenceClassification:
    """Return a small ModernBERT over the main directions of these word embeddings."""
    width = int(settings["width"])
    config = ModernBertConfig(
        vocab_size=len(embeddings),
        hidden_size=width,
        intermediate_size=int(settings["inner"]),
        num_hidden_layers=int(settings["layers"]),
        num_attention_heads=int(settings["attention_heads"]),
        max_position_embeddings=MAX_TOKENS,
        classifier_pooling="mean",
        embedding_dropout=0.1,
        mlp_dropout=0.1,
        classifier_dropout=0.1,
        attn_implementation="sdpa",
        **label_maps(labels),
        bos_token_id=0,
        cls_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
    )
    net = ModernBertForSequenceClassification(config)
    centred = embeddings - embeddings.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    vectors = centred @ directions[:, ::-1][:, :width]
    with torch.no_grad():
        net.get_input_embeddings().weight.copy_(torch.from_numpy(vectors.copy()))
    return net
