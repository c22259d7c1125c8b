"""Voice activity: whether anybody speaks in a clip, by silero-vad's net.

The weights are those of the package ``silero-vad`` (MIT), read from its safetensors file. Its own
loop hands a chunk of 32 ms at a time to a TorchScript file; here the convolutions see all chunks of
a batch at once, and only the LSTM goes through time.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

RATE: Final = 16_000
CHUNK: Final = 512
_CONTEXT, _TAIL = 64, 64
_STEP, _WINDOW = 128, 256
_BATCH = 32
_LEVEL = 0.05


class VoiceActivity(nn.Module):
    """Probabilities of speech for each chunk of 32 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, _WINDOW + 2, _WINDOW, stride=_STEP, bias=False)
        self.conv1 = nn.Conv1d(_WINDOW // 2 + 1, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    @torch.inference_mode()
    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms (n, samples) at 16 kHz, at most 1 in size -> probabilities (n, chunks)."""
        count = max(1, -(-waveforms.shape[1] // CHUNK))
        end = count * CHUNK - waveforms.shape[1]
        padded = functional.pad(waveforms, (_CONTEXT, end))
        chunks = padded.unfold(1, CHUNK + _CONTEXT, CHUNK).flatten(0, 1)
        x = functional.pad(chunks, (0, _TAIL), "reflect").unsqueeze(1)
        waves = self.stft_conv(x)
        half = _WINDOW // 2 + 1
        x = (waves[:, :half].square() + waves[:, half:].square()).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = functional.relu(conv(x))
        states, _ = self.lstm(x.squeeze(2).reshape(len(waveforms), count, -1))
        heard = self.final_conv(functional.relu(states).transpose(1, 2))
        return heard.squeeze(1).sigmoid()


@lru_cache(maxsize=1)
def load_voice_activity() -> VoiceActivity:
    """Return the net of the installed package ``silero-vad``, loaded once a process."""
    # Found and not imported: importing it sets torch's threads for the whole process.
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        message = "package silero-vad is not installed: pip install silero-vad==6.2.3"
        raise ModuleNotFoundError(message)
    path = Path(package.origin).parent / "data" / "silero_vad_16k.safetensors"
    gate = re.compile(r"lstm_cell\.(weight|bias)_([ih]h)")
    tensors = load_file(path)
    found = {gate.sub(r"lstm.\1_\2_l0", name): tensor for name, tensor in tensors.items()}
    net = VoiceActivity()
    net.load_state_dict(found)
    return net.eval()


def loudest_second(wave: np.ndarray, rate: int) -> np.ndarray:
    """Return the second of a clip with the most energy; all of a shorter one."""
    if len(wave) <= rate:
        return wave
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    sums = energy[rate::CHUNK] - energy[: len(energy) - rate : CHUNK]
    start = CHUNK * int(np.argmax(sums))
    return wave[start : start + rate]


def speech_probability(waves: Sequence[np.ndarray]) -> np.ndarray:
    """Return the highest probability of speech in each clip (n,), batches of alike lengths."""
    found = np.zeros(len(waves))
    order = np.argsort([len(wave) for wave in waves], kind="stable")
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = torch.zeros(len(rows), max(len(waves[row]) for row in rows))
        for place, row in enumerate(rows):
            level = float(np.sqrt(np.mean(np.square(waves[row])))) + 1e-9
            batch[place, : len(waves[row])] = torch.from_numpy(waves[row] * (_LEVEL / level))
        heard = load_voice_activity()(batch)
        for place, row in enumerate(rows):  # what follows a clip is its neighbour's length
            found[row] = float(heard[place, : -(-len(waves[row]) // CHUNK)].max())
    return found
