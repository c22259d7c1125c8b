"""Loads recognisers: a classifier of Hugging Face and its front end, as the model's card says."""

import functools
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from huggingface_hub import snapshot_download
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar

from model_serving.card import CARD_FILE, CONSTANT, ModelCard, check_files, read_card
from model_serving.face import front_end as face
from model_serving.folders.adapters import (
    find_base,
    front_end_folder,
    is_adapter,
    load_adapted,
)
from model_serving.folders.probe import check_answers
from model_serving.front_end import FrontEnd
from model_serving.gaps import GapLimit, check_gaps
from model_serving.labels import check_choice, read_outputs
from model_serving.motion import front_end as motion
from model_serving.net import check_filled
from model_serving.recogniser import ConstantRecogniser, NetRecogniser, Recogniser
from model_serving.text import front_end as text
from model_serving.threads import model_threads
from model_serving.voice import front_end as voice
from schemas.errors import AffectstreamError

disable_progress_bar()  # one bar for each model would break the bar of the run


class _Modality(NamedTuple):
    """What loads a model of one modality, and rows of its payload that every model answers."""

    net_class: Any
    load_front_end: Callable[[ModelCard, str, Any, dict[str, Any]], FrontEnd]
    probe: Callable[[], pa.RecordBatch]


_MODALITIES = {
    "text": _Modality(text.NET_CLASS, text.load_front_end, text.probe),
    "voice": _Modality(voice.NET_CLASS, voice.load_front_end, voice.probe),
    "face": _Modality(face.NET_CLASS, face.load_front_end, face.probe),
    "motion": _Modality(motion.NET_CLASS, motion.load_front_end, motion.probe),
}
_LOADING = threading.Lock()
_LOADED: dict[tuple[str, str, str | None, str], tuple[tuple[int, int, int], Recogniser]] = {}


def load_recogniser(
    modality: str, model: str, card: str | None, device: str, gaps: GapLimit | None = None
) -> Recogniser:
    """Return the recogniser of this model, one a process and device; a folder or hub id.

    A folder whose card was written anew is loaded again, and replaces what was cached.
    With ``gaps``, as whatever estimates people does, a card of which groups lie too far apart is
    refused; training and evaluation, which measure them, load without.
    Raises AffectstreamError where the card is missing or does not fit, a file is not the one that
    the card describes, the model can't be had, or the device is not there.
    """
    if gaps is not None and model != CONSTANT:
        check_gaps(read_card(_card_path(model, card)), gaps)
    source = (modality, model, card, device)
    with _LOADING, model_threads():
        stamp = _stamp(model, card)
        cached = _LOADED.get(source)
        if cached is None or cached[0] != stamp:
            cached = _LOADED[source] = (stamp, _load(*source))
        return cached[1]


def _card_path(model: str, card: str | None) -> Path:
    return Path(card) if card else Path(model) / CARD_FILE


def _stamp(model: str, card: str | None) -> tuple[int, int, int]:
    """Return what changes when the card does; always the same where there is no file."""
    path = _card_path(model, card)
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _load(modality: str, model: str, card: str | None, device: str) -> Recogniser:
    if model == CONSTANT:
        return ConstantRecogniser()
    kind, place = _MODALITIES[modality], _device(device)
    local = Path(model).is_dir()
    options = {"trust_remote_code": False, "local_files_only": True}
    source = f"folder {model}" if local else f"Hugging Face id {model} (no such folder is here)"
    try:
        described = _card(modality, model, card)
        folder = model if local else _download(model, described)
        held = check_files(Path(folder), described)
        if is_adapter(Path(folder)):
            base = find_base(Path(folder), digests=bool(described.sha256))
            net = load_adapted(kind.net_class, Path(folder), base, options)
            folder = str(front_end_folder(Path(folder), base))
        else:
            settings = AutoConfig.from_pretrained(folder, **options)
            make = functools.partial(kind.net_class.from_config, settings, dtype=torch.float32)
            check_filled(folder, make, held)
            net = _net(kind.net_class, folder, options)
        outputs = read_outputs(described, net.config)
        check_choice(described, net.config, outputs)
        front_end = kind.load_front_end(described, folder, net, options)
        # Convolutions of faces take two thirds of the time with their channels last.
        net.eval().to(place, memory_format=torch.channels_last)
    except AffectstreamError:
        raise
    except Exception as error:  # safetensors and torch raise their own of what is half written
        reason = str(error).strip().partition("\n")[0]
        message = f"the {modality} model can't be loaded from {source}: {reason}"
        raise AffectstreamError(message) from error
    net.config.output_hidden_states = True
    found = NetRecogniser(net, front_end, described, outputs, place)
    check_answers(found, kind.probe(), source)
    return found


def _net(net_class: Any, model: str, options: dict[str, Any]) -> Any:
    net, found = net_class.from_pretrained(
        model,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # which are told below, by name
        disable_mmap=True,  # a file that is overwritten in place would end the process
        **options,
    )
    absent = sorted(found["missing_keys"])
    if absent:  # transformers would fill them at random: a base model without a trained head
        raise ValueError(_explain_absent(absent, found["unexpected_keys"]))
    for name, held, wanted in sorted(found["mismatched_keys"]):
        message = f"its {name} has the shape {list(held)}, and config.json asks for {list(wanted)}"
        if wanted[0] == net.config.num_labels:
            message += f": give `id2label` there a name for each of {held[0]} outputs"
        raise ValueError(message)
    return net


def _explain_absent(absent: list[str], unexpected: Iterable[str]) -> str:
    prefixes = {name.removesuffix(absent[0]) for name in unexpected if name.endswith(absent[0])}
    if prefixes:
        prefix = min(prefixes)
        return (
            f"its weights are called {prefix}{absent[0]} and so on, where the net has {absent[0]}: "
            f"take {prefix!r} off their names and save them again"
        )
    return f"its weights lack {absent[0]} and {len(absent) - 1} more: it is no classifier"


def _card(modality: str, model: str, card: str | None) -> ModelCard:
    described = read_card(_card_path(model, card))
    if described.modality != modality:
        message = f"model {model} is for {described.modality} by its card, not for {modality}"
        raise AffectstreamError(message)
    return described


def _download(model: str, card: ModelCard) -> str:
    """Fetch the files that the card names, of the commit that it names; return their folder.

    Who owns a name on the hub may put other files under it at any time.
    """
    if card.revision is None or not any(name.endswith(".safetensors") for name in card.sha256):
        message = (
            f"model {model} is a Hugging Face id, whose files may change: its card has to name the "
            "commit as `revision` (40 hex digits), and `sha256` of each file that is needed"
        )
        raise AffectstreamError(message)
    return snapshot_download(model, revision=card.revision, allow_patterns=sorted(card.sha256))


def _device(name: str) -> torch.device:
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"device {name} was asked for and can't be used here: name one that is, e.g. cpu"
        raise AffectstreamError(message) from error
