"""What ``affectstream adapt voice`` brings: behind channels, and where the corpus is another.

``python -m infra.bench.voice_adaptation --data CORPORA`` prints two tables. The first has
``voice-compact``, or the folder that is named with ``--model``, on the dev speakers, whom no model
heard, behind channels that all of a deployment's clips come through. The second has perceptrons on
the same statistics that learnt the clips of one corpus as they are, on the other corpus.
"""

import argparse
import copy
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import torch

from model_serving.metrics import accuracy, confusion_matrix, uar
from model_serving.recogniser import NetRecogniser
from model_serving.training.harness import Run
from model_serving.training.heads import SHARED, columns
from model_serving.training.recipe import read_recipe
from model_serving.training.voice.channel_figures import send_all
from model_serving.training.voice.data import (
    CORPORA,
    HEADS,
    Clips,
    load_clips,
    statistics_of,
    targets,
)
from model_serving.training.voice.field_channels import CHANNELS
from model_serving.training.voice.train import fit_perceptron
from model_serving.voice.net import Perceptron
from pipelines.config import WEIGHTS
from pipelines.models.adapt import clips as adapt
from pipelines.models.adapt.centre import find_centre
from pipelines.show.markdown import markdown_table

FIXED: Final = (
    "as recorded", "telephone, µ-law", "2 kHz low-pass", "60 Hz hum, 0 dB", "music, -3 dB",
    "room of 1.2 s", "25 % faster", "8 bits, -30 dB",
)  # fmt: skip
"""Channels of ``CHANNELS`` that may be those of all clips of a deployment."""


def behind_channels(model: NetRecogniser, clips: Clips) -> str:
    """Return a table of accuracy and mean confidence behind each channel, before and after."""
    truth, rows = _labels(clips), []
    for title in FIXED:
        media = send_all(clips, title, CHANNELS[title])
        kept, statistics = adapt.statistics_of(model, pa.array(media, pa.binary()))
        cells = [title]
        for perceptron in _both(model.net.perceptron, statistics, clips.speaker[kept]):
            scores = model.expressions(_logits(perceptron, statistics))
            right = accuracy(truth[kept], scores.argmax(axis=1))
            cells += [f"{right:.2f}", f"{scores.max(axis=1).mean():.2f}"]
        rows.append(cells)
    return markdown_table(["channel", "before", "sure", "after", "sure"], rows)


def across_corpora(model: NetRecogniser, clips: Clips, folder: Path) -> str:
    """Return a table of the recall by class on a corpus of a perceptron that heard the other."""
    statistics = statistics_of(model.net, clips.waves, "clips")
    recipe = read_recipe("voice-compact").model_copy(update={"distil": None})
    truth, shared, rows = _labels(clips), columns(HEADS, SHARED.name), []
    for corpus in CORPORA:
        learnt = (clips.corpus == corpus) & (clips.split != "test")
        run = Run(folder=folder, build=folder, quiet=True)
        state = fit_perceptron(recipe, statistics[learnt][:, None], clips.take(learnt), None, run)
        perceptron = Perceptron(model.net.config)
        perceptron.load_state_dict(state)
        other = clips.corpus != corpus
        cells = [f"{corpus} → {clips.corpus[other][0]}"]
        for each in _both(perceptron, statistics[other], clips.speaker[other]):
            found = _logits(each, statistics[other])[:, shared].argmax(axis=1)
            cells.append(f"{uar(confusion_matrix(truth[other], found, 7)):.2f}")
        rows.append(cells)
    return markdown_table(["learnt → judged", "before", "after"], rows)


def _both(
    perceptron: Perceptron, statistics: np.ndarray, speakers: np.ndarray
) -> tuple[Perceptron, Perceptron]:
    """Return a perceptron as it is, and with the centre of these clips."""
    moved = copy.deepcopy(perceptron)
    centre, _ = find_centre(statistics, speakers, perceptron.centre.double().numpy())
    moved.centre.copy_(torch.from_numpy(centre))
    return perceptron, moved


def _logits(perceptron: Perceptron, statistics: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(perceptron.eval()(torch.from_numpy(statistics)).logits.numpy())


def _labels(clips: Clips) -> np.ndarray:
    return np.asarray(targets(clips)[:, columns(HEADS, SHARED.name)].argmax(axis=1))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=str(WEIGHTS / "voice-compact"))
    parser.add_argument("--folder", type=Path, default=Path("build/voice-adaptation"))
    given = parser.parse_args()
    model, clips = adapt.load_voice_model(given.model), load_clips(given.data)
    print(behind_channels(model, clips.take(clips.split == "dev")), end="\n\n", flush=True)
    print(across_corpora(model, clips, given.folder))


if __name__ == "__main__":
    main()
