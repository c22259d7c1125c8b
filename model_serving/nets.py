"""The networks that transformers does not have, registered with its Auto classes.

``logmel_cnn`` hears raw 16 kHz waveforms and ``motion_mlp`` sees blendshape weights. Importing
this module is enough for ``from_pretrained`` to know both. Scores of a row depend on that row
alone: neither padding nor the rest of a batch moves them.
"""

from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from schemas.events import MOTION_FEATURES

_FLOOR = 1e-3  # 50 dB under the loud partials of speech: what lies below is the room, not the voice
_ACTIVE = 0.05  # of the mean frame power: frames above it carry the voice, not a pause
_SPREAD = 4.0  # of log-mels of RAVDESS and EMO-DB, rounded


class LogmelCnnConfig(PretrainedConfig):
    """Shape of a ``logmel_cnn``; lengths are in samples at ``sampling_rate``."""

    model_type = "logmel_cnn"

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        win_length: int = 640,
        hop_length: int = 320,
        n_mels: int = 64,
        width: int = 128,
        dropout: float = 0.4,
        **kwargs: Any,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.n_fft = n_fft
        self.win_length = win_length
        self.hop_length = hop_length
        self.n_mels = n_mels
        self.width = width
        self.dropout = dropout
        super().__init__(**kwargs)


class Net(PreTrainedModel):
    """Weights start as torch starts them; transformers' own start is for transformers."""

    def _init_weights(self, module: nn.Module) -> None:
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()


class LogmelCnn(Net):
    """Log-mel spectrogram, dilated convolutions over time, attentive mean and deviation.

    The shape of x-vectors (Snyder et al., 2018), a tenth of their size.
    """

    config_class = LogmelCnnConfig
    main_input_name = "input_values"

    def __init__(self, config: LogmelCnnConfig) -> None:
        super().__init__(config)
        with torch.device("cpu"):  # from_pretrained builds on "meta", where torchaudio cannot
            bank = torchaudio.functional.melscale_fbanks(
                config.n_fft // 2 + 1,
                50.0,
                config.sampling_rate / 2,
                config.n_mels,
                config.sampling_rate,
            )
            window = torch.hann_window(config.win_length)
        self.register_buffer("bank", bank)
        self.register_buffer("window", window)
        width = config.width
        self.layers = nn.ModuleList(
            [
                nn.Conv1d(config.n_mels, width, 5, padding=2, bias=False),
                nn.Conv1d(width, width, 3, padding=2, dilation=2, bias=False),
                nn.Conv1d(width, width, 3, padding=3, dilation=3, bias=False),
                nn.Conv1d(width, 2 * width, 1, bias=False),
            ]
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(w) for w in (width, width, width, 2 * width))
        self.attention = nn.Linear(2 * width, 1)
        self.pooled_norm = nn.BatchNorm1d(4 * width)
        self.classifier = nn.Linear(4 * width, config.num_labels)
        self.post_init()

    def mel_power(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (n, samples) -> mel powers (n, frames, mels), and how many frames are real.

        Only frames that lie wholly inside a clip count; a clip shorter than one frame has one.
        """
        short = self.config.n_fft - waveform.shape[1]
        if short > 0:
            waveform = functional.pad(waveform, (0, short))
        power = torchaudio.functional.spectrogram(
            waveform.float(),
            pad=0,
            window=self.window.float(),
            n_fft=self.config.n_fft,
            hop_length=self.config.hop_length,
            win_length=self.config.win_length,
            power=2.0,
            normalized="window",
            center=False,
        )  # (n, bins, frames)
        frames = (lengths - self.config.n_fft).clamp(min=0) // self.config.hop_length + 1
        return power.transpose(1, 2) @ self.bank.float(), frames

    def log_mel(self, power: Tensor, frames: Tensor) -> Tensor:
        """Mel powers (n, frames, mels) -> log-mels less the mean of each mel while a voice sounds.

        That mean is the microphone, the room and the speaker's habit, not what the clip shows.
        """
        mask = _mask(frames, power.shape[1]).unsqueeze(2)
        loudness = power.sum(dim=2, keepdim=True) * mask
        mean = loudness.sum(dim=1, keepdim=True) / frames.view(-1, 1, 1)
        active = (loudness >= _ACTIVE * mean) * mask  # never empty: some frame reaches the mean
        logs = torch.log(power + _FLOOR)
        centre = (logs * active).sum(dim=1, keepdim=True) / active.sum(dim=1, keepdim=True)
        return (logs - centre) / _SPREAD * mask

    def classify(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel (n, frames, mels) -> logits (n, labels) and what was pooled (n, 4 * width)."""
        real = _mask(frames, mel.shape[1])
        hidden = mel.transpose(1, 2).to(self.classifier.weight.dtype)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            # Masked after each norm, so that a padded row meets the zeros of an unpadded one.
            hidden = functional.relu(norm(layer(hidden))) * real.unsqueeze(1)
            hidden = functional.dropout(hidden, self.config.dropout / 4, self.training)
        hidden = hidden.transpose(1, 2)
        weight = self.attention(hidden).squeeze(2).masked_fill(~real, float("-inf"))
        weight = weight.softmax(dim=1).unsqueeze(2)  # (n, frames, 1)
        mean = (hidden * weight).sum(dim=1)
        spread = ((hidden - mean.unsqueeze(1)).square() * weight).sum(dim=1)
        pooled = self.pooled_norm(torch.cat([mean, (spread + 1e-5).sqrt()], dim=1))
        kept = functional.dropout(pooled, self.config.dropout, self.training)
        return self.classifier(kept), pooled

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Waveforms (n, samples) of unit variance, mask 1 where a sample is real -> logits."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values)
        power, frames = self.mel_power(input_values, attention_mask.sum(dim=1).long())
        logits, pooled = self.classify(self.log_mel(power, frames), frames)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=(pooled,))


def _mask(lengths: Tensor, width: int) -> Tensor:
    return torch.arange(width, device=lengths.device).unsqueeze(0) < lengths.unsqueeze(1)


class MotionMlpConfig(PretrainedConfig):
    """Shape of a ``motion_mlp``."""

    model_type = "motion_mlp"

    def __init__(
        self,
        features: int = len(MOTION_FEATURES),
        hidden: tuple[int, ...] = (128, 64),
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.features = features
        self.hidden = tuple(hidden)
        self.dropout = dropout
        super().__init__(**kwargs)


class MotionMlp(Net):
    """One frame of blendshape weights and head pose -> expression; no memory of other frames."""

    config_class = MotionMlpConfig
    main_input_name = "motion_values"

    def __init__(self, config: MotionMlpConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        width = config.features
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def forward(
        self, motion_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Frames (n, 55), in the order of ``MOTION_FEATURES`` -> logits."""
        hidden = self.body(motion_values.to(self.classifier.weight.dtype))
        logits = self.classifier(hidden)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=(hidden,))


AutoConfig.register("logmel_cnn", LogmelCnnConfig)
AutoModelForAudioClassification.register(LogmelCnnConfig, LogmelCnn)
AutoConfig.register("motion_mlp", MotionMlpConfig)
AutoModel.register(MotionMlpConfig, MotionMlp)
