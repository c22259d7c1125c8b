"""The network of the voice models: statistics of a clip, then a small perceptron.

``voice_statistics`` hears raw 16 kHz waveforms. Its statistics are of what the voice does (mel
bands, cepstrum, pitch, modulation), in the tradition of openSMILE's functionals (Schuller et al.,
2009); the base tier adds the mean, spread and motion of the states of a speaker encoder (GE2E, Wan
et al., 2018). Every statistic is of the clip alone: padding and the rest of a batch do not move it.
"""

from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForAudioClassification, PretrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from model_serving.net import Net

_RATE = 16_000
_FFT, _WINDOW, _HOP = 1024, 640, 256  # 40 ms every 16 ms; lags up to 384 samples stand unfolded
_MELS, _CEPSTRA = 40, 20
_CLIPS = 4  # at a time, whose spectra stay in the processor's cache
_FLOOR = 1e-3
_ACTIVE = 0.05  # of the mean frame power: frames above it carry the voice, not a pause
_PITCH = (60, 500)  # Hz
_TILTS = (1000.0, 2000.0)  # Hz: how much lies above
_VOICED = 0.45  # of the frame's power recurs at the lag of the pitch
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_PITCH_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_MODULATION = ((0.5, 1.5), (1.5, 3), (3, 5), (5, 8), (8, 12), (12, 20))  # Hz
_MODULATION_FFT = 960  # frames: 15 s
_BANDS = 10
_TRACKS = _CEPSTRA + 6
FUNCTIONALS = _TRACKS * 10 + 13 + 3 * _MELS + 5 + len(_MODULATION) * _BANDS
_ENCODER_WIDTH, _ENCODER_LAYERS, _ENCODER_MELS = 256, 3, 40
ENCODED = 3 * _ENCODER_LAYERS * _ENCODER_WIDTH
_ENCODER_FFT, _ENCODER_HOP = 400, 160  # 25 ms every 10 ms
_LOUDNESS = 10 ** (-30 / 10)  # mean power that the encoder was trained at


class VoiceStatisticsConfig(PretrainedConfig):
    """Shape of a ``voice_statistics``; ``encoder`` adds the speaker encoder's statistics."""

    model_type = "voice_statistics"

    def __init__(
        self, encoder: bool = False, hidden: int = 256, dropout: float = 0.5, **kwargs: Any
    ) -> None:
        self.encoder = encoder
        self.hidden = hidden
        self.dropout = dropout
        super().__init__(**kwargs)

    @property
    def features(self) -> int:
        """How many statistics the perceptron sees."""
        return FUNCTIONALS + (ENCODED if self.encoder else 0)


