"""What the published JSON schemas promise those who write events, and whether they keep it.

compatibility.json says what each released version asks of an event, field by field; a version that
extends another asks that too, and what it says of the same field is added.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.events import KINDS, MEDIA_KINDS
from tests.support.json_schemas import (
    FILES,
    FOLDER,
    flattened_schema,
    sample_event,
    validator,
    version_of,
)
from tests.support.properties import examples

RELEASED = json.loads((FOLDER / "compatibility.json").read_text(encoding="utf-8"))

Fields = dict[str, dict[str, Any]]
"""Path → what is asked of the value there: required or not, types, bounds, values, form."""


def released(version: str) -> Fields:
    own = dict(RELEASED[version])
    fields = released(own.pop("extends")) if "extends" in own else {}
    return fields | {path: fields.get(path, {}) | asked for path, asked in own.items()}


LOWER = ("minLength", "minimum", "minItems", "minProperties")
UPPER = ("maxLength", "maximum", "maxItems", "maxProperties")


def fields_of(loaded: dict[str, Any]) -> Fields:
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


def breaks(old: Fields, new: Fields) -> list[str]:
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
    fields = fields_of(flattened_schema(version))
    assert version in RELEASED, f"release {version}: add to compatibility.json {fields}"
    promised = released(version)
    found = breaks(promised, fields)
    assert not found, f"{version} breaks its writers, make a new version of it: {found}"
    news = {field: asked for field, asked in fields.items() if asked != promised.get(field)}
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
    changed = flattened_schema(f"{kind}.v1")
    change(changed)
    assert breaks(released(f"{kind}.v1"), fields_of(changed)) == expected


# The schemas as they stand, references and all, take exactly the events that the fields promise.

ABSENT = object()
VALUES = [
    *(ABSENT, None, True, 0, 0.5, -3.2, 2, {}, {"jawOpen": 1}, [], [""], ["*"], ["gait"]),
    *("", " ", "a", "A-1_b.c", "E U", "a\n", "-a", "*", "1.0", "child", "zh-CN"),
    *("a" * (length + step) for length in (16, 64, 128, 256, 1000, 2048, 4000) for step in (0, 1)),
]


def promised_schema(fields: Fields, path: str = "$") -> dict[str, Any]:
    """Return the fields as one schema without any reference."""
    types, asked = fields[path]["types"], dict(fields[path])
    del asked["required"], asked["types"]
    below = [name for name in fields if name.rpartition(".")[0] == path and "[" not in name]
    node = {
        **asked,
        **({"type": types} if types else {}),
        "properties": {name.rpartition(".")[2]: promised_schema(fields, name) for name in below},
        "required": [name.rpartition(".")[2] for name in below if fields[name]["required"]],
    }
    return node | ({"items": promised_schema(fields, f"{path}[]")} if f"{path}[]" in fields else {})


@cache
def promise(kind: str) -> Draft202012Validator:
    schema = promised_schema(released(f"{kind}.v1"))
    if kind in MEDIA_KINDS:  # which paths cannot say
        schema["anyOf"] = [{"required": ["data_base64"]}, {"required": ["dataref"]}]
    return Draft202012Validator(schema)


def put(event: dict[str, Any], path: str, value: object) -> None:
    """Set what stands at a path, as in ``$.data.text``, where there is a place for it."""
    *parents, last = path.removeprefix("$.").removesuffix("[]").split(".")
    place: Any = event
    for name in parents:
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        return
    if value is ABSENT:
        place.pop(last, None)
    else:
        place[last] = [value] if path.endswith("[]") else value


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_takes_what_the_fields_promise_whichever_field_is_changed(kind: str) -> None:
    taken = []
    for path, value in itertools.product(released(f"{kind}.v1").keys() - {"$"}, VALUES):
        event = sample_event(kind)
        put(event, path, value)
        taken.append(promise(kind).is_valid(event))
        assert validator(kind).is_valid(event) == taken[-1], (path, value)
    assert taken.count(True) > 100
    assert taken.count(False) > 100


@pytest.mark.parametrize("kind", KINDS)
@examples(100)
@given(data=st.data())
def test_a_schema_takes_what_the_fields_promise_of_any_event(
    kind: str, data: st.DataObject
) -> None:
    paths = st.sampled_from(sorted(released(f"{kind}.v1").keys() - {"$"}))
    anything = st.sampled_from(VALUES) | st.text(max_size=20) | st.floats(allow_nan=False)
    event = sample_event(kind)
    for path, value in data.draw(st.lists(st.tuples(paths, anything), max_size=4)):
        put(event, path, value)
    assert validator(kind).is_valid(event) == promise(kind).is_valid(event)
