"""Who may ask for what: roles, and what each may see."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What a token is for."""

    ANALYST = "analyst"
    RECOMMENDER = "recommender"
    OFFICER = "officer"
    OPERATOR = "operator"


class Resource(StrEnum):
    """What can be asked for."""

    LATEST = "latest"
    HISTORY = "history"
    DECISION = "decision"
    EXPLANATION = "explanation"
    METRICS = "metrics"


EVERY: Final = None
"""Rows of every purpose."""
RECOMMENDATION: Final = frozenset({"recommendation"})

Purposes = frozenset[str] | None

RIGHTS: Mapping[Role, Mapping[Resource, Purposes]] = MappingProxyType(
    {
        Role.ANALYST: {
            Resource.LATEST: EVERY,
            Resource.HISTORY: EVERY,
            Resource.DECISION: EVERY,
            Resource.EXPLANATION: EVERY,
        },
        Role.RECOMMENDER: {
            Resource.LATEST: RECOMMENDATION,
            Resource.DECISION: RECOMMENDATION,
        },
        Role.OFFICER: {
            Resource.HISTORY: EVERY,
            Resource.DECISION: EVERY,
            Resource.EXPLANATION: EVERY,
        },
        Role.OPERATOR: {Resource.METRICS: EVERY},
    }
)
"""Role → resource → of which purposes; what stands nowhere is refused.

A recommender gets what people consented to for recommendation, as long as it has not expired, and
nothing else: a history has expired decisions in it. An officer answers questions about decisions
and needs no live view. An operator sees no person's data.
"""
