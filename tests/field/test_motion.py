"""Frames as trackers and avatars name and scale them: ``motion.yaml``.

``send`` is a payload as it stands, under ``raw`` as text, or a frame that is made here: ``frame``
names the expression, at which ``at`` moves its shapes of ARKit, and the rest says how it is sent.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.arkit import AU_BLENDSHAPES, BLENDSHAPES, EXPRESSION_UNITS
from tests.field.replayed import Case, Outcome, assert_expected, read_cases, run_cases
from tests.support.records import record

CASES = read_cases("motion")

SIDE = "(?<!^jaw)(?<!^mouth)(Left|Right)$"
SPELLINGS: dict[str, Callable[[str], str]] = {
    "camel": str,
    "pascal": lambda name: name[0].upper() + name[1:],
    "snake": lambda name: re.sub(r"(?=[A-Z])", "_", name).lower(),
    "upper": lambda name: re.sub(r"(?=[A-Z])", "_", name).upper(),
    "kebab": lambda name: re.sub(r"(?=[A-Z])", "-", name).lower(),
    "words": lambda name: re.sub(r"(?=[A-Z])", " ", name).title(),
    "suffix": lambda name: re.sub(SIDE, lambda side: f"_{side[0][0]}", name),
    "dotted": lambda name: re.sub(SIDE, lambda side: f".{side[0][0]}", name),
    "side first": lambda name: (
        re.sub(r"^(.*)(Left|Right)$", lambda m: f"{m[2]}{m[1]}", name)
        if re.search(SIDE, name)
        else name
    ),
    "mesh": lambda name: f"Wolf3D_Head.{name}",
    "path": lambda name: f"/avatar/parameters/FT/{name}",
    "fullwidth": lambda name: "".join(chr(ord(letter) + 0xFEE0) for letter in name),
    "pico": lambda name: f"XR_BS_{SPELLINGS['suffix'](name).upper()}_PICO",
}


def frame(sent: dict[str, Any]) -> dict[str, Any]:
    """All 52 weights of an expression, those of ``only`` or without ``drop``, as they are sent."""
    units = EXPRESSION_UNITS[sent["frame"]]
    moved = {name for unit in units for name in AU_BLENDSHAPES[unit]}
    weights = {
        name: sent.get("at", 0.7) if name in moved else sent.get("rest", 0.0)
        for name in BLENDSHAPES
        if re.search(sent.get("only", ""), name) and not re.search(sent.get("drop", "^$"), name)
    }
    if sent.get("sparse"):
        weights = {name: value for name, value in weights.items() if value}
    scale, shift = sent.get("scale", 1), sent.get("shift", 0)
    scaled = {name: value * scale + shift for name, value in weights.items()}
    spelt = SPELLINGS[sent.get("spelling", "camel")]
    whole = sent.get("whole", False)
    return {spelt(name): round(value) if whole else value for name, value in scaled.items()}


def categories(weights: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"index": 0, "score": v, "categoryName": k, "displayName": ""} for k, v in weights.items()
    ]


FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "object": lambda weights: {"weights": weights},
    "categories": lambda weights: {"weights": categories(weights)},
    "landmarker": lambda weights: {"faceBlendshapes": [{"categories": categories(weights)}]},
    "pairs": lambda weights: {"BlendShapes": [{"k": k, "v": v} for k, v in weights.items()]},
    "row": lambda weights: {"Timecode": "00:00:01:12.3", "BlendShapeCount": 61} | weights,
    "ifacialmocap": lambda weights: {
        "weights": "|".join(f"{k}-{v}" for k, v in weights.items())
        + "|=head#-21.488958,-6.038993,-6.6,-0.03,-0.1,-0.65|rightEye#6.02,2.44,0.25|"
    },
    "facemotion3d": lambda weights: {"weights": "|".join(f"{k}&{v}" for k, v in weights.items())},
    "numbers": lambda weights: {"weights": list(weights.values())},
}


def payload(sent: dict[str, Any]) -> Any:
    if "raw" in sent:
        return sent["raw"].encode()
    if "frame" not in sent:
        return {name: value for name, value in sent.items() if name != "source"}
    weights = frame(sent) | sent.get("add", {})
    if sent.get("form") == "alone":
        return categories(weights)
    beside = {name: sent[name] for name in ("unit", "head") if name in sent}
    return FORMS[sent.get("form", "object")](weights) | beside


def make(case: Case, number: int) -> dict[str, Any]:
    named = {"source": case.send["source"]} if "source" in case.send else {}
    return record("motion", number, payload(case.send), **named)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Outcome]:
    units = {"units": {"phones/percent": "percent"}}
    return run_cases(CASES, make, tmp_path_factory.mktemp("motion"), keys, motion=units)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_motion_as_the_field_sends_it(case: Case, outcomes: dict[str, Outcome]) -> None:
    assert_expected(case, outcomes[case.name])
