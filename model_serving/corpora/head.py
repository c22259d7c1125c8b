"""A head: what a corpus asks of each of its rows."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["single", "multi", "value"]


@dataclass(frozen=True, slots=True)
class Head:
    """Labels that one question asks of: one of them, any of them, or a value for each."""

    name: str
    labels: tuple[str, ...]
    kind: Kind
    weight: float = 1.0
