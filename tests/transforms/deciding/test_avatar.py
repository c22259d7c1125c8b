"""Faces never flicker: presets change rarely, no weight jumps, and who is hidden is at rest."""

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arkit import BLENDSHAPES, EXPRESSION_WEIGHTS
from schemas.avatar.vrm import (
    AT_REST,
    LIP_SYNC_MASK,
    LOOK_PRESETS,
    OVERRIDE_RULES,
    OVERRIDES,
    PRESETS,
    TARGETS,
)
from schemas.settings import Decisions
from schemas.tables import EMOTION_FEATURES
from schemas.vocabularies import EXPRESSIONS
from tests.transforms.test_decide import DECIDER, feature
from transforms.decide import Before, Decider

LENGTH = dt.timedelta(seconds=5)
REST = [AT_REST[name] for name in PRESETS]
SLACK = 1e-6


def hide(ends: set[dt.datetime]):
    """Everybody may be shown, but in the windows with these ends nobody."""

    def may_show(subjects: pa.Array, times: pa.Array, prior: pa.Array) -> np.ndarray:
        del prior
        assert len(subjects) == len(times)
        return np.array([time not in ends for time in times.to_pylist()], bool)

    return may_show


def decide(
    *rows: dict[str, Any],
    rules: Decisions = DECIDER.rules,
    hidden: set[dt.datetime] = frozenset(),
    cuts: tuple[int, ...] = (),
) -> list[dict[str, Any]]:
    """Decide on rows in parts that are cut at these places, each going on from the one before."""
    decider = Decider(DECIDER.policy, rules, hide(hidden))
    found, before = [], None
    for start, stop in pairwise([0, *cuts, len(rows)]):
        if part := rows[start:stop]:
            decisions, before = drain(decider, part, before)
            found += decisions
    return sorted(found, key=lambda row: (row["window_end"], row["window_id"]))


def drain(
    decider: Decider, rows: tuple[dict[str, Any], ...], before: Before | None
) -> tuple[list[dict[str, Any]], Before]:
    full = [{name: row.get(name) for name in EMOTION_FEATURES.names} for row in rows]
    batches = [pa.RecordBatch.from_pylist([row], schema=EMOTION_FEATURES) for row in full]
    decisions, _, after = decider.drain(batches, before)
    return decisions.to_pylist(), after


def weights(row: dict[str, Any]) -> np.ndarray:
    """All 58 weights of a row: presets and shapes."""
    return np.array([*row["preset_weights"], *row["avatar_weights"]])


def preset(row: dict[str, Any], name: str) -> float:
    return row["preset_weights"][PRESETS.index(name)]


WINDOW = st.fixed_dictionaries(
    {
        "gap": st.sampled_from([1, 1, 1, 1, 2, 3, 6, 7, 9, 40]),
        "shown": st.sampled_from(["joy", "joy", "anger", "sadness", "fear", "disgust", "neutral"]),
        "peak": st.sampled_from([0.3, 0.5, 0.95]),
        "arousal": st.sampled_from([-0.2, 0.25, 0.6]),
        "abstained": st.sampled_from([False, False, False, True]),
        "hidden": st.sampled_from([False, False, False, False, True]),
        "who": st.sampled_from(["a", "b", "ab"]),
    }
)


