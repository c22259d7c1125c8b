"""Loads any Hugging Face causal language model, by folder, package or hub id, and its adapter."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from model_serving.reply.places import check_adapter, find_source

Precision = Literal["float32", "bfloat16"]


def load_causal(
    place: str,
    revision: str | None = None,
    adapter: Path | None = None,
    *,
    precision: Precision = "float32",
) -> tuple[Any, Any]:
    """Return the net in this precision, and the tokenizer, of a causal language model.

    ``place`` is a folder of ``config.json`` and safetensors, a folder with one GGUF file, the name
    of the package that holds one, or a hub id, which needs the ``revision`` that was looked at.

    An ``adapter`` is merged into it.

    Raises:
        AffectstreamError: there is no such folder or package, a hub id has no revision, or a
            package of an extra is missing.
    """
    source, options = find_source(place, revision)
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    net = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    net = net if adapter is None else _merge(net, adapter)
    return net.to(getattr(torch, precision)).eval(), tokenizer


def _merge(net: Any, adapter: Path) -> Any:
    check_adapter(adapter)
    peft = import_module("peft")
    return peft.PeftModel.from_pretrained(net, str(adapter)).float().merge_and_unload()
