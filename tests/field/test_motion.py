"""Frames as trackers and avatars name and scale them: ``motion.yaml``.

``send`` is a payload as it stands, under ``raw`` as text, or a frame that is made here: ``frame``
names the expression, at which ``at`` moves its shapes of ARKit, and the rest says how it is sent.
"""

import json
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
    "prefix": lambda name: f"bs_{name}",
    "two prefixes": lambda name: f"Face_M_{name}",
    "numbered": lambda name: f"{BLENDSHAPES.index(name)}_{name}",
    "copied": lambda name: f"{name}.001",
    "shape": lambda name: f"{name}Shape",
    "dots": lambda name: re.sub(r"(?=[A-Z])", ".", name).lower(),
    "L_": lambda name: (
        re.sub(r"^(.*)(L|R)(eft|ight)$", r"\2_\1", name) if re.search(SIDE, name) else name
    ),
    "lft": lambda name: re.sub(SIDE, lambda side: {"L": "_lft", "R": "_rgt"}[side[0][0]], name),
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
    "nested": lambda weights: {"face_blendshapes": [categories(weights)]},
    "two faces": lambda weights: {"faceBlendshapes": [{"categories": categories(weights)}] * 2},
    "lists": lambda weights: {"weights": [[k, v] for k, v in weights.items()]},
    "ids": lambda weights: {"parameterValues": [{"id": k, "value": v} for k, v in weights.items()]},
    "amounts": lambda weights: {"weights": [{"name": k, "amount": v} for k, v in weights.items()]},
    "single": lambda weights: {"weights": [{k: v} for k, v in weights.items()]},
    "columns": lambda weights: {"facsNames": list(weights), "weightMat": [list(weights.values())]},
    "named columns": lambda weights: {
        "blend_shapes": {"names": list(weights)},
        "weights": list(weights.values()),
    },
    "face": lambda weights: {"face": weights},
    "capital": lambda weights: {"Weights": weights},
    "own word": lambda weights: {"arkitFace52": weights, "fps": 30},
    "in data": lambda weights: {"data": {"weights": weights}},
    "subject": lambda weights: {"iPhone": [{"Name": k, "Value": v} for k, v in weights.items()]},
    "osc": lambda weights: {
        "weights": [{"address": "/VMC/Ext/Blend/Val", "args": [k, v]} for k, v in weights.items()]
    },
    "text": lambda weights: {"weights": json.dumps(weights)},
    "quoted": lambda weights: {"weights": {k: f"{v:.2f}" for k, v in weights.items()}},
    "two members": lambda weights: {"left player": weights, "right player": weights},
}


BESIDE = ("unit", "units", "Unit", "weightUnit", "range", "head")


def payload(sent: dict[str, Any]) -> Any:
    if "raw" in sent:
        return sent["raw"].encode()
    if "frame" not in sent:
        return {name: value for name, value in sent.items() if name != "source"}
    weights = frame(sent) | sent.get("add", {})
    if sent.get("form") == "alone":
        return categories(weights)
    beside = {name: sent[name] for name in BESIDE if name in sent}
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
