"""Makes the voice clips of the built-in sample with espeak-ng.

Run ``python -m pipelines.sessionlogs.sample_voice`` to make them again; only that needs espeak-ng
(version 1.51 made the committed clips). Each expression is a setting of speech rate, pitch, pitch
range and loudness. The directions follow, from memory, Murray and Arnott, "Toward the simulation
of emotion in synthetic speech", JASA 93(2), 1993, table I, and Scherer, "Vocal communication of
emotion", Speech Communication 40, 2003, table 2: anger faster, higher, wide and loud; joy higher,
wide and loud; fear much faster, very much higher; sadness slower, lower, narrow and soft; disgust
very much slower and lower. Surprise, on which both say little, is set high and widest. The sizes
are ours.
"""

import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import soundfile as sf
import torch
import torchaudio.functional as audio

from pipelines.sessionlogs.sample_data import DATA, MANIFEST, VOICE, Utterance, utterances
from schemas.vocabularies import EXPRESSIONS

RATE: Final = 16_000
CLIPS_PER_CELL: Final = 3

_SILENCE: Final = 0.003


class Prosody(NamedTuple):
    """Words a minute, pitch 0-99, pitch range and loudness of espeak-ng."""

    speed: int
    pitch: int
    range: str
    amplitude: int


PROSODY: Final = {
    "anger": Prosody(195, 62, "170%", 190),
    "disgust": Prosody(115, 30, "110%", 75),
    "fear": Prosody(225, 88, "150%", 95),
    "joy": Prosody(180, 72, "200%", 140),
    "sadness": Prosody(125, 32, "35%", 45),
    "surprise": Prosody(165, 82, "260%", 125),
    "neutral": Prosody(160, 48, "80%", 90),
}

VOICES: Final = {
    "en": ("en-us+m3", "en-us+f2", "en-gb+f4"),
    "zh": ("cmn+f3", "cmn+m1", "cmn+f5"),
}

# three short clips as FLAC and WAV, so that each decoder has work; Opus is a tenth of their size
_OPUS, _FLAC, _WAV = ("ogg", "OPUS"), ("flac", "PCM_16"), ("wav", "PCM_16")
_CONTAINERS = {"en-fear-1": _WAV, "zh-fear-1": _FLAC, "zh-neutral-1": _FLAC}
_OPUS_LEVEL = 0.93  # about 25 kbit/s

# at the same setting espeak-ng says a Mandarin sentence of this length in nearly twice the time
_PACE = {"en": 1.0, "zh": 1.7}


def speak(utterance: Utterance, voice: str) -> np.ndarray:
    """Return 16 kHz mono samples in [-1, 1] of this utterance as espeak-ng says it."""
    prosody = PROSODY[utterance.expression]
    speed = round(prosody.speed * _PACE[utterance.lang])
    text = utterance.text
    ssml = f'<speak><prosody range="{prosody.range}">{escape(text)}</prosody></speak>'
    command = [
        "espeak-ng", "-m", "--stdout", "-v", voice, "-s", str(speed),
        "-p", str(prosody.pitch), "-a", str(prosody.amplitude), ssml,
    ]  # fmt: skip
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = sf.read(io.BytesIO(wav), dtype="float32")
    heard = np.flatnonzero(np.abs(samples) > _SILENCE)
    spoken = torch.from_numpy(samples[: heard[-1] + 1])
    return audio.resample(spoken, rate, RATE).clamp(-1, 1).numpy()


def choose_utterances() -> Iterator[tuple[Utterance, str]]:
    """Yield the utterances to be spoken with a voice each: the shortest of every expression."""
    for lang, voices in VOICES.items():
        for expression in EXPRESSIONS:
            cell = [u for u in utterances() if (u.lang, u.expression) == (lang, expression)]
            plain = sorted((u for u in cell if not u.personal), key=lambda u: len(u.text))
            yield from zip(plain[:CLIPS_PER_CELL], voices, strict=True)


def write_clips(folder: Path) -> list[dict[str, Any]]:
    """Write every clip and return the rows of the manifest."""
    rows = []
    for number, (utterance, voice) in enumerate(choose_utterances()):
        samples = speak(utterance, voice)
        name = f"{utterance.lang}-{utterance.expression}-{number % CLIPS_PER_CELL + 1}"
        suffix, subtype = _CONTAINERS.get(name, _OPUS)
        level = _OPUS_LEVEL if suffix == "ogg" else None
        path = folder / f"{name}.{suffix}"
        sf.write(path, samples, RATE, subtype, format=suffix.upper(), compression_level=level)
        row = {
            "file": path.name,
            "lang": utterance.lang,
            "expression": utterance.expression,
            "voice": voice,
            "seconds": round(len(samples) / RATE, 2),
            "text": utterance.text,
        }
        rows.append(row)
    return rows


def main() -> None:
    """Replace the committed clips and their manifest."""
    folder = DATA / VOICE
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    rows = write_clips(folder)
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
