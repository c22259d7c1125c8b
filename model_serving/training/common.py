"""What all trainings share: finding the models they begin with, figures, writing a model folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_serving.card import CARD_FILE, Figure, ModelCard, read_card, write_card
from model_serving.labels import read_outputs
from schemas.errors import AffectstreamError

_SHIPPED = Path(__file__).resolve().parents[1] / "weights"


def figures(split: str, found: dict[str, float]) -> list[Figure]:
    """Return these scores as dated figures for the card."""
    day = datetime.now(UTC).date().isoformat()
    return [
        Figure(split=split, metric=name, value=round(value, 4), date=day)
        for name, value in found.items()
    ]


def find_model(name: str, build: Path) -> Path:
    """Return the folder of a model that a training begins with: built here, else shipped.

    Raises AffectstreamError where it is in neither place.
    """
    places = (build / "models" / name, _SHIPPED / name)
    found = next((place for place in places if (place / CARD_FILE).is_file()), None)
    if found is None:
        message = (
            f"no model {name} in {places[0].parent} nor among the shipped weights: train it first, "
            "or put it there as the recipe's notes say"
        )
        raise AffectstreamError(message)
    return found


def save_model(folder: Path, net: Any, processor: Any | None, card: ModelCard) -> ModelCard:
    """Write a model folder: fp16 weights, config, processor files, card; return the card as read.

    Half precision halves the folder; the handler loads it as float32. Raises AffectstreamError, and
    writes nothing, where the card's labels are not the names of the net's outputs.
    """
    read_outputs(card, net.config)
    folder.mkdir(parents=True, exist_ok=True)
    net.half().save_pretrained(folder, safe_serialization=True)
    net.float()
    if processor is not None:
        processor.save_pretrained(folder)
    write_card(folder, card)
    return read_card(folder / CARD_FILE)
