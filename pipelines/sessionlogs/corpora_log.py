"""Session logs of any size from the labelled corpora: the real input with ground truth."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Final

import numpy as np

from pipelines.sessionlogs import faults
from pipelines.sessionlogs.cloudevents import Event, Subject, consent, json_bytes, mark_refusal
from pipelines.sessionlogs.corpora import (
    Dialogue,
    FaceDeck,
    Speaker,
    cped_dialogues,
    deal_dialogues,
    held_out_speakers,
    meld_dialogues,
    require,
)
from pipelines.sessionlogs.script import (
    NEUTRAL,
    TICK_MS,
    Timeline,
    delays,
    ids_of,
    motion_events,
    on_tick,
    ticks,
)
from pipelines.sessionlogs.writer import (
    SessionLog,
    describe_log,
    in_arrival_order,
    new_log,
    with_progress,
)
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS

START_MS: Final = int(datetime(2026, 9, 15, 12, tzinfo=UTC).timestamp()) * 1000
HOLD_MS: Final = 8_000
"""An expression is held this long after its utterance began, then the subject is neutral."""

FACE_STEP_MS: Final = 2_000
MOTION_STEP_MS: Final = 700
SPOKEN: Final = 0.5
FAULTY, RESENT, LATE = 0.002, 0.0005, 0.001

_SCENARIOS = ("game", "social", "learning", "support")
_REGIONS = {"en": ("EU", "US", "US-IL", "OTHER", "US"), "zh": ("CN", "CN", "OTHER", "CN", "EU")}
_ODD = {4: "unasked", 9: "withdraws", 14: "child", 19: "teen"}  # of every 25 subjects


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance in the log's time."""

    start_ms: int
    length_ms: int
    subject: Subject
    text: str
    expression: str | None


@dataclass(frozen=True, slots=True)
class _Material:
    dialogues: dict[str, Iterator[Dialogue]]
    speakers: dict[str, list[Speaker]]
    faces: FaceDeck


def write_corpora_log(
    out: Path, corpora: Path, subjects: int, minutes: float, seed: int
) -> SessionLog:
    """Write a log of this many subjects and minutes from the corpora, and its ground truth.

    Raises:
        AffectstreamError: a corpus is missing, the size is senseless, or ``out`` can not be used.
    """
    if subjects < 2 or minutes <= 0:
        message = (
            f"{subjects} subjects and {minutes} minutes: at least 2 and more than 0 are needed"
        )
        raise AffectstreamError(message)
    require(corpora)
    length_ms = int(minutes * 60_000)
    with new_log(out) as writer:
        events = in_arrival_order(corpora_events(corpora, subjects, length_ms, seed))
        writer.write_events(with_progress(events, START_MS, START_MS + length_ms))
    return describe_log(out, writer)


def corpora_events(corpora: Path, subjects: int, length_ms: int, seed: int) -> Iterator[Event]:
    """Yield every event of a log in the order of event time."""
    rng = np.random.default_rng(seed)
    scenes = cast_scenes(subjects, length_ms, rng)
    material = _Material(
        {
            "en": deal_dialogues(meld_dialogues(corpora), rng),
            "zh": deal_dialogues(cped_dialogues(corpora, rng), rng),
        },
        held_out_speakers(corpora),
        FaceDeck(corpora),
    )
    streams = [_scene(cast, material, length_ms, rng.spawn(1)[0]) for cast in scenes]
    everyone = [subject for cast in scenes for subject in cast]
    merged = heapq.merge(_governance(everyone), *streams, key=attrgetter("time_ms"))
    for event in _with_faults(merged, rng.spawn(1)[0]):
        yield mark_refusal(event)


def cast_scenes(
    subjects: int, length_ms: int, rng: np.random.Generator
) -> list[tuple[Subject, ...]]:
    """Put subjects into scenes of two to five; scenes speak English and Chinese by turns."""
    sizes: list[int] = []
    while (left := subjects - sum(sizes)) > 0:
        size = min(left, int(rng.integers(2, 6)))
        if left - size == 1:
            size += 1 if size < 5 else -1
        sizes.append(size)
    numbers = iter(range(subjects))
    return [
        tuple(_subject(next(numbers), scene, length_ms) for _ in range(size))
        for scene, size in enumerate(sizes)
    ]


