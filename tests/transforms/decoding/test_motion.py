"""Frames of any vocabulary → weights of ARKit, head and problem; the same in any batch."""

import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arkit import BLENDSHAPES
from schemas.errors import AffectstreamError, DeadLetterCode
from schemas.stages import DEAD
from tests.support.properties import examples
from tests.support.records import IDS, raw, record
from transforms.decode import decode_batch
from transforms.decoding.motion import read_motion
from transforms.decoding.shape_names import fold
from transforms.decoding.units import declared_unit
from transforms.decoding.vocabularies import Table, place_names, vocabularies

FULL = {name: round(0.001 * place, 3) for place, name in enumerate(BLENDSHAPES)}


def weights(payload: Any, unit: str | None = None) -> dict[str, float | None]:
    columns, problems = read_motion([json.dumps(payload).encode()], [unit])
    assert problems[0] is None
    return dict(zip(BLENDSHAPES, columns["weights"][0].as_py()[:52], strict=True))


def pose(head: Any) -> list[float]:
    frame = {"weights": {"jawOpen": 0.1}, "head": head}
    columns, problems = read_motion([json.dumps(frame).encode()])
    assert problems[0] is None
    return columns["weights"][0].as_py()[52:]


KINDS: list[Any] = [
    {"weights": FULL},
    {"weights": {"jawOpen": 0.5}, "head": {"yaw": -0.2}},
    {"weights": {"JawOpen": 0.5, "MouthCornerPullLeft": 0.3}},
    {"weights": {"LIP_FUNNELER_LB": 0.31, "LIP_FUNNELER_LT": 0.17, "LIP_FUNNELER_RB": 0.77}},
    {"weights": {name: 100 * value for name, value in FULL.items()}, "unit": "percent"},
    {"weights": {"mouthSmile_L": 70, "jawOpen": 13}, "unit": "percent"},
    {"weights": "eyeBlink_L-12|jawOpen-30|=head#-21.4,6.0,-6.6,0,0,0|"},
    {"weights": {"EyeOpenLeft": 0.4, "v2/JawX": -0.3}, "head": [0.1, 0.2, 0.0, 0.97]},
    {"weights": {"mouthSmileLeft": 1.0000001, "unheard_of": 3}},
    {"weights": {"jawOpen": 55}},
    {"weights": {"jawOpen": "high"}},
    {"weights": {}},
    {"weights": None, "head": {"pitch": 200}},
    {"hands": {}},
    {"Timecode": "00:01", "EyeBlinkLeft": 0.3, "HeadYaw": 20.0},
    {"blendShapes": {"jawOpen": 0.3}},
    {"weights": {"jawOpen": 0.3}, "head": {"yaw": 0.1, "unit": "rad"}},
    {"weights": {"jawOpen": 0.3}, "unit": "ells"},
    {"weights": {"jawOpen": 0.3}, "rotation": {"x": 0.1}},
    {"weights": FULL | {"Angry": 1.0}},
    {"weights": {"Joy": 0.5, "Angry": 0.5}},
    {"weights": {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}, "unit": "percent"},
    {"weights": {name: int("Blink" in name) for name in BLENDSHAPES}},
    {"weights": {"jawOpen": 0.0, "browInnerUp": 0.0, "grin": 0.6}},
    {"weights": [["jawOpen", 0.3]], "range": [0, 100]},
    {"weights": "eyeBlink_L-12|jawOp"},
    [1, 2],
]


@examples(60)
@given(st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=40), st.randoms())
def test_a_frame_is_the_same_in_any_batch(kinds: list[int], chance: random.Random) -> None:
    data = [json.dumps(KINDS[kind]).encode() for kind in kinds]
    columns, problems = read_motion(data)
    order = list(range(len(data)))
    chance.shuffle(order)
    for row in order:
        alone, problem = read_motion([data[row]])
        assert problem[0] == problems[row]
        if problem[0] is None:
            for name, column in alone.items():
                assert column[0].as_py() == columns[name][row].as_py(), KINDS[kinds[row]]


def test_a_foreign_frame_in_a_batch_changes_no_canonical_one() -> None:
    one, other = (json.dumps(KINDS[kind]).encode() for kind in (0, 2))
    alone, _ = read_motion([one])
    beside, _ = read_motion([one, other])
    assert beside["weights"][0] == alone["weights"][0]


def test_left_out_shapes_are_at_rest_unless_others_are_given_at_rest() -> None:
    sparse = weights({"weights": {"jawOpen": 0.4, "mouthPucker": 0.02}})
    assert (sparse["mouthPucker"], sparse["browInnerUp"]) == (pytest.approx(0.02), 0.0)
    dense = weights({"weights": {"jawOpen": 0.4, "mouthPucker": 0.0}})
    assert (dense["mouthPucker"], dense["browInnerUp"]) == (0.0, None)
    unsure = weights({"weights": {"jawOpen": 0.4, "shape_217": 0.3}})
    assert unsure["browInnerUp"] is None


