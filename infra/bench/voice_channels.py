"""How right and how sure the voice models are behind the channels of the field.

``python -m infra.bench.voice_channels`` prints a table of the figures on the cards of the shipped
models, or of the folders that are named: ``affectstream evaluate`` measures them on RAVDESS'
actors 21 to 24, whom no model heard.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from model_serving.card import CARD_FILE, Figure, read_card
from model_serving.training.voice.channel_figures import SPLIT, SURE
from model_serving.training.voice.field_channels import CHANNELS, UNTRAINED
from pipelines.config import WEIGHTS
from pipelines.show.markdown import markdown_table

TIERS: Final = ("voice-compact", "voice-base")
ALLOWED: Final = 0.1
"""By how much the mean confidence may lie over the accuracy."""


def table(found: dict[str, Sequence[Figure]]) -> str:
    """Return one row for each channel: accuracy, mean confidence and by how much it lies over."""
    head = ["channel", *(f"{name}: {what}" for name in found for what in ("right", "sure", "over"))]
    rows = []
    for title in CHANNELS:
        row = [title + (" †" if title in UNTRAINED else "")]
        for figures in found.values():
            values = {(figure.split, figure.metric): figure.value for figure in figures}
            right, sure = (values.get((SPLIT + title, metric)) for metric in ("accuracy", SURE))
            if right is None or sure is None:
                sys.exit("a card has no figures of channels: affectstream evaluate --only voice")
            over = f"{sure - right:+.3f}"
            if sure - right > ALLOWED:
                over = f"**{over}**"
            row += [f"{right:.3f}", f"{sure:.3f}", over]
        rows.append(row)
    return markdown_table(head, rows)


def main() -> None:
    """Print the table."""
    folders = [Path(name) for name in sys.argv[1:]] or [WEIGHTS / name for name in TIERS]
    print(table({folder.name: read_card(folder / CARD_FILE).figures for folder in folders}))
    print("\n† of no kind that the training draws; bold: more than 10 points over the accuracy.")


if __name__ == "__main__":
    main()
