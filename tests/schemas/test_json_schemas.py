import base64
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from schemas.arkit import BLENDSHAPES
from schemas.events import ATTRIBUTES, COLUMN_OF, EVENT_TYPES, KINDS, PAYLOADS
from schemas.suites import load_suite

FOLDER = Path(__file__).parents[2] / "schemas" / "json"
FILES = sorted(FOLDER.glob("*.schema.json"))
RELEASED = json.loads((FOLDER / "compatibility.json").read_text(encoding="utf-8"))

DERIVED = {"details", "weights_given", "weight_min", "weight_max", "pose_max"}
DERIVED |= {
    "purposes_given",
    "modalities_given",
    "recorded_at",
    "media",
    "media_format",
    "media_bytes",
    "media_ref",
}


def version_of(path: Path) -> str:
    return path.name.removesuffix(".schema.json")


def schema(kind: str) -> dict[str, Any]:
    path = FOLDER / f"{kind}.v1.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def test_there_is_one_schema_for_each_kind() -> None:
    assert [version_of(path) for path in FILES] == sorted(f"{kind}.v1" for kind in KINDS)


@pytest.mark.parametrize("path", FILES, ids=version_of)
def test_a_schema_is_valid_and_its_id_carries_its_version(path: Path) -> None:
    loaded = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(loaded)
    kind, version = version_of(path).split(".")
    assert loaded["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert loaded["$id"] == f"urn:affectstream:schema:{kind}:{version}"
    assert loaded["properties"]["type"]["const"] == EVENT_TYPES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_names_the_attributes_and_fields_of_the_contract(kind: str) -> None:
    loaded = schema(kind)
    assert set(ATTRIBUTES) <= set(loaded["properties"])
    fields = {name for name, _ in PAYLOADS[kind]} - DERIVED
    given = set(loaded["$defs"]["payload"].get("properties", {})) - {"head", "hands"}
    assert given == fields
    if kind == "motion":
        weights = loaded["$defs"]["payload"]["properties"]["weights"]["properties"]
        assert list(weights) == list(BLENDSHAPES)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_sets_are_those_of_the_expectations(kind: str) -> None:
    loaded = schema(kind)
    attribute_of = {column: attribute for attribute, column in COLUMN_OF.items()}
    payload = loaded["$defs"]["payload"].get("properties", {})
    compared = 0
    for entry in load_suite(f"events/{kind}")["expectations"]:
        kwargs = entry["kwargs"]
        column = kwargs["column"]
        found = payload.get(column) or loaded["properties"].get(attribute_of.get(column, column))
        if entry["type"] == "expect_column_value_lengths_to_be_between":
            assert (found["minLength"], found["maxLength"]) == (
                kwargs["min_value"],
                kwargs["max_value"],
            )
            compared += 1
        elif found and "enum" in found and "value_set" in kwargs:
            assert found["enum"] == kwargs["value_set"]
            compared += 1
        elif entry["type"].endswith("_to_not_be_null") and found and column not in payload:
            names = loaded["required"]
            assert column == "event_type" or attribute_of.get(column, column) in names
    assert compared >= 8 or kind == "erasure", "what asks for erasure need not be well formed"


PAYLOAD: dict[str, Any] = {
    "text": {"text": "好的, see you", "lang": "zh-CN"},
    "voice": base64.b64encode(b"RIFF....WAVE").decode(),
    "face": base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(),
    "motion": {
        "weights": {"jawOpen": 0.4, "browInnerUp": 0},
        "head": {"pitch": 0.1, "yaw": -3.14159, "roll": 0},
        "hands": {"left": [0.1]},
    },
    "context": {"scene": "market", "activity": None, "game_result": "won", "lesson_state": None},
    "consent": {"granted": False, "purposes": ["*"], "modalities": ["text", "voice"]},
    "erasure": {"reason": "account closed"},
}


def event(kind: str) -> dict[str, Any]:
    data = "data_base64" if kind in ("voice", "face") else "data"
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "world/test",
        "type": EVENT_TYPES[kind],
        "subject": "alice",
        "time": "2026-09-01T10:00:00Z",
        "dataschema": schema(kind)["$id"],
        "sessionid": "session-1",
        "sceneid": "scene-1",
        "scenario": "social",
        "purpose": "avatar_mirroring",
        "region": "US-IL",
        "ageband": "adult",
        "noticeid": "notice-1",
        data: PAYLOAD[kind],
    }


def errors(kind: str, instance: object) -> list[str]:
    validator = Draft202012Validator(schema(kind), format_checker=FormatChecker())
    return [error.json_path for error in validator.iter_errors(instance)]


@pytest.mark.parametrize("kind", KINDS)
def test_sample_events_validate(kind: str) -> None:
    assert errors(kind, event(kind)) == []
    assert errors(kind, {**event(kind), "traceparent": "00-1"}) == []


BAD = [
    ("text", "$.data.text", lambda e: e["data"].update(text="")),
    ("text", "$.data.text", lambda e: e["data"].update(text=7)),
    ("text", "$", lambda e: e.pop("subject")),
    ("face", "$.type", lambda e: e.update(type="session.text.v1")),
    ("context", "$.region", lambda e: e.update(region="E U")),
    ("motion", "$.data.weights.jawOpen", lambda e: e["data"]["weights"].update(jawOpen=1.1)),
    ("motion", "$.data.weights", lambda e: e["data"].update(weights={})),
    ("motion", "$.data.head.yaw", lambda e: e["data"]["head"].update(yaw=4)),
    ("consent", "$.data", lambda e: e["data"].pop("granted")),
    ("consent", "$.data.modalities[0]", lambda e: e["data"].update(modalities=["gait"])),
    ("erasure", "$.data.reason", lambda e: e["data"].update(reason="x" * 1001)),
    ("voice", "$", lambda e: e.pop("data_base64")),
]


