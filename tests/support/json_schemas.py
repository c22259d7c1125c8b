"""The published JSON schemas with what they share, and events that are good under them."""

import base64
import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from schemas.events import EVENT_TYPES, MEDIA_KINDS

FOLDER = Path(__file__).parents[2] / "schemas" / "json"
FILES = sorted(FOLDER.glob("*.schema.json"))


def version_of(path: Path) -> str:
    """Return name and version, as in ``text.v1``."""
    return path.name.removesuffix(".schema.json")


def read_schema(version: str) -> dict[str, Any]:
    path = FOLDER / f"{version}.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@cache
def registry() -> Registry:
    """All published schemas under their ``$id``, as a consumer gives them to a validator."""
    resources = [Resource.from_contents(read_schema(version_of(path))) for path in FILES]
    return resources @ Registry()


@cache
def validator(kind: str) -> Draft202012Validator:
    schema = read_schema(f"{kind}.v1")
    return Draft202012Validator(schema, registry=registry(), format_checker=FormatChecker())


def flattened_schema(version: str) -> dict[str, Any]:
    """Return a schema with the properties and required names of those that it takes by ``allOf``.

    What two of them ask of a property is joined; that they ask the same twice is an error.
    """
    schema = read_schema(version)
    for taken in schema.pop("allOf", []):
        shared = copy.deepcopy(registry().contents(taken["$ref"]))
        schema["required"] = [*shared["required"], *schema["required"]]
        properties = shared["properties"]
        for name, asked in schema["properties"].items():
            known = properties.get(name, {})
            assert known.keys() & asked.keys() <= {"description"}, f"{version}: {name} stands twice"
            properties[name] = known | asked
        schema["properties"] = properties
    return schema


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


def sample_event(kind: str) -> dict[str, Any]:
    """Return an event of this kind in structured mode, with every attribute."""
    data = "data_base64" if kind in MEDIA_KINDS else "data"
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "world/test",
        "type": EVENT_TYPES[kind],
        "subject": "alice",
        "time": "2026-09-01T10:00:00Z",
        "dataschema": f"urn:affectstream:schema:{kind}:v1",
        "sessionid": "session-1",
        "sceneid": "scene-1",
        "scenario": "social",
        "purpose": "avatar_mirroring",
        "region": "US-IL",
        "ageband": "adult",
        "noticeid": "notice-1",
        data: copy.deepcopy(PAYLOAD[kind]),
    }
