"""Which speakers train, tune and test the voice model; session logs play test speakers only."""

from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "dev", "test"]

_RAVDESS_DEV = frozenset({19, 20})
_RAVDESS_TEST = frozenset({21, 22, 23, 24})
# One woman for dev, one woman and one man for test; odd RAVDESS actors are men, even are women.
_EMODB_DEV = frozenset({"09"})
_EMODB_TEST = frozenset({"15", "16"})


def ravdess_split(speaker: str) -> Split:
    """Split of a RAVDESS actor, written ``A01`` to ``A24``: 1-18 train, 19-20 dev, 21-24 test."""
    actor = int(speaker.removeprefix("A"))
    if actor in _RAVDESS_TEST:
        return "test"
    return "dev" if actor in _RAVDESS_DEV else "train"


def emodb_split(speaker: str) -> Split:
    """Split of an EMO-DB speaker, written ``03`` to ``16``: two test, one dev, seven train."""
    if speaker in _EMODB_TEST:
        return "test"
    return "dev" if speaker in _EMODB_DEV else "train"