@dataclass
class Case:
    """Feature rows by window, and the ends of the windows in which nobody may be shown."""

    windows: list[list[dict[str, Any]]]
    hidden: set[dt.datetime]

    def decide(self, rules: Decisions) -> list[dict[str, Any]]:
        rows = (row for window in self.windows for row in window)
        return decide(*rows, rules=rules, hidden=self.hidden)

    def faces(self, rules: Decisions) -> list[list[dict[str, Any]]]:
        """Decide, and return each person's decisions."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.decide(rules):
            found.setdefault(row["subject_ref"], []).append(row)
        return [*found.values()]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    number, windows, hidden = 0, [], set()
    for each in draw(st.lists(WINDOW, min_size=2, max_size=16)):
        number += each["gap"]
        rows = [
            feature(
                number, each["shown"] if who == "a" else "surprise", subject=who,
                peak=each["peak"], arousal=each["arousal"], abstained=each["abstained"],
            )
            for who in each["who"]
        ]  # fmt: skip
        windows.append(rows)
        if each["hidden"]:
            hidden.add(rows[0]["window_end"])
    return Case(windows, hidden)


TIMES = [(0.0, 4.0), (0.0, 12.0), (7.5, 12.0), (10.0, 30.0), (25.0, 30.0), (60.0, 60.0)]
"""``hold_s`` and ``valid_s``: a decision is valid for as long as its preset is held."""
RULES = st.builds(
    lambda times, **more: Decisions(hold_s=times[0], valid_s=times[1], **more),
    times=st.sampled_from(TIMES),
    max_change=st.sampled_from([0.1, 0.25, 0.6]),
    follow=st.sampled_from([0.6, 1.0]),
)


@given(case=cases(), rules=RULES)
def test_no_weight_of_a_face_changes_by_more_than_the_cap(case: Case, rules: Decisions) -> None:
    """A client shows the last decision until it expires, and then a face at rest."""
    rest = np.array([*REST, *np.zeros(len(BLENDSHAPES))])
    for face in case.faces(rules):
        before = None
        for row in face:
            seen = weights(row)
            assert seen[: len(PRESETS)].sum() == pytest.approx(1, abs=SLACK)
            assert seen.min() >= 0
            assert seen.max() <= 1 + SLACK
            if row["window_end"] in case.hidden:
                assert (seen == rest).all(), "off is off in the window itself"
            else:
                expired = before is None or row["window_end"] > before["expires_at"]
                change = np.abs(seen - (rest if expired else weights(before)))
                assert change.max() <= rules.max_change + SLACK
            before = row


@given(case=cases(), rules=RULES)
def test_a_preset_changes_at_most_once_in_the_hold_time(case: Case, rules: Decisions) -> None:
    """But for being hidden, which waits for nothing; an expiry is a change to neutral, then."""
    for face in case.faces(rules):
        shown, changed, expires = "neutral", None, None
        for row in face:
            end, wanted = row["window_end"], row["avatar_preset"]
            if expires and end > expires and shown != "neutral":
                shown, changed = "neutral", expires
            if end in case.hidden:
                assert wanted == "neutral"
            elif wanted != shown and changed is not None:
                assert (end - changed).total_seconds() >= rules.hold_s
            if wanted != shown:
                shown, changed = wanted, end
            expires = row["expires_at"]


@given(case=cases(), rules=RULES, data=st.data())
def test_neither_order_nor_batches_nor_restarts_change_a_face(
    case: Case, rules: Decisions, data: st.DataObject
) -> None:
    """Windows come in any order up to the watermark, after which a job may start anew."""
    whole = case.decide(rules)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(case.windows) - 1))))
    mixed, ends = [], []
    for start, stop in pairwise([0, *cuts, len(case.windows)]):
        part = [row for rows in case.windows[start:stop] for row in rows]
        mixed += data.draw(st.permutations(part))
        ends.append(len(mixed))
    assert decide(*mixed, rules=rules, hidden=case.hidden, cuts=tuple(ends[:-1])) == whole


def steady(expression: str, count: int = 8, **more: Any) -> list[dict[str, Any]]:
    return [feature(n, expression, peak=0.95, **more) for n in range(count)]


@pytest.mark.parametrize("look", LOOK_PRESETS)
def test_a_steady_expression_is_shown_as_its_presets_by_its_intensity(look: str) -> None:
    shown, arousal = ("joy", 0.0) if look == "relaxed" else (look, 0.6)
    last = decide(*steady(shown, arousal=arousal))[-1]
    strength = last["intensity"]
    assert strength == pytest.approx(0.95)
    wanted = {name: share * strength for name, share in LOOK_PRESETS[look].items()}
    wanted["neutral"] = 1 - sum(wanted.values())
    found = dict(zip(PRESETS, last["preset_weights"], strict=True))
    assert found == pytest.approx(dict.fromkeys(PRESETS, 0) | wanted, abs=SLACK)
    assert last["avatar_preset"] == max(LOOK_PRESETS[look], key=LOOK_PRESETS[look].get)
    shapes = EXPRESSION_WEIGHTS[EXPRESSIONS.index(shown)] * strength
    assert last["avatar_weights"] == pytest.approx(shapes.tolist(), abs=SLACK)


def test_a_neutral_face_is_at_rest() -> None:
    for row in decide(*steady("neutral")):
        assert row["avatar_preset"] == "neutral"
        assert row["preset_weights"] == REST
        assert max(row["avatar_weights"]) == 0
        assert (row["mouth_share"], row["override_blink"]) == (0, "none")


def test_one_look_fades_into_another() -> None:
    """With a cap of 0.25, happy at 0.8 is angry at 0.8 after four windows, by equal steps."""
    rules = Decisions(follow=1.0)
    rows = [feature(n, "joy" if n < 6 else "anger", arousal=0.6) for n in range(12)]
    faces = decide(*rows, rules=rules)
    happy = [preset(row, "happy") for row in faces]
    angry = [preset(row, "angry") for row in faces]
    assert happy == pytest.approx([0.25, 0.5, 0.75, 0.8, 0.8, 0.8, 0.55, 0.3, 0.05, 0, 0, 0])
    assert angry[5:] == pytest.approx([0, 0.25, 0.5, 0.75, 0.8, 0.8, 0.8])
    assert [preset(row, "neutral") for row in faces[5:]] == pytest.approx([0.2] * 7)


def test_joy_is_relaxed_where_arousal_is_low_and_does_not_waver_between() -> None:
    arousals = [0.25, 0.15, 0.15, 0.25, 0.25, 0.35, 0.35, 0.25]
    rows = [feature(n, "joy", arousal=arousal) for n, arousal in enumerate(arousals)]
    shown = [row["avatar_preset"] for row in decide(*rows, rules=Decisions(hold_s=0))]
    assert shown == ["happy", *["relaxed"] * 4, *["happy"] * 3]


def test_a_face_is_held_while_windows_are_unsure_as_long_as_a_decision_is_valid() -> None:
    sure = steady("joy", 4, arousal=0.6)
    unsure = [feature(n, "anger", abstained=True) for n in range(4, 14)]
    faces = decide(*sure, *unsure)
    assert {row["action"] for row in faces[4:]} == {"hold"}
    kept = [preset(row, "happy") for row in faces[3:]]
    assert kept[:7] == [kept[0]] * 7, "30 s"
    assert kept[7:] == pytest.approx([max(0, kept[0] - 0.25 * n) for n in range(1, 5)], abs=SLACK)
    assert faces[-1]["preset_weights"] == REST


def strength(row: dict[str, Any]) -> float:
    """How much a face moves: of one look what the presets sum to, without neutral."""
    return 1 - preset(row, "neutral")


@pytest.mark.parametrize(
    "later",
    [
        [feature(12, "joy", peak=0.95, arousal=0.6)],  # 40 s after the last window
        [feature(9, "joy", peak=0.95, arousal=0.6)],  # 25 s
        [feature(n, "anger", abstained=True) for n in range(4, 16)],
        [feature(12, "anger", abstained=True), *steady("joy", 16, arousal=0.6)[13:]],
        [feature(n, "anger", abstained=True) for n in (4, 5, 11)],
        [feature(n, "joy", peak=0.95, arousal=0.6, abstained=n % 2 > 0) for n in range(4, 9)],
    ],
    ids=["expired", "valid", "unsure", "unsure and silent", "gaps", "now and then"],
)
@pytest.mark.parametrize("sure", [1, 2, 4])
def test_an_intensity_is_what_the_weights_show_of_a_look(
    sure: int, later: list[dict[str, Any]]
) -> None:
    """Its weights fall with an expired decision, and sink while windows are unsure: so does it."""
    faces = decide(*steady("joy", sure, arousal=0.6), *later)
    assert [row["intensity"] for row in faces] == pytest.approx(
        [strength(row) for row in faces], abs=SLACK
    )
    assert faces[sure - 1]["intensity"] > 0


@pytest.mark.parametrize("name", ["scores", "valence", "arousal"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_window_that_is_not_finite_is_unsure_and_changes_no_other(
    name: str, value: float
) -> None:
    given = [value] * len(EXPRESSIONS) if name == "scores" else value
    for first in (0, 3):
        rows = steady("joy", 6, arousal=0.6)
        unsure = [*rows]
        unsure[first] = feature(first, "joy", abstained=True, scores=[1 / 7] * 7, valence=0.0)
        rows[first] = rows[first] | {name: given}
        found, wanted = decide(*rows, cuts=(4,)), decide(*unsure, cuts=(4,))
        assert (found[first]["action"], found[first]["reason"]) == ("hold", "abstained")
        names = ("expression", "confidence", "intensity", "preset_weights", "avatar_preset")
        for one, other in zip(found, wanted, strict=True):
            assert [one[name] for name in names] == [other[name] for name in names]
            shifts = np.array([one["valence_shift"], one["arousal_shift"], one["confidence"]])
            assert np.isfinite(shifts).all()


def test_each_session_has_a_face_of_its_own_and_other_purposes_have_none() -> None:
    joy = steady("joy", 3, arousal=0.6)
    anger = [row | {"window_id": f"x{n}"} for n, row in
             enumerate(steady("anger", 3, session_ref="6" * 32))]  # fmt: skip
    other = [row | {"window_id": f"y{n}"} for n, row in
             enumerate(steady("fear", 3, purpose="research"))]  # fmt: skip
    faces = {row["window_id"]: row for row in decide(*joy, *anger, *other)}
    assert [faces[f"a-{n}"]["avatar_preset"] for n in range(3)] == ["happy"] * 3
    assert [faces[f"x{n}"]["avatar_preset"] for n in range(3)] == ["angry"] * 3
    for n in range(3):
        row = faces[f"y{n}"]
        assert max(row["avatar_weights"]) == 0
        names = ("avatar_preset", "preset_weights", "lip_sync_mask", "mouth_share")
        assert {row[name] for name in (*names, *(f"override_{t}" for t in TARGETS))} == {None}


@pytest.mark.parametrize("cuts", [(), (3,)])
def test_a_face_goes_on_when_keys_are_rotated(cuts: tuple[int, ...]) -> None:
    rows = [feature(n, "joy" if n < 3 else "anger", arousal=0.6) for n in range(6)]
    known = decide(*rows)
    new = {"subject_ref": "d" * 32, "session_ref": "7" * 32}
    prior = {f"prior_{name}": rows[0][name] for name in new}
    rotated = decide(*rows[:3], *(row | new | prior for row in rows[3:]), cuts=cuts)
    assert [weights(row).tolist() for row in rotated] == [weights(row).tolist() for row in known]
    nameless = decide(*rows[:3], *(row | new for row in rows[3:]), cuts=cuts)
    assert preset(nameless[3], "happy") == 0, "without the prior reference it is another face"


def test_a_presets_rules_hold_for_as_long_as_it_shows() -> None:
    """Surprise stops the blink; while it fades into sadness, which does not, it still does."""
    rules = Decisions(follow=1.0)
    rows = [feature(n, "surprise" if n < 4 else "sadness") for n in range(10)]
    faces = decide(*rows, rules=rules)
    assert faces[5]["avatar_preset"] == "sad"
    assert preset(faces[5], "surprised") > 0
    for row in faces:
        active = [name for name in PRESETS if preset(row, name) > 0]
        for target in TARGETS:
            strictest = max((OVERRIDE_RULES[name][target] for name in active), key=OVERRIDES.index)
            assert row[f"override_{target}"] == strictest
    assert [faces[n]["override_blink"] for n in (5, 9)] == ["block", "none"]


def test_the_mask_names_the_mouth_and_the_share_is_its_part_of_the_movement() -> None:
    row = decide(*steady("joy", arousal=0.6))[-1]
    assert row["lip_sync_mask"] == LIP_SYNC_MASK
    assert len(LIP_SYNC_MASK) == len(BLENDSHAPES)
    yielding = {name for name, digit in zip(BLENDSHAPES, LIP_SYNC_MASK, strict=True) if digit > "0"}
    assert {"jawOpen", "mouthSmileLeft", "tongueOut", "cheekPuff"} <= yielding
    assert not {name for name in yielding if name.startswith(("eye", "brow", "nose"))}
    assert "cheekSquintLeft" not in yielding
    assert row["mouth_share"] == pytest.approx(0.5), "of the four shapes of joy two are the mouth's"
