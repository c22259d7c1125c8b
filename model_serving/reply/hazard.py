"""What neither a person's words may lead to, nor a reply say: five kinds, on two sides."""

from typing import Final, Literal, get_args

Hazard = Literal["self_harm", "sexual", "abuse", "advice", "human_claim"]
HAZARDS: Final[tuple[Hazard, ...]] = get_args(Hazard)
"""In the order in which signs of them are looked for: the first that is found counts."""
Side = Literal["person", "reply"]
