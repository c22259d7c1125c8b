"""The built-in sample: thirteen subjects in four scenes, three minutes, made here from nothing.

Written utterances, clips of a speech synthesiser, synthetic motion and rendered faces follow one
script of shown expressions, which is the ground truth. Nothing in it is a recording of a person.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from pipelines.sessionlogs import faces, faults
from pipelines.sessionlogs.cloudevents import Event, Subject, consent, json_bytes, mark_refusal
from pipelines.sessionlogs.sample_data import (
    SYNTHESISED,
    VARIANTS,
    Clip,
    Utterance,
    clips,
    utterances,
)
from pipelines.sessionlogs.script import (
    Timeline,
    delays,
    ids_of,
    markov,
    motion_events,
    on_tick,
    ticks,
)
from pipelines.sessionlogs.writer import SessionLog, describe_log, in_arrival_order, new_log
from schemas.vocabularies import EXPRESSIONS

ABOUT: Final = (
    "The built-in sample: written texts, faces rendered from a head mesh, synthesised speech, "
    "motion made by rule; no recording of a person. The figures show that the pipeline works, not "
    "how well people are read: for that see Models in the README."
)
SEED: Final = 20260914
START_MS: Final = int(datetime(2026, 9, 14, 10, tzinfo=UTC).timestamp()) * 1000
LENGTH_MS: Final = 185_000
WITHDRAWN_MS: Final = START_MS + 120_005

# odds of anger, disgust, fear, joy, sadness, surprise, neutral
_LIKELY: Final = {
    "game": np.array([1.5, 0.6, 1.2, 2.0, 0.6, 1.5, 1.0]),
    "social": np.array([0.8, 0.8, 0.6, 2.2, 1.0, 1.2, 1.0]),
    "learning": np.array([0.7, 0.6, 1.2, 1.4, 1.0, 1.2, 1.0]),
    "support": np.array([1.8, 1.0, 1.2, 0.8, 1.6, 0.7, 1.0]),
}
_ACTIVITY: Final = {
    "game": ("raid", "lobby"),
    "social": ("party", "concert"),
    "learning": ("quiz", "group work"),
    "support": ("ticket", "call"),
}

SUBJECTS: Final = (
    Subject("player-quill-3101", "arena-7", "game", "en", "US"),
    Subject("player-brambles-3102", "arena-7", "game", "en", "EU"),
    Subject("player-shuang-3103", "arena-7", "game", "zh", "CN"),
    Subject("kid-pip-3104", "arena-7", "game", "en", "US", age_band="child"),
    Subject("guest-marlow-4201", "rooftop-2", "social", "en", "EU"),
    Subject("guest-yutong-4202", "rooftop-2", "social", "zh", "CN"),
    Subject("guest-noor-4203", "rooftop-2", "social", "en", "US-IL", withdraws_ms=WITHDRAWN_MS),
    Subject("student-haoran-5301", "classroom-5", "learning", "zh", "CN"),
    Subject("student-tamsin-5302", "classroom-5", "learning", "en", "US"),
    Subject("student-elif-5303", "classroom-5", "learning", "en", "EU"),
    Subject("caller-ines-6401", "helpdesk-1", "support", "en", "OTHER", "recommendation"),
    Subject("caller-jianyu-6402", "helpdesk-1", "support", "zh", "CN", "recommendation"),
    Subject("caller-silent-6403", "helpdesk-1", "support", "en", "EU", consented=False),
)
FORMER: Final = Subject("member-former-9901", "rooftop-2", "social", "en", "EU")
"""A subject who only asks for erasure: the log holds no session event of it."""

PLANTED: Final = MappingProxyType(
    {
        "audio_undecodable": 2,
        "bad_headers": 1,
        "bad_json": 2,
        "bad_time": 1,
        "duplicate": 2,
        "image_undecodable": 2,
        "notice_missing": 3,
        "null_value": 1,
        "unknown_event_type": 1,
        "unknown_unit": 1,
        "wrong_type": 2,
    }
)
"""Faults by the code that the pipeline owes; a duplicate owes that it counts once."""

_PLAN: Final = {
    "text": (
        faults.bad_json, faults.wrong_type, faults.unknown_type, faults.bad_time,
        faults.missing_id, faults.missing_notice, faults.null_value, faults.bad_json,
    ),
    "voice": (faults.broken_audio, faults.missing_notice, faults.broken_audio),
    "face": (faults.truncated_image, faults.missing_notice, faults.truncated_image),
    "motion": (faults.wrong_type, faults.out_of_range),
}  # fmt: skip


def write_sample(out: Path) -> SessionLog:
    """Write the sample to ``out/log`` and its ground truth to ``out/truth.parquet``.

    Raises:
        AffectstreamError: ``out`` exists and is no session log, or can not be written.
    """
    with new_log(out) as writer:
        writer.write_events(in_arrival_order(sample_events()))
    return describe_log(out, writer)


def sample_events() -> list[Event]:
    """Return every event of the sample in the order of event time."""
    rng = np.random.default_rng(SEED)
    events = [*_governance(), *_session(rng)]
    events.sort(key=lambda event: (event.time_ms, event.id))
    return [mark_refusal(event) for event in _with_faults(events, rng)]


def _governance() -> Iterator[Event]:
    ids = ids_of("governance")
    for subject in (*SUBJECTS, FORMER):
        if subject.consented:
            yield consent(subject, next(ids), START_MS - 60_000, granted=True)
        if subject.withdraws_ms is not None:
            yield consent(subject, next(ids), subject.withdraws_ms, granted=False)
    asked = START_MS + 170_000
    reason = json_bytes({"reason": "account closed"})
    yield Event("erasure", next(ids), FORMER, asked, asked + 30, reason)


def _session(rng: np.random.Generator) -> Iterator[Event]:
    stop = START_MS + LENGTH_MS
    for scene in dict.fromkeys(s.scene for s in SUBJECTS):
        cast = [s for s in SUBJECTS if s.scene == scene]
        ids = ids_of(scene)
        scripts = {s.id: markov(START_MS, stop, _LIKELY[s.scenario], rng) for s in cast}
        yield from _turns(cast, scripts, ids, rng)
        for subject in cast:
            script = scripts[subject.id]
            yield from _context(subject, ids, rng)
            head = SUBJECTS.index(subject)
            shots = ticks(START_MS, stop, 2_400, rng)
            yield from _faces(subject, head, script, shots, ids, rng)
            beats = ticks(START_MS, stop, 500, rng)
            yield from motion_events(subject, beats, script, ids, rng)


def _turns(
    cast: list[Subject],
    scripts: dict[str, Timeline],
    ids: Iterator[str],
    rng: np.random.Generator,
) -> Iterator[Event]:
    """Yield texts and voice clips; subjects take turns, 2 to 5 s apart."""
    says = _Lines(rng)
    at, last = START_MS + 1_000, ""
    while at < START_MS + LENGTH_MS:
        subject = cast[rng.choice([i for i, s in enumerate(cast) if s.id != last])]
        last = subject.id
        expression = EXPRESSIONS[int(scripts[subject.id].at(np.array([at]))[0])]
        kind = "voice" if rng.random() < 0.4 else "text"
        said = says.next(kind, subject, expression)
        yield Event(
            kind=kind,
            id=next(ids),
            subject=subject,
            time_ms=at,
            arrival_ms=at + int(delays(1, rng)[0]),
            structured=bool(rng.random() < 0.1),
            expression=expression,
            lang=subject.lang,
            stand_in=SYNTHESISED if kind == "voice" else None,
            payload=_payload(said),
            content_type=said.content_type,
        )
        at = int(on_tick(np.array(at + rng.uniform(2_000, 5_000))))


def _payload(said: Utterance | Clip) -> bytes:
    if isinstance(said, Clip):
        return said.media
    return json_bytes({"text": said.text, "lang": said.lang})


class _Lines:
    """Hands out utterances and clips that fit, each once before any comes again."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._decks: dict[tuple[str, ...], Iterator[Utterance | Clip]] = {}

    def next(self, kind: str, subject: Subject, expression: str) -> Utterance | Clip:
        scenario = subject.scenario if kind == "text" else ""
        key = (kind, subject.lang, scenario, expression)
        if key not in self._decks:
            self._decks[key] = self._deck(*key)
        return next(self._decks[key])

    def _deck(
        self, kind: str, lang: str, scenario: str, expression: str
    ) -> Iterator[Utterance | Clip]:
        lines: tuple[Utterance | Clip, ...] = utterances() if kind == "text" else clips()
        fit = [u for u in lines if (u.lang, u.expression) == (lang, expression)]
        fit = [u for u in fit if not isinstance(u, Utterance) or u.scenario == scenario]
        return cycle([fit[i] for i in self._rng.permutation(len(fit))])


