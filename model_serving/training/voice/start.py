"""The start of the base voice model: the speaker encoder of Resemblyzer.

The package ``Resemblyzer`` on PyPI (Apache-2.0) carries a GE2E encoder (Wan et al., 2018) that
learnt to tell speakers of LibriSpeech and VoxCeleb apart; it saw no expression. Its states are
used, never its embedding: nobody is recognised.
"""

import io
import zipfile
from pathlib import Path

import torch

from model_serving.training.wheels import fetch_wheel
from model_serving.voice.net import SpeakerStates

_WHEEL = "Resemblyzer==0.1.4"


def load_speaker_states(states: SpeakerStates, build: Path) -> None:
    """Fill the encoder's layers, after ``pip download`` of the wheel into ``build``."""
    with zipfile.ZipFile(fetch_wheel(_WHEEL, build)) as wheel:
        file = io.BytesIO(wheel.read("resemblyzer/pretrained.pt"))
    found = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
    for number, layer in enumerate(states.layers):
        layer.load_state_dict(
            {name: found[f"lstm.{name[:-1]}{number}"] for name in layer.state_dict()}
        )
