"""Voice quality: whether anybody speaks in a clip, by silero-vad's net, and how well it is heard.

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

from schemas.errors import QualityCode

RATE: Final = 16_000
CHUNK: Final = 512
_CONTEXT, _TAIL = 64, 64
_STEP, _WINDOW = 128, 256
_BATCH = 32
_SILENCE = 2e-5  # root mean square of the loudest second: two thirds of a step of 16 bits
_LEVEL = 0.05
_SPEECH = 0.5
_SHORT, _LONG_ENOUGH = 0.3, 0.8  # seconds: a syllable, and the shortest clips of the corpora
_FRAME = 1024  # samples
_SQUARE, _ROUND = 1.5, 2.0  # crest factor: of clipped speech in any codec, and least of the corpora
_LOUD_FRAMES = 5  # a third of a second: a knock on the microphone is shorter
_VOICE = 0.01  # of the power that is reached in so many: a frame below it is a pause
_LOW_NOISE, _LOUD_NOISE = -15.0, -2.0  # dB of the voice
_FEWEST_STEPS, _ENOUGH_STEPS = 2.0, 64  # values of the samples: 2 bits and 6
_ABOVE, _BAND = 320, 10**-4.5  # of 513 bands, from 5 kHz; the corpora's clips have -39 dB and more
_NARROW = 0.7  # at 8 kHz the shipped models were right in .49 to .64 and sure in .70 to .75
_DOUBT = 0.6


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


def judge_speech(
    waves: Sequence[np.ndarray], steps: Sequence[int] | None = None
) -> tuple[np.ndarray, list[QualityCode | None]]:
    """Return what share in [0, 1] of each 16 kHz clip can be judged, and what is wrong if much.

    Whether anybody speaks is judged on the loudest second, and where nobody does there, on the
    whole clip. ``steps`` is how many different values the samples of each file had.
    """
    waves = [wave - wave.mean() for wave in waves]
    loudest = [_loudest(wave) for wave in waves]
    quiet = np.array([np.sqrt(np.mean(np.square(wave))) < _SILENCE for wave in loudest], bool)
    silent = np.ones(len(waves), bool)
    for heard in (loudest, waves):
        rows = np.flatnonzero(silent & ~quiet).tolist()
        silent[rows] = speech_probability([heard[row] for row in rows]) < _SPEECH
    shares = np.zeros(len(waves))
    codes: list[QualityCode | None] = []
    for row, wave in enumerate(waves):
        values = steps[row] if steps is not None else _ENOUGH_STEPS
        share, code = _judge(wave, values, silent=bool(silent[row]))
        shares[row] = share
        codes.append(code)
    return shares, codes


def _judge(wave: np.ndarray, steps: int, *, silent: bool) -> tuple[float, QualityCode | None]:
    seconds = len(wave) / RATE
    if seconds < _SHORT:
        return 0.0, QualityCode.TOO_SHORT
    if silent:
        return 0.0, QualityCode.NO_SPEECH
    shares = {
        QualityCode.CLIPPED: _scale_between(crest_factor(wave), _SQUARE, _ROUND),
        QualityCode.NOISY: min(_share_by_steps(steps), _share_by_noise(wave)),
        QualityCode.NARROW_BAND: _NARROW if is_narrow_band(wave) else 1.0,
        QualityCode.TOO_SHORT: min(1.0, seconds / _LONG_ENOUGH),
    }
    worst = min(shares, key=lambda code: shares[code])
    report = shares[worst] < _DOUBT or (worst is QualityCode.NARROW_BAND and shares[worst] < 1)
    return float(np.prod(list(shares.values()))), worst if report else None


def _scale_between(value: float, none: float, whole: float) -> float:
    return float(np.clip((value - none) / (whole - none), 0.0, 1.0))


def _share_by_steps(steps: int) -> float:
    return _scale_between(float(np.log2(max(steps, 1))), _FEWEST_STEPS, np.log2(_ENOUGH_STEPS))


def _share_by_noise(wave: np.ndarray) -> float:
    if len(wave) < _LONG_ENOUGH * RATE:  # a syllable alone has no pause to hear the noise in
        return 1.0
    return _scale_between(noise_level(wave), _LOUD_NOISE, _LOW_NOISE)


def crest_factor(wave: np.ndarray) -> float:
    """Return the median crest factor of the loudest third of frames: how far peaks stand out.

    Clipping takes the peaks. Cut-off samples themselves are gone after resampling or a codec: of
    clips at forty times full scale it is 1.0 to 1.8 in each, of the corpora's clips 1.9 and more.
    Pauses are left out: with enough of them a third of all frames would not be voice.
    """
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    frames = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(frames).mean(axis=1)
    loud = _mark_voiced(power) & (power >= np.sort(power)[-max(1, len(power) // 3)])
    return float(np.median(np.abs(frames[loud]).max(axis=1) / np.sqrt(power[loud] + 1e-12)))


def noise_level(wave: np.ndarray) -> float:
    """Return how loud what never stops is, in dB of the voice: the least tenth of each frequency.

    From -18 dB down, white noise of 7 dB and more, the shipped models are as right as sure;
    at -6 dB, a hum of half the voice's size, the compact one was right in .25 and sure in .63.
    """
    powers = _powers(wave)
    floor = np.percentile(powers, 10, axis=0).sum()
    voice = powers[_mark_voiced(powers.sum(axis=1))].mean(axis=0).sum()
    return float(10 * np.log10((floor + 1e-20) / (voice + 1e-20)))


def is_narrow_band(wave: np.ndarray) -> bool:
    """Tell whether the voice came through a telephone: nothing of it stands above 5 kHz."""
    powers = _powers(wave)
    bands = powers[_mark_voiced(powers.sum(axis=1))].sum(axis=0)
    return float(bands[_ABOVE:].sum()) < _BAND * float(bands.sum())


def _mark_voiced(power: np.ndarray) -> np.ndarray:
    """Mark the frames (n,) that carry the voice: near the level that is reached in five of them."""
    return np.asarray(power >= _VOICE * np.sort(power)[-min(len(power), _LOUD_FRAMES)])


def _powers(wave: np.ndarray) -> np.ndarray:
    """Return powers (frames, 513) of frames of 64 ms that are not digital silence, at least one."""
    padded = np.pad(wave, (0, max(0, _FRAME - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[:: _FRAME // 2]
    powers = np.square(np.abs(np.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32))))
    some = powers.any(axis=1)
    return np.asarray(powers[some] if some.any() else powers)


def _loudest(wave: np.ndarray) -> np.ndarray:
    """Return the second of a clip with the most energy; all of a shorter one."""
    if len(wave) <= RATE:
        return wave
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    sums = energy[RATE::CHUNK] - energy[: len(energy) - RATE : CHUNK]
    start = CHUNK * int(np.argmax(sums))
    return wave[start : start + RATE]


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