def test_a_vocabulary_leaves_out_only_what_it_can_show() -> None:
    lips = weights({"weights": {"Mouth_Smile_Left": 0.5, "Mouth_Pout": 0.2}})
    assert (lips["mouthSmileLeft"], lips["jawOpen"], lips["browInnerUp"]) == (0.5, 0.0, None)


def test_a_shape_is_read_of_its_own_side_before_that_of_both() -> None:
    found = weights({"weights": {"mouthSmileLeft": 0.2, "mouthSmile": 0.9}})
    assert found["mouthSmileLeft"] == pytest.approx(0.2)
    assert found["mouthSmileRight"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("declared", "unit"),
    [
        ({}, 0), ({"unit": ""}, 0), ({"units": "meters"}, 0), ({"scale": 1.2}, 0),
        ({"range": [0]}, 0), ({"range": "0..1"}, 1), ({"unit": "0-1000"}, 1000),
        ({"unit": "percent", "range": [0, 100]}, 100), ({"scale": 255}, 255),
        ({"unit": "in %"}, 100), ({"unit": "normalised (0-1)"}, 1), ({"range": [-1, 1]}, -1),
        ({"unit": "percent", "range": [0, 1]}, None), ({"unit": "furlong"}, None),
        ({"unit": "-100..100"}, None), ({"range": [0, 10**400]}, 0), ({"unit": 10**5000}, None),
        ({"unit": ["percent"]}, None), ({"range": [5, 100]}, None),
    ],

)  # fmt: skip
def test_a_unit_is_read_of_any_member_that_says_one(declared: Any, unit: float | None) -> None:
    assert declared_unit(declared.items()) == unit


@pytest.mark.parametrize("depth", [3, 40, 3000])
def test_lists_in_lists_are_followed_a_few_steps(depth: int) -> None:
    nested = "[" * depth + '["jawOpen", 0.3]' + "]" * depth
    _, problems = read_motion([f'{{"weights": {nested}}}'.encode(), nested.encode()])
    assert (problems[0] is None) == (depth == 3)


@pytest.mark.parametrize(
    ("name", "unsure"),
    [("TailWag", ()), ("EAR_TWITCH_L", ()), ("hair.front", ()), ("grin", (0,)), ("笑い", (0,)),
     ("EarToMouth", (0,)), ("frameCount", ())],
)  # fmt: skip
def test_an_unknown_name_may_be_of_a_face_unless_it_says_otherwise(
    name: str, unsure: tuple[int, ...]
) -> None:
    placing = place_names((name,))
    assert (placing.unknown, placing.unsure) == (1, unsure)


def test_sources_are_means_maxima_and_ranges() -> None:
    found = weights({"weights": {"MouthCornerPullLeft": 0.5, "MouthCornerSlantLeft": 1.0}})
    assert found["mouthSmileLeft"] == pytest.approx(0.6)
    found = weights({"weights": {"MouthCornerPullLeft": 0.5, "MouthSmileLeft": 0.9}})
    assert found["mouthSmileLeft"] == pytest.approx(0.9)
    found = weights({"weights": {"EyeLidLeft": 0.3, "EyeLidRight": 0.9, "JawX": -0.4}})
    assert found["eyeBlinkLeft"] == pytest.approx(0.6)
    assert found["eyeWideRight"] == pytest.approx(0.6)
    assert (found["jawLeft"], found["jawRight"]) == (pytest.approx(0.4), 0.0)


@pytest.mark.parametrize(
    ("unit", "value"), [("percent", 40), ("%", 40), ("BYTE", 102), ("-1..1", -0.2), (None, 0.4)]
)
def test_a_unit_is_declared_by_the_record_or_for_its_source(unit: str | None, value: float) -> None:
    frame = {"weights": {"jawOpen": value, "MouthClose": value}}
    assert weights(frame | {"unit": unit})["jawOpen"] == pytest.approx(0.4)
    assert weights(frame, unit)["jawOpen"] == pytest.approx(0.4)
    canonical = {"weights": {"jawOpen": value}}
    assert weights(canonical, unit)["jawOpen"] == pytest.approx(0.4)


def test_the_record_knows_its_unit_better_than_the_configuration() -> None:
    assert weights({"weights": {"jawOpen": 0.4}, "unit": "fraction"}, "percent")["jawOpen"] > 0.3