def _faces(
    subject: Subject,
    head: int,
    script: Timeline,
    times: np.ndarray,
    ids: Iterator[str],
    rng: np.random.Generator,
) -> Iterator[Event]:
    """Yield pictures of one head; each display comes once before any comes again."""
    camera = faces.camera(rng)
    decks = [cycle(rng.permutation(VARIANTS).tolist()) for _ in EXPRESSIONS]
    late = delays(len(times), rng)
    for at, number, delay in zip(times, script.at(times), late, strict=True):
        yield Event(
            kind="face",
            id=next(ids),
            subject=subject,
            time_ms=int(at),
            arrival_ms=int(at + delay),
            payload=faces.photograph(head, number, next(decks[number]), camera),
            content_type=camera.content_type,
            structured=bool(rng.random() < 0.04),
            expression=EXPRESSIONS[number],
            corpus="rendered",
        )


def _context(subject: Subject, ids: Iterator[str], rng: np.random.Generator) -> Iterator[Event]:
    for at in range(START_MS, START_MS + LENGTH_MS, 60_000):
        activity = str(rng.choice(_ACTIVITY[subject.scenario]))
        said: dict[str, str | None] = {"scene": subject.scene, "activity": activity}
        if subject.scenario == "game":
            said["game_result"] = str(rng.choice(["won", "lost", "draw"]))
        if subject.scenario == "learning":
            said["lesson_state"] = str(rng.choice(["started", "exercise", "review"]))
        yield Event(
            "context", next(ids), subject, at, at + int(delays(1, rng)[0]), json_bytes(said)
        )


def _with_faults(events: list[Event], rng: np.random.Generator) -> list[Event]:
    """Plant the faults of ``_PLAN`` in undisputed events, send two twice, hold ten back."""
    events = list(events)
    plain = [i for i, e in enumerate(events) if e.subject.undisputed and e.expression is not None]
    for kind, planned in _PLAN.items():
        places = [i for i in plain if events[i].kind == kind]
        step = len(places) // (len(planned) + 1)
        for number, fault in enumerate(planned, 1):
            place = places[number * step]
            events[place] = faults.plant(events[place], fault)
    sound = [i for i in plain if events[i].planted is None]
    for place in rng.choice(sound, 10, replace=False):
        late = events[place].arrival_ms + int(rng.uniform(20_000, 40_000))
        events[place] = replace(events[place], arrival_ms=late)
    again = [
        faults.repeat_event(events[place], 700) for place in rng.choice(sound, 2, replace=False)
    ]
    return sorted([*events, *again], key=lambda event: (event.time_ms, event.id))
