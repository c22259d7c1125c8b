"""The card of a reply adapter: what it was trained on, how good it is, what it may be used for."""

import hashlib
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from model_serving.card import Figure, Source
from model_serving.reply.prompt import Language
from schemas.errors import AffectstreamError
from schemas.strict import Frozen, first_problem

ADAPTERS: Final = Path(__file__).with_name("adapters")
CARD_FILE: Final = "card.json"
_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")


class AdapterCard(Frozen):
    """What ``card.json`` beside an adapter holds; ``base`` is the model that it changes."""

    name: str
    version: str
    licence: Literal["open", "research"]
    language: Language
    base: str
    training_data: tuple[Source, ...] = ()
    figures: tuple[Figure, ...] = ()
    command: str = ""
    notes: str = ""
    sha256: dict[str, str] = Field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """Name and version, as every reply carries them."""
        return f"{self.name}@{self.version}"


def read_adapter_card(folder: Path) -> AdapterCard:
    """Read the card of an adapter, and check that its files are those that it describes.

    Raises:
        AffectstreamError: there is no card, it is none, or a file is not what it says.
    """
    try:
        card = AdapterCard.model_validate_json((folder / CARD_FILE).read_bytes())
    except OSError as error:
        message = f"no card at {folder / CARD_FILE}: name a folder that `affectstream train` made"
        raise AffectstreamError(message) from error
    except ValidationError as error:
        message = f"the card {folder / CARD_FILE}: {first_problem(error)}"
        raise AffectstreamError(message) from error
    for name, digest in _digests(folder).items():
        if card.sha256.get(name) != digest:
            message = f"{folder / name} is not the file its card describes: train it again"
            raise AffectstreamError(message)
    return card


def write_adapter_card(folder: Path, card: AdapterCard) -> None:
    """Write the card with the digests of the adapter's files."""
    whole = card.model_copy(update={"sha256": _digests(folder)})
    (folder / CARD_FILE).write_text(whole.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            message = f"the adapter lacks {path}: save it with peft's `save_pretrained`"
            raise AffectstreamError(message)
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
