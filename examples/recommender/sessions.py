"""Sessions with a known answer: what people choose follows their taste and, maybe, their mood."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from schemas.arkit import BLENDSHAPES
from schemas.vocabularies import EXPRESSIONS

PEOPLE, ITEMS, TASTES, OFFERED = 1_000, 600, 16, 20
TASTE_WEIGHT, MOOD_WEIGHT = 8.8, 1.5
"""How much each counts in a choice, against Gumbel noise of scale 1."""
MOODS = (0.08, 0.03, 0.07, 0.17, 0.09, 0.08, 0.48)
"""Share of visits in each mood, in the order of ``EXPRESSIONS``."""
LENGTH, VALID = timedelta(seconds=5), timedelta(seconds=30)
"""Of a window, and of the decision that was taken on it."""
RECENT, STALE = timedelta(seconds=2), timedelta(seconds=60)
"""How long before a visit its decision's window ended: such a decision is valid, or expired."""
KINDS = ("usable", "abstained", "mirroring", "expired")
SHARES = (0.85, 0.05, 0.05, 0.05)


@dataclass(frozen=True, slots=True)
class Visits:
    """Visits in order of time, one row each, and what the stream decided just before each.

    ``people`` (n,), ``offers`` (n, 20) and ``choices`` (n,) are indices, a choice one into its
    offers. ``moods`` (n,) is what people really showed, which no recommender sees; ``seen`` (n,)
    what the recogniser made of it, with ``confidences`` (n,). ``kinds`` (n,) are indices of
    ``KINDS``. ``genres`` (600,) belong to the items.
    """

    genres: np.ndarray
    people: np.ndarray
    offers: np.ndarray
    choices: np.ndarray
    moods: np.ndarray
    seen: np.ndarray
    confidences: np.ndarray
    kinds: np.ndarray

    def times(self, begin: datetime) -> list[datetime]:
        """Return when each visit takes place: one a second."""
        return [begin + timedelta(seconds=n) for n in range(len(self.people))]

    @property
    def chosen(self) -> np.ndarray:
        """The chosen items, (n,)."""
        return self.offers[np.arange(len(self.choices)), self.choices]


def subject(person: int, begin: datetime) -> str:
    """Return a person's pseudonym: each run has people of its own, 32 hex digits."""
    return f"{round(begin.timestamp()):012x}{person:020x}"


def generate_visits(count: int, *, mood_counts: bool = True, seed: int = 1) -> Visits:
    """Make visits by people who like what suits their taste and, if it counts, their mood.

    The recogniser is right as often as its confidence says, which is 0.8 on average: that is what
    a calibrated confidence means.
    """
    rng = np.random.default_rng(seed)
    tastes = rng.normal(0, TASTES**-0.5, (PEOPLE, TASTES))
    traits = rng.normal(0, TASTES**-0.5, (ITEMS, TASTES))
    genres = rng.integers(0, len(EXPRESSIONS), ITEMS)
    suits = (np.arange(len(EXPRESSIONS)) * 3 + 1) % len(EXPRESSIONS)  # mood → the genre it favours
    people = rng.integers(0, PEOPLE, count)
    moods = rng.choice(len(EXPRESSIONS), count, p=MOODS)
    confidences = rng.beta(8, 2, count)
    right = rng.random(count) < confidences
    others = (moods + rng.integers(1, len(EXPRESSIONS), count)) % len(EXPRESSIONS)
    draws = rng.random((count, ITEMS), np.float32)
    offers = np.argpartition(draws, OFFERED, axis=1)[:, :OFFERED]
    liking = TASTE_WEIGHT * np.einsum("nk,nok->no", tastes[people], traits[offers])
    liking += MOOD_WEIGHT * mood_counts * (genres[offers] == suits[moods][:, None])
    return Visits(
        genres=genres,
        people=people,
        offers=offers,
        choices=(liking + rng.gumbel(size=liking.shape)).argmax(axis=1),
        moods=moods,
        seen=np.where(right, moods, others),
        confidences=confidences,
        kinds=rng.choice(len(KINDS), count, p=SHARES),
    )


def decisions(visits: Visits, begin: datetime) -> list[dict[str, Any]]:
    """Return a row of ``expression_decisions`` for each visit, as a live job would land it.

    Most can be used for the visit. The others were abstained from, were decided for mirroring an
    avatar only, or had expired when the visit came.
    """
    rows: list[dict[str, Any]] = []
    for n, time in enumerate(visits.times(begin)):
        kind, who = KINDS[visits.kinds[n]], subject(int(visits.people[n]), begin)
        end = time - (STALE if kind == "expired" else RECENT)
        row = {
            "decision_id": f"{who}-{n}",
            "window_id": f"{who}-{n}",
            "subject_ref": who,
            "session_ref": who,
            "scene_id": "shop",
            "scenario": "social",
            "purpose": "avatar_mirroring" if kind == "mirroring" else "recommendation",
            "region": "EU",
            "age_band": "adult",
            "window_end": end,
            "expression": None if kind == "abstained" else EXPRESSIONS[visits.seen[n]],
            "confidence": float(visits.confidences[n]),
            "valence_shift": 0.0,
            "arousal_shift": 0.0,
            "action": "observe",
            "reason": "abstained" if kind == "abstained" else "default",
            "reply_id": None,
            "intensity": 0.0,
            "avatar_weights": [0.0] * len(BLENDSHAPES),
            "policy_version": "generated",
            "expires_at": end + VALID,
            "event_date": end.date(),
        }
        rows.append(row)
    return rows
