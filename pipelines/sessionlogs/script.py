"""What the subjects of a log show when, and the steady streams that follow from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np

from model_serving.corpora.motion import motion_frames
from pipelines.sessionlogs.cloudevents import Event, Subject, json_bytes
from schemas.arkit import BLENDSHAPES, HEAD_POSE
from schemas.modalities import MOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS

NEUTRAL: Final = EXPRESSIONS.index("neutral")
TICK_MS: Final = 10
"""Event times of a session are multiples of this, so none falls on a withdrawal."""

_CHUNK: Final = 512
"""Motion frames held at a time: a subject of any length takes 112 kB."""

_SENT: Final = 0.05
"""Clients send weights from here on: below it a tracker's noise hides any movement."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The expression that one subject shows, as its number in EXPRESSIONS, from each time on."""

    starts: np.ndarray
    shown: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the expression number shown at each time; neutral before the first start."""
        place = np.searchsorted(self.starts, times, side="right") - 1
        return np.where(place >= 0, self.shown[np.maximum(place, 0)], NEUTRAL)


def markov(start_ms: int, stop_ms: int, likely: np.ndarray, rng: np.random.Generator) -> Timeline:
    """Script one subject: an expression is held for 5 to 13 s, and every second one is neutral.

    ``likely`` gives the odds of the six others; after one of them half of the time comes neutral.
    """
    starts, shown = [start_ms], [NEUTRAL]
    while (at := starts[-1] + int(rng.uniform(5_000, 13_000))) < stop_ms:
        to_neutral = shown[-1] != NEUTRAL and rng.random() < 0.5
        odds = np.where(np.arange(len(likely)) == shown[-1], 0, likely)
        shown.append(NEUTRAL if to_neutral else int(rng.choice(len(odds), p=odds / odds.sum())))
        starts.append(at)
    return Timeline(np.array(starts), np.array(shown))


def ids_of(scene: str) -> Iterator[str]:
    """Number the events of a scene."""
    return (f"{scene}-{number:06d}" for number in count())


def ticks(start_ms: int, stop_ms: int, step_ms: int, rng: np.random.Generator) -> np.ndarray:
    """Return event times about one step apart, each moved by up to a fifth of a step."""
    grid = np.arange(start_ms, stop_ms, step_ms) + rng.integers(0, step_ms)
    moved = grid + rng.integers(-step_ms // 5, step_ms // 5 + 1, len(grid))
    return on_tick(np.sort(moved[(moved >= start_ms) & (moved < stop_ms)]))


def on_tick(times: np.ndarray) -> np.ndarray:
    """Round times down to whole ticks."""
    return times // TICK_MS * TICK_MS


def delays(number: int, rng: np.random.Generator) -> np.ndarray:
    """Return delays from event to arrival in ms: about 80, and 1 to 6 s for three in a hundred."""
    usual = rng.lognormal(np.log(80), 0.5, number)
    stalled = rng.random(number) < 0.03
    return np.where(stalled, rng.uniform(1_000, 6_000, number), usual).astype(int)


def motion_events(
    subject: Subject,
    times: np.ndarray,
    timeline: Timeline,
    ids: Iterator[str],
    rng: np.random.Generator,
) -> Iterator[Event]:
    """Yield a motion event for each time, synthesised from the expression shown then."""
    late = delays(len(times), rng)
    for start in range(0, len(times), _CHUNK):
        part = slice(start, start + _CHUNK)
        shown = timeline.at(times[part])
        frames = motion_frames(shown, rng)
        for at, number, frame, delay in zip(times[part], shown, frames, late[part], strict=True):
            yield Event(
                kind="motion",
                id=next(ids),
                subject=subject,
                time_ms=int(at),
                arrival_ms=int(at + delay),
                payload=motion_payload(frame),
                structured=bool(rng.random() < 0.1),
                expression=EXPRESSIONS[number],
                corpus="synthetic",
            )


def motion_payload(frame: np.ndarray, least: float = _SENT) -> bytes:
    """Return the weights from ``least`` on, or the largest, and three angles as JSON."""
    values = dict(zip(MOTION_FEATURES, np.round(frame.astype(float), 3).tolist(), strict=True))
    least = min(least, max(values[name] for name in BLENDSHAPES))
    weights = {name: values[name] for name in BLENDSHAPES if values[name] >= least}
    return json_bytes({"weights": weights, "head": {name: values[name] for name in HEAD_POSE}})
