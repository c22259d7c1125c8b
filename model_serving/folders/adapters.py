"""Adapter folders of PEFT: a small set of weights, and the base model that they change.

The base is the folder ``base`` within, which the card's digests cover, or a local folder that
``adapter_config.json`` names; it is never fetched. The adapter is merged into the net, which then
costs what the base does.
"""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from transformers import AutoConfig

from model_serving.card import check_contents
from model_serving.net import check_filled
from schemas.errors import AffectstreamError

_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_FRONT_END_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no whole model."""
    return (folder / _CONFIG).is_file() and not (folder / "model.safetensors").is_file()


def find_base(folder: Path, *, digests: bool) -> Path:
    """Return the folder of an adapter's base model; with ``digests`` the card has to cover it.

    Raises AffectstreamError where it is not here, or not within the folder as digests ask for.
    """
    within = folder / "base"
    if within.is_dir():
        return within
    named = str(_read_config(folder).get("base_model_name_or_path") or "")
    places = [folder / named, Path(named)] if named else []
    found = next((place for place in places if (place / "config.json").is_file()), None)
    if found is None:
        message = (
            f"{folder} is an adapter of {named or 'a base model that it does not name'}, which is "
            f"not here: save that model with its config.json and safetensors as {within}"
        )
        raise AffectstreamError(message)
    if digests:
        message = (
            f"the base model of the adapter {folder} is {found}, which no digest of the card "
            f"covers: copy it to {within}"
        )
        raise AffectstreamError(message)
    return found


def front_end_folder(folder: Path, base: Path) -> Path:
    """Return the folder with the tokenizer or the processor: the adapter's, else the base's."""
    return folder if any((folder / name).is_file() for name in _FRONT_END_FILES) else base


def load_adapted(net_class: Any, folder: Path, base: Path, options: dict[str, Any]) -> Any:
    """Load a base model with the adapter merged into it.

    Raises AffectstreamError where ``peft`` is missing, ValueError where the files do not fit.
    """
    if find_spec("peft") is None:
        message = f"{folder} is an adapter: pip install affectstream[peft]"
        raise AffectstreamError(message)
    peft = import_module("peft")
    shapes = _shapes(folder)
    _check_ranks(folder, shapes)
    if peft.PeftConfig.from_pretrained(str(folder)).is_prompt_learning:
        message = "an adapter of prompts can't be merged into its base: train LoRA or the like"
        raise ValueError(message)
    settings = _settings(folder, base, shapes, options)
    held = check_contents(base)
    check_filled(base, lambda: net_class.from_config(settings, dtype=torch.float32), held)
    net, found = net_class.from_pretrained(
        base,
        config=settings,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        disable_mmap=True,
        **options,
    )
    unfilled = {*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])}
    absent = sorted(unfilled - {name.removeprefix(_PREFIX) for name in shapes})
    if absent:
        message = f"neither base nor adapter has {absent[0]} and {len(absent) - 1} more weights"
        raise ValueError(message)
    adapted = peft.PeftModel.from_pretrained(net, str(folder), is_trainable=False)
    missing = sorted(
        set(peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)) - set(shapes)
    )
    if missing:
        message = f"{_WEIGHTS} does not fit its base: {missing[0]} is missing"
        raise ValueError(message)
    return adapted.merge_and_unload()


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _CONFIG).read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        message = f"{folder / _CONFIG} is not a JSON object: save the adapter again"
        raise AffectstreamError(message)
    return found


def _shapes(folder: Path) -> dict[str, list[int]]:
    path = folder / _WEIGHTS
    if not path.is_file():  # peft would look for it on the hub
        message = f"the adapter lacks {_WEIGHTS}: save it with `safe_serialization=True`"
        raise ValueError(message)
    with safe_open(path, "pt") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in list(file.keys())}


def _check_ranks(folder: Path, shapes: dict[str, list[int]]) -> None:
    """Refuse a rank that the weights do not have: layers are built before weights are read."""
    config = _read_config(folder)
    largest = max((side for shape in shapes.values() for side in shape), default=0)
    ranks = [config.get("r") or 0, *(config.get("rank_pattern") or {}).values()]
    if any(not isinstance(rank, int) or rank > largest for rank in ranks):
        message = f"{_CONFIG} asks for a rank of {max(ranks, key=str)}, which its weights have not"
        raise ValueError(message)
    if config.get("layer_replication"):
        message = (
            f"{_CONFIG} repeats layers, which is not read: merge the adapter and save it whole"
        )
        raise ValueError(message)


def _settings(
    folder: Path, base: Path, shapes: dict[str, list[int]], options: dict[str, Any]
) -> Any:
    """Return the configuration of the net, with as many outputs as the adapter's head has.

    An adapter keeps no names of labels but in a ``config.json`` of its own.
    """
    own = (folder / "config.json").is_file()
    settings = AutoConfig.from_pretrained(folder if own else base, **options)
    saved = _read_config(folder).get("modules_to_save") or []
    heads = sorted(
        name
        for name, shape in shapes.items()
        if len(shape) == 2 and any(f".{module}." in f"{name}." for module in saved)
    )
    if heads and settings.num_labels != shapes[heads[-1]][0]:
        settings.num_labels = shapes[heads[-1]][0]
    return settings
