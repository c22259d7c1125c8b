"""How right and how sure the shipped voice models are behind the channels of the field.

``python -m infra.bench.voice_channels CORPORA`` prints a table of both tiers on RAVDESS' actors
21 to 24, whom no model heard.
"""

import sys
from pathlib import Path
from typing import Final

from model_serving.training.evaluation import Measured
from model_serving.training.voice.channel_figures import SPLIT, SURE, measure_channels
from model_serving.training.voice.data import RAVDESS, load_clips
from model_serving.training.voice.field_channels import UNTRAINED
from pipelines.config import WEIGHTS
from pipelines.show.markdown import markdown_table

TIERS: Final = ("voice-compact", "voice-base")
ALLOWED: Final = 0.1
"""By how much the mean confidence may lie over the accuracy."""


def table(found: dict[str, list[Measured]]) -> str:
    """Return one row for each channel: accuracy, mean confidence and by how much it lies over."""
    head = ["channel", *(f"{name}: {what}" for name in found for what in ("right", "sure", "over"))]
    rows: dict[str, list[str]] = {}
    for measured in found.values():
        values = {(m.split, m.metric): m.value for m in measured}
        for split in dict.fromkeys(m.split for m in measured):
            right, sure = values[split, "accuracy"], values[split, SURE]
            over = f"{sure - right:+.3f}"
            title = split.removeprefix(SPLIT)
            cells = [
                f"{right:.3f}",
                f"{sure:.3f}",
                f"**{over}**" if sure - right > ALLOWED else over,
            ]
            rows.setdefault(title, [title + (" †" if title in UNTRAINED else "")]).extend(cells)
    return markdown_table(head, list(rows.values()))


def main() -> None:
    """Print the table."""
    clips = load_clips(Path(sys.argv[1]), [RAVDESS.name])
    clips = clips.take(clips.split == "test")
    folders = [Path(name) for name in sys.argv[2:]] or [WEIGHTS / name for name in TIERS]
    print(table({folder.name: measure_channels(folder, clips) for folder in folders}))
    print("\n† of no kind that the training draws; bold: more than 10 points over the accuracy.")


if __name__ == "__main__":
    main()
