from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.arkit import BLENDSHAPES
from schemas.attributes import ATTRIBUTES, COLUMN_OF
from schemas.events import EVENT_TYPES, KINDS, PAYLOADS
from schemas.suites import load_suite
from tests.support.json_schemas import (
    FILES,
    flattened_schema,
    read_schema,
    sample_event,
    validator,
    version_of,
)

DERIVED = {"details", "weights_given", "weight_min", "weight_max", "pose_max"}
DERIVED |= {
    "purposes_given",
    "modalities_given",
    "recorded_at",
    "suspends",
    "media",
    "media_format",
    "media_bytes",
    "media_ref",
}


def test_there_is_one_schema_for_each_kind_and_one_for_what_they_share() -> None:
    expected = sorted(f"{name}.v1" for name in ("attributes", *KINDS))
    assert [version_of(path) for path in FILES] == expected


@pytest.mark.parametrize("path", FILES, ids=version_of)
def test_a_schema_is_valid_and_its_id_carries_its_version(path: Path) -> None:
    loaded = read_schema(version_of(path))
    Draft202012Validator.check_schema(loaded)
    kind, version = version_of(path).split(".")
    assert loaded["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert loaded["$id"] == f"urn:affectstream:schema:{kind}:{version}"
    assert kind == "attributes" or loaded["properties"]["type"] == {"const": EVENT_TYPES[kind]}


def test_the_shared_schema_has_the_attributes() -> None:
    read_by_nobody = {"specversion", "datacontenttype"}
    assert set(read_schema("attributes.v1")["properties"]) == {*ATTRIBUTES, *read_by_nobody}


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_takes_the_attributes_and_names_the_fields_of_the_contract(kind: str) -> None:
    loaded = flattened_schema(f"{kind}.v1")
    assert set(ATTRIBUTES) <= set(loaded["properties"])
    fields = {name for name, _ in PAYLOADS[kind]} - DERIVED
    given = set(loaded["$defs"]["payload"].get("properties", {})) - {"head", "hands", "unit"}
    assert given == fields
    if kind == "motion":
        weights = loaded["$defs"]["payload"]["properties"]["weights"]["properties"]
        assert list(weights) == list(BLENDSHAPES)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_sets_are_those_of_the_expectations(kind: str) -> None:
    loaded = flattened_schema(f"{kind}.v1")
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
            assert attribute_of.get(column, column) in loaded["required"]
    assert compared >= 8 or kind == "erasure", "what asks for erasure need not be well formed"


def errors(kind: str, instance: object) -> list[str]:
    return [error.json_path for error in validator(kind).iter_errors(instance)]


@pytest.mark.parametrize("kind", KINDS)
def test_sample_events_validate(kind: str) -> None:
    assert errors(kind, sample_event(kind)) == []
    assert errors(kind, {**sample_event(kind), "traceparent": "00-1"}) == []


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
    spoilt = sample_event(kind)
    spoil(spoilt)
    assert errors(kind, spoilt) == [path]
