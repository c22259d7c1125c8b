"""The cards of replies: what a part was trained on, how good it is, what it may be used for."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal, TypeVar

from pydantic import Field, ValidationError

from model_serving.card import Figure, Source
from model_serving.reply.prompt import Language
from schemas.errors import AffectstreamError
from schemas.strict import Frozen, first_problem

ADAPTERS: Final = Path(__file__).with_name("adapters")
CARD_FILE: Final = "card.json"


class _Card(Frozen):
    """What the cards of replies have in common; ``base`` is the model that was trained on."""

    files: ClassVar[tuple[str, ...]]

    name: str
    version: str
    licence: Literal["open", "research"]
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


class AdapterCard(_Card):
    """What ``card.json`` beside an adapter holds."""

    files = ("adapter_config.json", "adapter_model.safetensors")

    language: Language


class FilterCard(_Card):
    """What ``card.json`` beside the learnt part of the filter holds.

    A line is hazardous from the log-odds ``any_above`` on, or ``self_harm_above`` for that kind.
    """

    files = ("config.json", "encoder.safetensors", "tokenizer.json", "judge.safetensors")

    any_above: float
    self_harm_above: float


_Kind = TypeVar("_Kind", AdapterCard, FilterCard)


def read_adapter_card(folder: Path) -> AdapterCard:
    """Read the card of an adapter, and check that its files are those that it describes.

    Raises:
        AffectstreamError: there is no card, it is none, or a file is not what it says.
    """
    return _read(folder, AdapterCard)


def read_filter_card(folder: Path) -> FilterCard:
    """Read the card of the learnt part of the filter, as ``read_adapter_card`` does an adapter's.

    Raises:
        AffectstreamError: there is no card, it is none, or a file is not what it says.
    """
    return _read(folder, FilterCard)


def write_card(folder: Path, card: AdapterCard | FilterCard) -> None:
    """Write the card with the digests of the files that it describes."""
    whole = card.model_copy(update={"sha256": _digests(folder, card.files)})
    (folder / CARD_FILE).write_text(whole.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _read(folder: Path, kind: type[_Kind]) -> _Kind:
    try:
        card = kind.model_validate_json((folder / CARD_FILE).read_bytes())
    except OSError as error:
        message = f"no card at {folder / CARD_FILE}: name a folder that `affectstream train` made"
        raise AffectstreamError(message) from error
    except ValidationError as error:
        message = f"the card {folder / CARD_FILE}: {first_problem(error)}"
        raise AffectstreamError(message) from error
    for name, digest in _digests(folder, kind.files).items():
        if card.sha256.get(name) != digest:
            message = f"{folder / name} is not the file its card describes: train it again"
            raise AffectstreamError(message)
    return card


def _digests(folder: Path, files: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in files:
        path = folder / name
        if not path.is_file():
            message = f"{path} is missing: train it again with `affectstream train reply`"
            raise AffectstreamError(message)
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
