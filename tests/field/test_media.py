"""Sound and pictures as clients make and wrap them: ``media.yaml``."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.field.media_files import build
from tests.field.replayed import Case, Outcome, assert_expected, read_cases, run_cases
from tests.support.records import attributes, record

CASES = read_cases("media")


def make(case: Case, number: int) -> dict[str, Any]:
    if "dataref" in case.send:
        return record(case.kind, number, b"", dataref=case.send["dataref"]) | {"value": None}
    media = build(case.send)
    if case.send.get("data"):  # a structured event with the media in `data`, as text
        value = json.dumps(attributes(case.kind, number) | {"data": media.decode()}).encode()
        headers = [{"key": "content-type", "value": b"application/cloudevents+json"}]
        return record(case.kind, number, value) | {"headers": headers}
    return record(case.kind, number, media, structured=case.send.get("structured", False))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> dict[str, Outcome]:
    return run_cases(CASES, make, tmp_path_factory.mktemp("media"), keys)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_media_as_the_field_sends_them(case: Case, outcomes: dict[str, Outcome]) -> None:
    assert_expected(case, outcomes[case.name])