class Perceptron(nn.Module):
    """Standardised statistics (n, features) -> logits (n, labels), and the hidden state."""

    centre: Tensor
    spread: Tensor

    def __init__(self, config: VoiceStatisticsConfig) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(config.features))
        self.register_buffer("spread", torch.ones(config.features))
        self.first = nn.Linear(config.features, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self.second = nn.Linear(config.hidden, config.hidden // 2)
        self.classifier = nn.Linear(config.hidden // 2, config.num_labels)
        self.dropout = config.dropout

    def forward(self, statistics: Tensor) -> SequenceClassifierOutput:
        hidden = ((statistics - self.centre) / self.spread).clamp(-5, 5)
        hidden = functional.dropout(hidden, self.dropout / 2, self.training)
        hidden = functional.relu(self.norm(self.first(hidden)))
        hidden = functional.dropout(hidden, self.dropout, self.training)
        hidden = functional.relu(self.second(hidden))
        kept = functional.dropout(hidden, self.dropout / 2, self.training)
        return SequenceClassifierOutput(logits=self.classifier(kept), hidden_states=(hidden,))


class VoiceStatistics(Net):
    """Waveforms -> statistics -> perceptron."""

    config_class = VoiceStatisticsConfig
    main_input_name = "input_values"

    def __init__(self, config: VoiceStatisticsConfig) -> None:
        super().__init__(config)
        self.functionals = Functionals()
        self.encoder = SpeakerStates() if config.encoder else None
        self.perceptron = Perceptron(config)
        self.post_init()

    def statistics(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms (n, samples) of unit variance and their lengths -> (n, features)."""
        found = self.functionals(waveform, lengths)
        if self.encoder is None:
            return found
        return torch.cat([found, self.encoder(waveform, lengths)], dim=1)

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Waveforms (n, samples), mask 1 where a sample is real -> logits (n, labels)."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values)
        return self.perceptron(
            self.statistics(input_values.float(), attention_mask.sum(dim=1).long())
        )


class SpeakerStates(nn.Module):
    """Mean, spread and mean step of each layer of a GE2E speaker encoder over active frames."""

    bank: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (_ENCODER_MELS, *[_ENCODER_WIDTH] * (_ENCODER_LAYERS - 1))
        self.layers = nn.ModuleList(
            nn.LSTM(width, _ENCODER_WIDTH, batch_first=True) for width in widths
        )
        with torch.device("cpu"):  # from_pretrained builds on "meta", where torchaudio cannot
            bank = torchaudio.functional.melscale_fbanks(
                _ENCODER_FFT // 2 + 1,
                0.0,
                _RATE / 2,
                _ENCODER_MELS,
                _RATE,
                norm="slaney",
                mel_scale="slaney",
            )
            window = torch.hann_window(_ENCODER_FFT)
        self.register_buffer("bank", bank)
        self.register_buffer("window", window)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        power = _spectrogram(waveform, self.window.float(), _ENCODER_HOP) @ self.bank.float()
        frames = _frames(lengths, _ENCODER_FFT, _ENCODER_HOP)
        loudness = power.sum(dim=2)
        active = _mark_active(loudness, frames)
        level = _square_mean(waveform, lengths)
        hidden = power * (_LOUDNESS / level.clamp(min=1e-8))[:, None, None]
        found = []
        for layer in self.layers:
            hidden, _ = layer(hidden)
            mean, spread = _moments(hidden, active)
            steps = (hidden[:, 1:] - hidden[:, :-1]).abs()
            found += [mean, spread, _mean(steps, active[:, 1:] & active[:, :-1])]
        return torch.cat(found, dim=1)


class Functionals(nn.Module):
    """Statistics of frames of 40 ms: cepstrum, energy, spectrum, pitch, pauses, modulation."""

    weights: Tensor
    window: Tensor
    cosines: Tensor
    lag_weight: Tensor
    semitones: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.device("cpu"):
            bank = torchaudio.functional.melscale_fbanks(
                _FFT // 2 + 1, 50.0, _RATE / 2, _MELS, _RATE
            )
            window = torch.hann_window(_WINDOW)
            cosines = torchaudio.functional.create_dct(_CEPSTRA, _MELS, "ortho")
            side = (_FFT - _WINDOW) // 2
            spectrum = torch.fft.rfft(functional.pad(window, (side, side)), 2 * _FFT)
            fading = torch.fft.irfft(spectrum.abs().square())[:_FFT]
            slowest, fastest = _RATE // _PITCH[0], _RATE // _PITCH[1]
            lags = torch.arange(fastest, slowest).float()
            # Of two lags that fit as well, the shorter is the pitch and the longer its multiple.
            weight = (1 - 0.15 * lags / slowest) / (fading / fading[0])[fastest:slowest].clamp(0.05)
            hertz = torch.linspace(0, _RATE / 2, _FFT // 2 + 1)
            below = [(hertz < limit).float() for limit in _TILTS]
            weights = torch.column_stack([bank, hertz, torch.ones_like(hertz), *below])
        for name, value in (
            ("weights", weights), ("window", window), ("cosines", cosines), ("lag_weight", weight),
            ("semitones", 12 * torch.log2(_RATE / lags / 100)),
        ):  # fmt: skip
            self.register_buffer(name, value)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        parts = zip(*map(self._spectral, torch.split(waveform, _CLIPS)), strict=True)
        weighted, pitch, strength = (torch.cat(part) for part in parts)
        frames = _frames(lengths, _FFT, _HOP)
        mel, sums = torch.split(weighted, [_MELS, 4], dim=2)
        logs = torch.log(mel + _FLOOR)
        active = _mark_active(mel.sum(dim=2), frames)
        voiced = active & (strength > _VOICED)
        tracks = self._tracks(sums, mel, logs, strength)
        either = torch.where(voiced.any(dim=1, keepdim=True), voiced, active)
        found = [
            *_track_statistics(tracks, active, frames),
            _pitch_statistics(pitch, voiced),
            *_moments(logs, active),
            _mean(logs, either),
            _rhythm(active, voiced),
            _modulation(logs, active),
        ]
        return torch.cat(found, dim=1)

    def _spectral(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Waveforms -> weighted sums of powers (n, frames, 44), pitch, how periodic frames are."""
        window = functional.pad(self.window.float(), [(_FFT - _WINDOW) // 2] * 2)
        power = _spectrogram(waveform, window, _HOP) / self.window.float().square().sum()
        return power @ self.weights.float(), *self._pitch(power)

    def _pitch(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """Powers (n, frames, bins) -> semitones over 100 Hz, and how periodic each frame is."""
        recurrence = torch.fft.irfft(power)
        fastest = _RATE // _PITCH[1]
        lags = recurrence[:, :, fastest : fastest + len(self.lag_weight)]
        strength, at = (lags / (recurrence[:, :, :1] + 1e-6) * self.lag_weight).max(dim=2)
        return self.semitones[at], strength

    def _tracks(self, sums: Tensor, mel: Tensor, logs: Tensor, strength: Tensor) -> Tensor:
        """What is followed over time (n, frames, 26)."""
        moment, whole, *below = (part.squeeze(2) + 1e-6 for part in torch.split(sums, 1, dim=2))
        tilts = [torch.log((whole - low).clamp(min=1e-6) / low) for low in below]
        rise = functional.pad((logs[:, 1:] - logs[:, :-1]).clamp(min=0).mean(dim=2), (1, 0))
        energy = torch.log(mel.sum(dim=2) + _FLOOR)
        rest = torch.stack([energy, torch.log(moment / whole), rise, *tilts, strength], dim=2)
        return torch.cat([logs @ self.cosines, rest], dim=2)


def _track_statistics(tracks: Tensor, active: Tensor, frames: Tensor) -> list[Tensor]:
    mean, spread = _moments(tracks, active)
    third = _mean((tracks - mean[:, None]).pow(3), active) / spread.clamp(min=1e-3).pow(3)
    slopes = torch.zeros_like(tracks)
    slopes[:, 2:-2] = (
        2 * (tracks[:, 4:] - tracks[:, :-4]) + tracks[:, 3:-1] - tracks[:, 1:-3]
    ) / 10
    place = torch.arange(tracks.shape[1], device=tracks.device)
    inside = active & (place >= 2) & (place < frames[:, None] - 2)
    motion, turmoil = _mean(slopes.abs(), inside), _moments(slopes, inside)[1]
    return [mean, spread, _quantiles(tracks, active, _QUANTILES), turmoil, motion, third]


def _pitch_statistics(pitch: Tensor, voiced: Tensor) -> Tensor:
    """13 numbers of the voiced frames' pitch (n, frames): level, span, slope and tremble."""
    track = pitch[:, :, None]
    mean, spread = _moments(track, voiced)
    places = _quantiles(track, voiced, _PITCH_QUANTILES)
    time = torch.arange(pitch.shape[1], device=pitch.device, dtype=pitch.dtype)[None, :, None]
    middle, length = _moments(time.expand_as(track), voiced)
    slope = _mean((track - mean[:, None]) * (time - middle[:, None]), voiced)
    steps = track[:, 1:] - track[:, :-1]
    smooth = voiced[:, 1:] & voiced[:, :-1] & (steps.squeeze(2).abs() < 3)
    span = places[:, 5:6] - places[:, 1:2]
    tremble = [_mean(steps.abs(), smooth), _moments(steps, smooth)[1]]
    return torch.cat([mean, spread, places, slope / length.clamp(min=1), *tremble, span], dim=1)


def _rhythm(active: Tensor, voiced: Tensor) -> Tensor:
    """Log length, shares of active and voiced frames, and how often they begin (n, 5)."""
    first, last = _ends(active)
    length = (last - first).clamp(min=1).float()
    edged = [functional.pad(mask, (1, 1)) for mask in (active, voiced)]  # as if silence is around
    turns = [(mask[:, 1:] != mask[:, :-1]).sum(dim=1) / length for mask in edged]
    shares = [mask.sum(dim=1) / length for mask in (active, voiced)]
    return torch.stack([torch.log(length), *shares, *turns], dim=1)


def _modulation(logs: Tensor, active: Tensor) -> Tensor:
    """Log energy of slow changes of ten broad bands (n, 60), as rhythm and tremor make them."""
    first, last = _ends(active)
    place = torch.arange(logs.shape[1], device=logs.device)
    spoken = (place >= first[:, None]) & (place < last[:, None])
    bands = logs.reshape(*logs.shape[:2], _BANDS, -1).mean(dim=3)
    bands = (bands - _mean(bands, spoken)[:, None]) * spoken[:, :, None]
    spectrum = torch.fft.rfft(bands[:, :_MODULATION_FFT], _MODULATION_FFT, dim=1).abs().square()
    spectrum = spectrum / (last - first).clamp(min=1)[:, None, None]
    per_hertz = _MODULATION_FFT * _HOP / _RATE
    parts = [spectrum[:, int(a * per_hertz) : int(b * per_hertz)] for a, b in _MODULATION]
    return torch.log(torch.cat([part.mean(dim=1) for part in parts], dim=1) + _FLOOR)


def _spectrogram(waveform: Tensor, window: Tensor, hop: int) -> Tensor:
    """Powers (n, frames, bins) of frames as long as the window; of a short clip five frames."""
    size = len(window)
    least = size + 4 * hop  # slopes need five frames
    if waveform.shape[1] < least:
        waveform = functional.pad(waveform, (0, least - waveform.shape[1]))
    found = torch.stft(waveform, size, hop, window=window, center=False, return_complex=True)
    return (found.real.square() + found.imag.square()).transpose(1, 2)


def _frames(lengths: Tensor, size: int, hop: int) -> Tensor:
    """How many frames lie wholly inside a clip, at least one."""
    return (lengths - size).clamp(min=0) // hop + 1


def _mark_active(loudness: Tensor, frames: Tensor) -> Tensor:
    """Mark (n, frames) what carries the voice; never empty, since some frame reaches the mean."""
    real = torch.arange(loudness.shape[1], device=loudness.device) < frames[:, None]
    mean = (loudness * real).sum(dim=1) / frames
    return real & (loudness >= _ACTIVE * mean[:, None])


def _square_mean(waveform: Tensor, lengths: Tensor) -> Tensor:
    return waveform.square().sum(dim=1) / lengths


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Means (n, k) of values (n, frames, k) where the mask holds, 0 where it never does."""
    weights = mask.unsqueeze(2).to(values.dtype)
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    mean = _mean(values, mask)
    return mean, (_mean((values - mean[:, None]).square(), mask) + 1e-8).sqrt()


def _quantiles(values: Tensor, mask: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Quantiles (n, shares * k) of values (n, frames, k) where the mask holds; else 0."""
    ordered = values.masked_fill(~mask.unsqueeze(2), float("inf")).sort(dim=1).values
    last = (mask.sum(dim=1) - 1).clamp(min=0)
    wanted = torch.tensor(shares, device=values.device)[None, :] * last[:, None]
    at = wanted.round().long()[:, :, None].expand(-1, -1, values.shape[2])
    found = ordered.gather(1, at)
    return torch.where(found.isinf(), torch.zeros_like(found), found).flatten(1)


def _ends(active: Tensor) -> tuple[Tensor, Tensor]:
    """First active frame and the one after the last (n,)."""
    marks = active.int()
    return marks.argmax(dim=1), active.shape[1] - marks.flip(1).argmax(dim=1)


AutoConfig.register("voice_statistics", VoiceStatisticsConfig)
AutoModelForAudioClassification.register(VoiceStatisticsConfig, VoiceStatistics)