def _subject(number: int, scene: int, length_ms: int) -> Subject:
    lang = ("en", "zh")[scene % 2]
    scenario = _SCENARIOS[scene // 2 % len(_SCENARIOS)]
    odd = _ODD.get(number % 25)
    middle = START_MS + on_tick(np.array(length_ms // 2)).item() + TICK_MS // 2
    purpose = "recommendation" if scenario == "support" else "avatar_mirroring"
    return Subject(
        id=f"person-{number:05d}-{scenario}",
        scene=f"{scenario}-{scene:04d}",
        scenario=scenario,
        lang=lang,
        region=_REGIONS[lang][number % 5],
        purpose="avatar_mirroring" if odd in ("child", "teen") else purpose,
        age_band=odd if odd in ("child", "teen") else "adult",
        consented=odd != "unasked",
        withdraws_ms=middle if odd == "withdraws" else None,
    )


def _governance(subjects: list[Subject]) -> Iterator[Event]:
    ids = ids_of("governance")
    for subject in subjects:
        if subject.consented:
            yield consent(subject, next(ids), START_MS - 60_000, granted=True)
    for subject in subjects:
        if subject.withdraws_ms is not None:
            yield consent(subject, next(ids), subject.withdraws_ms, granted=False)


def _scene(
    cast: tuple[Subject, ...], material: _Material, length_ms: int, rng: np.random.Generator
) -> Iterator[Event]:
    """Yield one scene's events in the order of event time, made as they are asked for."""
    stop = START_MS + length_ms
    ids = ids_of(cast[0].scene)
    turns = list(_turns(cast, material.dialogues[cast[0].lang], stop, rng))
    streams = [_context(cast, stop, ids, rng.spawn(1)[0])]
    streams.append(_utterances(turns, material, ids, rng.spawn(1)[0]))
    for subject in cast:
        script = timeline([turn for turn in turns if turn.subject.id == subject.id])
        looks, moves = rng.spawn(2)
        times = ticks(START_MS, stop, FACE_STEP_MS, looks)
        streams.append(_faces(subject, times, script, material.faces, ids, looks))
        beats = ticks(START_MS, stop, MOTION_STEP_MS, moves)
        streams.append(motion_events(subject, beats, script, ids, moves))
    return heapq.merge(*streams, key=attrgetter("time_ms"))


def _turns(
    cast: tuple[Subject, ...],
    dialogues: Iterator[Dialogue],
    stop_ms: int,
    rng: np.random.Generator,
) -> Iterator[Turn]:
    """Play dialogues one after the other; each gives its speakers to other subjects."""
    at = START_MS + 1_000
    while at < stop_ms:
        parts = rng.permutation(len(cast))
        for line in next(dialogues):
            at = int(on_tick(np.array(at + line.gap_ms)))
            if at >= stop_ms:
                return
            subject = cast[parts[line.speaker % len(cast)]]
            yield Turn(at, line.length_ms, subject, line.text, line.expression)
            at += line.length_ms
        at += int(rng.uniform(3_000, 12_000))


def timeline(turns: list[Turn]) -> Timeline:
    """Return what a subject shows: the latest utterance's expression, then neutral."""
    starts, shown = [START_MS], [NEUTRAL]
    labelled = [turn for turn in turns if turn.expression is not None]
    for number, turn in enumerate(labelled):
        starts.append(turn.start_ms)
        shown.append(EXPRESSIONS.index(turn.expression or ""))
        over = turn.start_ms + max(HOLD_MS, turn.length_ms)
        if number + 1 == len(labelled) or over < labelled[number + 1].start_ms:
            starts.append(over)
            shown.append(NEUTRAL)
    return Timeline(np.array(starts), np.array(shown))


def _utterances(
    turns: list[Turn], material: _Material, ids: Iterator[str], rng: np.random.Generator
) -> Iterator[Event]:
    for turn in turns:
        subject = turn.subject
        corpus = {"en": "meld", "zh": "cped"}[subject.lang]
        text = Event(
            kind="text",
            id=next(ids),
            subject=subject,
            time_ms=turn.start_ms,
            arrival_ms=turn.start_ms + int(delays(1, rng)[0]),
            payload=json_bytes({"text": turn.text, "lang": subject.lang}),
            structured=bool(rng.random() < 0.1),
            expression=turn.expression,
            lang=subject.lang,
            corpus=corpus,
        )
        yield text
        speaker = _speaker(subject, material.speakers)
        takes = speaker.clips.get(turn.expression or "", [])
        if takes and rng.random() < SPOKEN:
            yield replace(
                text,
                kind="voice",
                id=next(ids),
                arrival_ms=turn.start_ms + int(delays(1, rng)[0]),
                payload=takes[rng.integers(len(takes))].read_bytes(),
                content_type="audio/flac",
                structured=bool(rng.random() < 0.02),
                lang=speaker.lang,
                corpus=speaker.corpus,
            )


def _speaker(subject: Subject, speakers: dict[str, list[Speaker]]) -> Speaker:
    """Return the subject's actor; Chinese scenes use EMO-DB, since there are no Mandarin clips."""
    actors = speakers[{"en": "en", "zh": "de"}[subject.lang]]
    return actors[int(subject.id.split("-")[1]) % len(actors)]


def _faces(
    subject: Subject,
    times: np.ndarray,
    script: Timeline,
    deck: FaceDeck,
    ids: Iterator[str],
    rng: np.random.Generator,
) -> Iterator[Event]:
    shown = script.at(times)
    for at, number, delay in zip(times, shown, delays(len(times), rng), strict=True):
        media, content_type = deck.deal(int(number), rng)
        yield Event(
            kind="face",
            id=next(ids),
            subject=subject,
            time_ms=int(at),
            arrival_ms=int(at + delay),
            payload=media,
            content_type=content_type,
            structured=bool(rng.random() < 0.02),
            expression=EXPRESSIONS[number],
            corpus="ferplus",
        )


def _context(
    cast: tuple[Subject, ...], stop_ms: int, ids: Iterator[str], rng: np.random.Generator
) -> Iterator[Event]:
    for at in range(START_MS, stop_ms, 60_000):
        for subject in cast:
            said = json_bytes({"scene": subject.scene, "activity": subject.scenario})
            arrival = at + int(delays(1, rng)[0])
            yield Event("context", next(ids), subject, at, arrival, said)


def _with_faults(events: Iterator[Event], rng: np.random.Generator) -> Iterator[Event]:
    """Plant faults in undisputed events, send a few twice and hold a few back for 10 to 30 s."""
    for event in events:
        draw = rng.random()
        if (
            event.expression is None
            or not event.subject.undisputed
            or draw > FAULTY + RESENT + LATE
        ):
            yield event
        elif draw < FAULTY:
            choices = faults.FAULTS[event.kind]
            yield faults.plant(event, choices[rng.integers(len(choices))])
        elif draw < FAULTY + RESENT:
            yield event
            yield faults.repeat_event(event, 900)
        else:
            late = event.arrival_ms + int(rng.uniform(10_000, 30_000))
            yield replace(event, arrival_ms=late)