@pytest.mark.parametrize("structured", [False, True])
def test_the_unit_of_a_source_is_taken_in_both_modes(structured: bool) -> None:
    still = {"weights": {"jawOpen": 0.8, "mouthClose": 0.1}}
    rows = [
        record("motion", number, still, structured=structured, source=source)
        for number, source in enumerate(("phones/a", "phones/b"))
    ]
    batches = [
        batch
        for tag, batch in decode_batch(raw(*rows), IDS, units={"phones/b": "percent"})
        if tag != DEAD and batch.num_rows
    ]
    found = [row["weight_max"] for batch in batches for row in batch.to_pylist()]
    assert found == [pytest.approx(0.8), pytest.approx(0.008)]


@pytest.mark.parametrize(
    "head",
    [
        {"pitch": 0.1, "yaw": -0.2, "roll": 0.3},
        {"Pitch": 0.1, "Yaw": -0.2, "Roll": 0.3},
        {"x": 0.1, "y": -0.2, "z": 0.3},
        [0.1, -0.2, 0.3],
        {"pitch": math.degrees(0.1), "yaw": -math.degrees(0.2), "roll": math.degrees(0.3)},
        {"pitch": math.degrees(0.1), "yaw": 360 - math.degrees(0.2), "roll": math.degrees(0.3)},
        {"euler": [5.7296, -11.4592, 17.1887], "unit": "deg"},
        {"x": 0.03427, "y": -0.10602, "z": 0.15344, "w": 0.98186},
        [0.03427, -0.10602, 0.15344, 0.98186],
        [0.98186, 0.03427, -0.10602, 0.15344],
        {"quaternion": {"x": 0.03427, "y": -0.10602, "z": 0.15344, "w": 0.98186}},
    ],
    ids=str,
)
def test_a_head_is_read_in_any_form(head: Any) -> None:
    assert pose(head) == pytest.approx([0.1, -0.2, 0.3], abs=2e-3)


@pytest.mark.parametrize("head", [{}, None, [], [1], "up", {"x": 0, "y": 0, "z": 0, "w": 0}, 7])
def test_of_a_head_that_cannot_be_read_nothing_is_taken(head: Any) -> None:
    assert pose(head) == [0, 0, 0]
    assert pose({"pitch": 1e30, "yaw": 1}) == [0, 0, 0]


def test_heads_in_heads_are_not_followed() -> None:
    head: Any = [0.1, 0.2, 0.3]
    for _ in range(400):
        head = {"rotation": head}
    assert pose(head) == [0, 0, 0]


@pytest.mark.parametrize(
    "frame",
    [
        {"weights": {f"shape{number}": 0.5 for number in range(5000)}},
        {"weights": {f"shape{number}": 0.5 for number in range(5000)} | {"jawOpen": True}},
        {f"shape{number}": 0.5 for number in range(5000)},
        {"weights": {"x" * 200_000: 0.5, "JawOpen": 0.5}},
        {"weights": [{"name": f"shape{number}", "value": 1} for number in range(5000)]},
    ],
)
def test_names_are_bounded(frame: Any) -> None:
    before = place_names.cache_info().currsize
    _, problems = read_motion([json.dumps(frame).encode()])
    assert problems[0] == DeadLetterCode.WRONG_TYPE
    assert place_names.cache_info().currsize <= before + 1


def test_every_vocabulary_names_its_source_and_reaches_shapes() -> None:
    for each in vocabularies():
        assert all(place.startswith("https://") for place in each.table.source), each.name
        assert each.reach.sum() >= 20, each.name
        for source in each.sources:
            assert source.terms, (each.name, BLENDSHAPES[source.target])


@pytest.mark.parametrize("vocabulary", vocabularies(), ids=lambda each: each.name)
def test_a_vocabulary_is_told_from_the_others_by_its_own_names(vocabulary: Any) -> None:
    names = tuple(vocabulary.columns)
    best = place_names(names).parts[0].vocabulary
    chosen = vocabularies()[best]
    columns = [chosen.column(name) for name in names]
    assert None not in columns
    assert chosen.name == vocabulary.name or chosen.reach.sum() >= vocabulary.reach.sum()


@pytest.mark.parametrize(
    "name", ["mouthSmileLeft", "mouth_smile_L", "Face.MouthSmile.L", "a/b/mouth-smile-left"]
)
def test_spellings_of_a_name_are_one(name: str) -> None:
    assert fold(name) == "mouthsmilel"


def test_a_shape_that_arkit_lacks_is_told_with_its_vocabulary() -> None:
    from transforms.decoding.vocabularies import _compile  # noqa: PLC0415

    table = Table(title="mine", source=("https://example.org",), shapes={"noseOpen": ("nose",)})
    with pytest.raises(AffectstreamError, match="mine: noseOpen is no shape"):
        _compile("mine", {"mine": table})


def test_columns_hold_no_nan() -> None:
    columns, _ = read_motion([json.dumps(kind).encode() for kind in KINDS])
    for name in ("weight_min", "weight_max", "pose_max"):
        assert np.isfinite(columns[name].to_numpy(zero_copy_only=False)).all(), name
