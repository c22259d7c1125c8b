"""What all adaptations share: where a folder may be written, and what its card says of figures."""

from collections.abc import Iterable
from pathlib import Path

from model_serving.card import CARD_FILE, Figure, ModelCard
from schemas.errors import AffectstreamError


def check_place(card: ModelCard, source: Path, out: Path) -> None:
    """Refuse a model that was adapted already, and to write over the model or other files."""
    if card.adapted is not None:
        message = (
            f"{card.model_id} was adapted already: name the model that it was made from, "
            f"{card.adapted.base}, as `models.{card.modality}`"
        )
        raise AffectstreamError(message)
    if out.resolve() == source.resolve():
        message = f"{out} holds the model itself: name another folder, such as {out}-adapted"
        raise AffectstreamError(message)
    if out.exists() and not (out / CARD_FILE).is_file() and (out.is_file() or any(out.iterdir())):
        message = f"{out} holds something else than a model: name a folder that is new or empty"
        raise AffectstreamError(message)


def check_enough(
    found: tuple[int, int],
    least: tuple[int, int],
    nouns: tuple[str, str],
    *,
    refused: int,
    left_out: str,
) -> None:
    """Refuse a log with fewer events, or of fewer people, than an adaptation needs.

    ``found`` and ``least`` count events and people, ``nouns`` say what they are; ``left_out`` says
    what else was left out than what policy ``refused``.
    """
    if all(count >= needed for count, needed in zip(found, least, strict=True)):
        return
    have, people = (number(*each) for each in zip(found, nouns, strict=True))
    message = (
        f"the log has {have} of {people} that can be used, and adapting needs {least[0]} of "
        f"{least[1]} at least (refused by policy: {refused}; {left_out}): record a longer log"
    )
    raise AffectstreamError(message)


def unmeasured(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """Return the figures of a model as its adapted copy shows them."""
    note = "before adaptation, not measured again: "
    return tuple(f.model_copy(update={"split": note + f.split}) for f in figures)


def number(count: int, what: str) -> str:
    """Return a count and its noun, in the plural but for one."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