@pytest.mark.parametrize(("kind", "path", "spoil"), BAD)
def test_spoilt_events_do_not_validate(
    kind: str, path: str, spoil: Callable[[dict[str, Any]], None]
) -> None:
    spoilt = copy.deepcopy(event(kind))
    spoil(spoilt)
    assert errors(kind, spoilt) == [path]


# Compatibility: compatibility.json says what each released version promised its writers.

LOWER = ("minLength", "minimum", "minItems", "minProperties")
UPPER = ("maxLength", "maximum", "maxItems", "maxProperties")


def fields_of(loaded: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Path → what is asked of the value there: required or not, types, bounds, values, form."""
    return dict(_walk(loaded, loaded, "$", required=True))


def _walk(
    node: dict[str, Any], root: dict[str, Any], path: str, *, required: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    if "$ref" in node:
        node = root["$defs"][node["$ref"].removeprefix("#/$defs/")]
    types = node.get("type", [])
    asked = {key: node[key] for key in (*LOWER, *UPPER, "enum", "const", "pattern") if key in node}
    types = sorted([types] if isinstance(types, str) else types)
    yield path, {"required": required, "types": types, **asked}
    for name, child in node.get("properties", {}).items():
        needed = name in node.get("required", [])
        yield from _walk(child, root, f"{path}.{name}", required=needed)
    if "items" in node:
        yield from _walk(node["items"], root, f"{path}[]", required=False)


def breaks(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """Ways in which an event that was good under the old fields is bad, or lost, under the new."""
    found = [f"{path} is gone" for path in old if path not in new]
    found += [f"{path} is required now" for path in new.keys() - old if new[path]["required"]]
    for path in old.keys() & new.keys():
        was, now = old[path], new[path]
        if now["required"] and not was["required"]:
            found.append(f"{path} is required now")
        if not set(was["types"]) <= set(now["types"]):
            found.append(f"{path} was {was['types']}, is {now['types']}")
        for key in now.keys() & {*LOWER, *UPPER}:
            narrower = key not in was or (now[key] > was[key]) == (key in LOWER)
            if narrower and now[key] != was.get(key):
                found.append(f"{path}: {key} was {was.get(key)}, is {now[key]}")
        if "enum" in now and not set(was.get("enum", [object()])) <= set(now["enum"]):
            found.append(f"{path} takes fewer values")
        for key in now.keys() & {"const", "pattern"}:
            if now[key] != was.get(key):
                found.append(f"{path}: {key} was {was.get(key)}, is {now[key]}")
    return sorted(found)


@pytest.mark.parametrize("path", FILES, ids=version_of)
def test_a_released_schema_is_changed_only_compatibly(path: Path) -> None:
    version = version_of(path)
    fields = fields_of(json.loads(path.read_text(encoding="utf-8")))
    assert version in RELEASED, f"release {version}: add to compatibility.json {fields}"
    found = breaks(RELEASED[version], fields)
    assert not found, f"{version} breaks its writers, make a new version of it: {found}"
    news = {
        field: asked for field, asked in fields.items() if asked != RELEASED[version].get(field)
    }
    assert not news, f"compatible; note it in compatibility.json: {json.dumps(news)}"


def test_no_released_schema_is_gone() -> None:
    assert set(RELEASED) <= {version_of(path) for path in FILES}


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], list[str]]] = [
    ("text", lambda s: s["properties"].update(mood={"type": "string"}), []),
    ("text", lambda s: s["$defs"]["payload"]["properties"]["text"].update(maxLength=9000), []),
    ("text", lambda s: s["required"].remove("sessionid"), []),
    ("text", lambda s: s["required"].append("sceneid"), ["$.sceneid is required now"]),
    (
        "text",
        lambda s: (s["properties"].update(mood={"type": "string"}), s["required"].append("mood")),
        ["$.mood is required now"],
    ),
    ("text", lambda s: s["properties"].pop("sceneid"), ["$.sceneid is gone"]),
    (
        "text",
        lambda s: s["$defs"]["payload"]["properties"]["text"].update(maxLength=100),
        ["$.data.text: maxLength was 4000, is 100"],
    ),
    (
        "text",
        lambda s: s["$defs"]["payload"]["properties"]["lang"].update(type="string"),
        ["$.data.lang was ['null', 'string'], is ['string']"],
    ),
    (
        "consent",
        lambda s: s["$defs"]["payload"]["properties"]["modalities"]["items"]["enum"].remove("*"),
        ["$.data.modalities[] takes fewer values"],
    ),
    (
        "consent",
        lambda s: s["$defs"]["payload"]["properties"]["purposes"]["items"].update(enum=["*"]),
        ["$.data.purposes[] takes fewer values"],
    ),
    (
        "context",
        lambda s: s["properties"]["region"].update(pattern="^[A-Z]{2}$"),
        ["$.region: pattern was ^[A-Za-z0-9][A-Za-z0-9_.-]*$, is ^[A-Z]{2}$"],
    ),
]


@pytest.mark.parametrize(("kind", "change", "expected"), CHANGES)
def test_the_check_tells_compatible_changes_from_breaking_ones(
    kind: str, change: Callable[[dict[str, Any]], object], expected: list[str]
) -> None:
    changed = schema(kind)
    change(changed)
    assert breaks(RELEASED[f"{kind}.v1"], fields_of(changed)) == expected
