"""Loads recognisers: a classifier of Hugging Face and its front end, as the model's card says."""

import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import torch
from PIL import Image
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils.logging import disable_progress_bar

import model_serving.motion.net
import model_serving.text.net
import model_serving.voice.net  # noqa: F401
from model_serving.card import CARD_FILE, CONSTANT, ModelCard, check_files, read_card
from model_serving.front_end import (
    FaceFrontEnd,
    FrontEnd,
    MotionFrontEnd,
    TextFrontEnd,
    VoiceFrontEnd,
)
from model_serving.labels import read_outputs
from model_serving.recogniser import ConstantRecogniser, NetRecogniser, Recogniser
from schemas.arrow import vector_column
from schemas.errors import AffectstreamError
from schemas.modalities import MOTION_FEATURES

disable_progress_bar()  # a bar a model would break the bar of the run

_LOADING = threading.Lock()
_NET_CLASSES = {
    "text": AutoModelForSequenceClassification,
    "voice": AutoModelForAudioClassification,
    "face": AutoModelForImageClassification,
    "motion": AutoModel,
}
_LOADED: dict[tuple[str, str, str | None, str], tuple[tuple[int, int, int], Recogniser]] = {}


def load_recogniser(modality: str, model: str, card: str | None, device: str) -> Recogniser:
    """Return the recogniser of this model, one a process and device; a folder or hub id.

    A folder whose card was written anew is loaded again, and takes the place of what was held.
    Raises AffectstreamError where the card is missing or does not fit, a file is not the one that
    the card describes, the model can't be had, or the device is not there.
    """
    source = (modality, model, card, device)
    with _LOADING:
        stamp = _stamp(model, card)
        held = _LOADED.get(source)
        if held is None or held[0] != stamp:
            held = _LOADED[source] = (stamp, _load(*source))
        return held[1]


def _stamp(model: str, card: str | None) -> tuple[int, int, int]:
    """Return what changes when the card does; the same for ever where there is no file."""
    path = Path(card) if card else Path(model) / CARD_FILE
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _load(modality: str, model: str, card: str | None, device: str) -> Recogniser:
    if model == CONSTANT:
        return ConstantRecogniser()
    place = _device(device)
    local = Path(model).is_dir()
    options = {"trust_remote_code": False, "local_files_only": local}
    source = f"folder {model}" if local else f"Hugging Face id {model} (no such folder is here)"
    try:
        described = _card(modality, model, card)
        net = _net(modality, model, options)
        outputs = read_outputs(described, net.config)
        front_end = _front_end(described, model, net, options)
        # Convolutions of faces take two thirds of the time with their channels last.
        net.eval().to(place, memory_format=torch.channels_last)
    except AffectstreamError:
        raise
    except Exception as error:  # safetensors and torch raise their own of what is half written
        reason = str(error).strip().partition("\n")[0]
        message = f"the {modality} model can't be loaded from {source}: {reason}"
        raise AffectstreamError(message) from error
    net.config.output_hidden_states = True
    found = NetRecogniser(net, front_end, described, outputs.matrix, place, outputs.values)
    failures = found.estimate(_PROBES[modality]).failures
    if failures:
        message = f"the {modality} model of {source} does not answer: {failures[0].detail}"
        raise AffectstreamError(message)
    return found


def _probes() -> dict[str, pa.RecordBatch]:
    """Return a payload of each modality that every model has to answer."""
    wave, image = BytesIO(), BytesIO()
    tone = 0.1 * np.sin(np.arange(16_000) / 10)
    soundfile.write(wave, tone, 16_000, format="WAV", subtype="PCM_16")
    Image.new("L", (48, 48), 128).save(image, "PNG")
    columns = {
        "text": {"text": pa.array(["yes"])},
        "voice": {"media": pa.array([wave.getvalue()], pa.binary())},
        "face": {"media": pa.array([image.getvalue()], pa.binary())},
        "motion": {"weights": vector_column(np.zeros((1, len(MOTION_FEATURES))))},
    }
    return {name: pa.record_batch(column) for name, column in columns.items()}


_PROBES = _probes()


def _net(modality: str, model: str, options: dict[str, Any]) -> Any:
    net, found = _NET_CLASSES[modality].from_pretrained(
        model,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        disable_mmap=True,  # a file that is overwritten in place would end the process
        **options,
    )
    absent = sorted(found["missing_keys"])
    if absent:  # transformers would fill them at random: a base model without a trained head
        message = f"its weights lack {absent[0]} and {len(absent) - 1} more: it is no classifier"
        raise ValueError(message)
    return net


def _card(modality: str, model: str, card: str | None) -> ModelCard:
    folder = Path(model)
    described = read_card(Path(card) if card else folder / CARD_FILE)
    if described.modality != modality:
        message = f"model {model} is for {described.modality} by its card, not for {modality}"
        raise AffectstreamError(message)
    if folder.is_dir():
        check_files(folder, described)
    elif described.sha256:
        message = (
            f"the card of {model} names sha256, which only a folder's files are checked against: "
            "download the model and name its folder, or leave them out"
        )
        raise AffectstreamError(message)
    return described


def _device(name: str) -> torch.device:
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"device {name} was asked for and can't be used here: name one that is, e.g. cpu"
        raise AffectstreamError(message) from error


def _front_end(card: ModelCard, model: str, net: Any, options: dict[str, Any]) -> FrontEnd:
    modality = card.modality
    if modality == "text":
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        # Where the tokenizer's files are missing, transformers makes an empty one.
        if not 0.5 < len(tokenizer) / net.config.vocab_size <= 1:
            message = f"a tokenizer of {len(tokenizer)} pieces does not fit the model"
            raise ValueError(message)
        return TextFrontEnd(tokenizer, card.languages)
    if modality == "voice":
        extractor = AutoFeatureExtractor.from_pretrained(model, **options)
        # Group normalisation (wav2vec2-base) takes its statistics over the padding too.
        masked = getattr(extractor, "return_attention_mask", False)
        group = getattr(net.config, "feat_extract_norm", "layer") == "group"
        fixed = getattr(extractor, "max_length", None) is not None
        return VoiceFrontEnd(extractor, pads=bool(masked) and not group and not fixed)
    if modality == "face":
        processor = AutoImageProcessor.from_pretrained(model, **options)
        return FaceFrontEnd(processor, getattr(net.config, "num_channels", 3))
    return MotionFrontEnd()
