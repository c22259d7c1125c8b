"""The history against a second calculation of it, window by window and without arrays."""

import datetime as dt
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.history import HISTORY, NOTHING, History, history_ids, prior_history_ids

START = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)
JOY, ANGER, NEUTRAL = (EXPRESSIONS.index(name) for name in ("joy", "anger", "neutral"))
SHOWN = [0.25 if n == JOY else 0.5 if n == ANGER else 0.05 for n in range(len(EXPRESSIONS))]
RULES = Decisions(follow=0.5, margin=0.2, drift=0.25, max_change=0.3, forget_s=20.0, valid_s=12.0)


def scores_of(**probabilities: float) -> list[float]:
    rest = (1 - sum(probabilities.values())) / (len(EXPRESSIONS) - len(probabilities))
    return [probabilities.get(name, rest) for name in EXPRESSIONS]


def seen(
    window: int, scores: list[float], *, subject: str = "a", abstained: bool = False,
    valence: float = 0.0, arousal: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    return {
        "subject_ref": subject * 32,
        "session_ref": "5" * 32,
        "purpose": "avatar_mirroring",
        "scenario": "social",
        "age_band": "adult",
        "window_end": START + dt.timedelta(seconds=5 * (window + 1)),
        "scores": scores,
        "abstained": abstained,
        "valence": valence,
        "arousal": arousal,
    }


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    return pa.RecordBatch.from_pylist(full, schema=EMOTION_FEATURES)


def advance(
    *rows: dict[str, Any], rules: Decisions = RULES, restored: bool = False
) -> list[dict[str, Any]]:
    """Return what each row did; rows come window by window, each subject once in a window."""
    history, found = History(rules), []
    for _, window in groupby(rows, key=lambda row: row["window_end"]):
        batch = batch_of(list(window))
        step = history.advance(batch, history_ids(batch), prior_history_ids(batch))
        columns = (step.held, step.held_for, step.confidence, step.shift, step.intensity)
        names = ("held", "held_for", "confidence", "shift", "intensity")
        found += [
            dict(zip(names, (value.tolist() for value in row), strict=True))
            for row in zip(*columns, strict=True)
        ]
        assert history.snapshot().schema == HISTORY
        if restored:
            history = History(rules, history.snapshot())
    return found


class OnePerson:
    """The rules of a history for one person, in plain numbers."""

    def __init__(self, rules: Decisions) -> None:
        self._rules = rules
        self._end: dt.datetime | None = None

    def see(self, row: dict[str, Any]) -> dict[str, Any]:
        rules, scores = self._rules, np.array(row["scores"])
        affect = np.array([row["valence"], row["arousal"]])
        silent_s = (row["window_end"] - self._end).total_seconds() if self._end else 1e9
        if silent_s > rules.forget_s:
            self._held, self._held_for, self._intensity = NOTHING, 0, 0.0
            self._sure = START - dt.timedelta(days=1)
            self._smoothed, self._baseline = scores, affect
        elif not row["abstained"]:
            self._smoothed = self._smoothed * (1 - rules.follow) + scores * rules.follow
        self._end = row["window_end"]
        best = int(self._smoothed.argmax())
        if (self._end - self._sure).total_seconds() > 20:
            self._held_for = 0
        self._held_for += not row["abstained"]
        if not row["abstained"] and best != self._held:
            lead = self._smoothed[best] - self._smoothed[self._held]
            if self._held == NOTHING or lead > rules.margin:
                self._held, self._held_for = best, 1
        confidence = self._smoothed[best if self._held == NOTHING else self._held]
        target = 0.0 if self._held in (NOTHING, NEUTRAL) else confidence
        if silent_s > rules.valid_s:
            self._intensity = 0.0
        if not row["abstained"]:
            self._sure = row["window_end"]
        elif (row["window_end"] - self._sure).total_seconds() > rules.valid_s:
            target = 0.0
        else:
            target = self._intensity
        change = min(max(target - self._intensity, -rules.max_change), rules.max_change)
        self._intensity += change
        shift = affect - self._baseline
        self._baseline = self._baseline + rules.drift * shift
        return {
            "held": self._held,
            "held_for": self._held_for,
            "confidence": confidence,
            "shift": shift.tolist(),
            "intensity": self._intensity,
        }


WINDOWS = st.lists(
    st.fixed_dictionaries(
        {
            "gap": st.sampled_from([1, 1, 1, 2, 4, 5]),
            "subjects": st.sets(st.sampled_from("abc"), min_size=1),
            "peak": st.sampled_from([JOY, ANGER, NEUTRAL]),
            "size": st.sampled_from([0.3, 0.45, 0.9]),
            "abstained": st.booleans(),
            "valence": st.sampled_from([-0.5, 0.0, 0.75]),
            "arousal": st.sampled_from([-0.25, 0.5]),
        }
    ),
    min_size=1,
    max_size=12,
)


@given(WINDOWS)
def test_a_history_follows_its_rules(windows: list[dict[str, Any]]) -> None:
    number, rows = 0, []
    for shown in windows:
        number += shown["gap"]
        for place, subject in enumerate(sorted(shown["subjects"])):
            peak = EXPRESSIONS[(shown["peak"] + place) % len(EXPRESSIONS)]
            row = seen(number, scores_of(**{peak: shown["size"]}), subject=subject)
            rows.append(row | {name: shown[name] for name in ("abstained", "valence", "arousal")})
    people = {subject: OnePerson(RULES) for subject in "abc"}
    expected = [people[row["subject_ref"][0]].see(row) for row in rows]
    for restored in (False, True):
        found = advance(*rows, restored=restored)
        assert [row.pop("held") for row in found] == [row["held"] for row in expected]
        for row, wanted in zip(found, expected, strict=True):
            assert row == {name: pytest.approx(wanted[name], abs=1e-5) for name in row}


def test_an_expression_must_beat_the_held_one_by_the_margin() -> None:
    """Anger leads by exactly a quarter."""
    rows = [seen(0, scores_of(joy=0.5)), *(seen(n, [*SHOWN]) for n in (1, 2))]
    for margin, held in ((0.0, ANGER), (0.2, ANGER), (0.25, JOY), (0.3, JOY)):
        rules = RULES.model_copy(update={"follow": 1.0, "margin": margin})
        assert [row["held"] for row in advance(*rows, rules=rules)] == [JOY, held, held]


def test_small_leads_do_not_flicker_by_default() -> None:
    rows = [seen(n, scores_of(**{("joy", "anger")[n % 2]: 0.2})) for n in range(6)]
    assert {row["held"] for row in advance(*rows, rules=Decisions())} == {JOY}


def test_the_baseline_drifts_towards_what_is_shown() -> None:
    """Of a change that lasts a quarter is forgotten with every window."""
    shown = [0.0, 0.8, 0.8, 0.8]
    rows = [seen(n, scores_of(joy=0.5), valence=v, arousal=-v) for n, v in enumerate(shown)]
    shifts = [row["shift"] for row in advance(*rows)]
    assert shifts == [pytest.approx([v, -v], abs=1e-6) for v in (0.0, 0.8, 0.6, 0.45)]
    still = [
        row["shift"][0] for row in advance(*rows, rules=RULES.model_copy(update={"drift": 0.0}))
    ]
    assert still == pytest.approx([0.0, 0.8, 0.8, 0.8])


def test_an_abstained_window_is_neither_followed_nor_counted() -> None:
    sure, unsure = scores_of(joy=0.8), scores_of(anger=0.8)
    rows = [seen(0, sure), *(seen(n, unsure, abstained=True) for n in range(1, 4)), seen(4, sure)]
    rows += [*(seen(n, unsure, abstained=True) for n in range(5, 9)), seen(9, sure)]
    steps = advance(*rows)
    assert {row["held"] for row in steps} == {JOY}
    assert [row["confidence"] for row in steps] == pytest.approx([0.8] * 10)
    assert [row["held_for"] for row in steps] == [1, 1, 1, 1, 2, 2, 2, 2, 2, 1], "25 s are a gap"


def test_nothing_is_held_before_the_first_window_that_is_sure() -> None:
    rows = [seen(n, scores_of(anger=0.4), abstained=True) for n in range(2)]
    first, second, third = advance(*rows, seen(2, scores_of(anger=0.4)))
    assert (first["held"], first["confidence"], first["intensity"]) == (
        NOTHING, pytest.approx(0.4), 0,
    )  # fmt: skip
    assert second["held"] == NOTHING
    assert (third["held"], third["held_for"]) == (ANGER, 1)


@pytest.mark.parametrize(("silent_s", "forgotten"), [(20, False), (25, True)])
def test_a_history_ends_after_a_longer_silence_than_allowed(silent_s: int, forgotten: bool) -> None:
    last = seen(silent_s // 5, scores_of(anger=0.4), valence=0.5)
    rows = [seen(0, scores_of(joy=0.9)), last]
    assert (advance(*rows)[-1] == advance(last)[-1]) == forgotten
    other = advance(rows[0], last | {"subject_ref": "b" * 32}, rules=RULES)[-1]
    assert other == advance(last)[-1]


def test_the_state_holds_those_who_were_seen_lately() -> None:
    history = History(RULES)
    for window, people in enumerate(["ab", "a", "a", "a", "a", "ac"]):
        batch = batch_of([seen(window, scores_of(joy=0.5), subject=s) for s in people])
        history.advance(batch, history_ids(batch), prior_history_ids(batch))
    state = history.snapshot()
    ends = [START + dt.timedelta(seconds=5 * n) for n in (6, 6)]
    assert state["seen_us"].to_pylist() == [round(end.timestamp() * 1e6) for end in ends]
    assert len(set(state["history_id"].to_pylist())) == 2


def renamed(row: dict[str, Any], *, subject: str = "d", **changes: Any) -> dict[str, Any]:
    """The same row after the keys were rotated."""
    new = {"subject_ref": subject * 32, "session_ref": "6" * 32}
    prior = {f"prior_{name}": row[name] for name in new}
    return row | new | prior | changes


SHOWS = [seen(n, scores_of(**{name: 0.5})) for n, name in enumerate(("joy", "joy", "anger", "joy"))]


def test_a_history_goes_on_when_keys_are_rotated() -> None:
    known = advance(*SHOWS)
    assert advance(*SHOWS[:2], *map(renamed, SHOWS[2:])) == known
    nameless = [renamed(row, prior_subject_ref=None, prior_session_ref=None) for row in SHOWS[2:]]
    assert advance(*SHOWS[:2], *nameless) != known, "without the prior reference it begins anew"
    later = renamed(SHOWS[3], prior_subject_ref=None, prior_session_ref=None)
    assert advance(*SHOWS[:2], renamed(SHOWS[2]), later) == known, "it has its own by then"
    assert advance(*SHOWS[:2], *map(renamed, SHOWS[2:]), restored=True) == known


@pytest.mark.parametrize(
    "other",
    [
        {"prior_session_ref": "7" * 32},
        {"prior_subject_ref": "b" * 32},
        {"purpose": "research"},
        {"age_band": None},
        {"window_end": SHOWS[1]["window_end"] + dt.timedelta(seconds=RULES.forget_s + 1)},
    ],
)
def test_a_history_goes_on_only_from_its_own(other: dict[str, Any]) -> None:
    row = renamed(SHOWS[2], **other)
    assert advance(*SHOWS[:2], row)[-1] == advance(row)[0]


def test_two_people_whose_keys_are_rotated_keep_their_own_histories() -> None:
    shown = [[seen(n, scores_of(**{e: 0.6}), subject=s) for s, e in (("a", "joy"), ("b", "anger"))]
             for n in range(3)]  # fmt: skip
    after = [renamed(row, subject=new) for row, new in zip(shown[2], "de", strict=True)]
    assert advance(*shown[0], *shown[1], *after) == advance(*shown[0], *shown[1], *shown[2])
