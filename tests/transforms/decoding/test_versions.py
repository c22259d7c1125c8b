import pyarrow as pa
import pytest

from transforms.decoding.messages.versions import find_other_schemas, find_other_specs

OURS = [
    "urn:affectstream:schema:text:v1",
    "https://example.org/schemas/session.text.v1.schema.json",
    "https://example.org/text/1.4.2",
    "https://example.org/v2/chat",
    "https://example.org/text",
    "https://registry.example.org/text/schemas/ids/17",
    "https://example.org/text/2026-09-01/schema.json",
    "https://v2.example.org/text/v1",
    "",
]
OTHERS = [
    "urn:affectstream:schema:text:v2",
    "urn:affectstream:schema:text:V2.1",
    "https://example.org/schemas/session.text.v2.schema.json",
    "https://example.org/v2/text.json",
    "https://example.org/text/2.0.0",
    "iglu:org.example/text/jsonschema/2-0-0",
    "urn:affectstream:schema:text:v0",
]


@pytest.mark.parametrize("uri", OURS)
def test_version_1_and_what_is_not_ours_are_read(uri: str) -> None:
    assert find_other_schemas("text", pa.array([uri, None])).tolist() == [False, False]


@pytest.mark.parametrize("uri", OTHERS)
def test_another_major_version_is_found(uri: str) -> None:
    assert find_other_schemas("text", pa.array([None, uri, OURS[0]])).tolist() == [
        False,
        True,
        False,
    ]


def test_versions_of_cloudevents() -> None:
    same, other = ["1.0", "1", "1.0.2", " 1.0"], ["0.3", "2.0", "1.1", "10", "", "one"]
    found = find_other_specs(pa.array([None, *same, *other], pa.string()))
    assert found.tolist() == [False] * 5 + [True] * 6
