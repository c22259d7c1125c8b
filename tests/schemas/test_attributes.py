from pathlib import Path
from zlib import crc32

import pytest
import yaml

import schemas
from schemas.attributes import ATTRIBUTES, COLUMN_OF
from schemas.events import CONTEXT_COLUMNS, KINDS, MEDIA_KINDS, event_schema
from schemas.tables import TABLES
from tests.support.records import decoded, record

VALUES = {
    "sessionid": "session-2",
    "sceneid": "scene-2",
    "scenario": "game",
    "purpose": "safety",
    "region": "EU",
    "ageband": "teen",
    "noticeid": "notice-2",
    "dataschema": "urn:affectstream:schema:text:v1",
}
"""An attribute that is no part of an event's id → a value other than the one of a record here."""


def content(**changes: str) -> int:
    found: int = decoded(record("text", 1, {"text": "x"}, **changes))["content"][0].as_py()
    return found


def test_the_table_of_other_spellings_has_the_attributes_that_are_read_by_it() -> None:
    file = Path(schemas.__file__).parent / "policies" / "aliases.yaml"
    table = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(table) - {"parts"} == {name for name, each in ATTRIBUTES.items() if each.aliases}


def test_no_two_attributes_have_one_factor_in_the_checksum() -> None:
    powers = [
        each.checksum_power for each in ATTRIBUTES.values() if each.checksum_power is not None
    ]
    assert len(set(powers)) == len(powers)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_has_the_columns_of_its_attributes(kind: str) -> None:
    of_media = set() if kind in MEDIA_KINDS else {"media_ref"}
    assert set(COLUMN_OF.values()) - of_media <= set(event_schema(kind).names)


@pytest.mark.parametrize("table", ["observations", "emotion_features", "expression_decisions"])
def test_the_context_of_a_window_has_columns_in_the_tables_that_it_comes_from_and_goes_to(
    table: str,
) -> None:
    names = TABLES[table].schema.names
    assert [name for name in names if name in dict(CONTEXT_COLUMNS)] == list(dict(CONTEXT_COLUMNS))


@pytest.mark.parametrize("name", VALUES)
def test_an_event_is_another_one_where_an_attribute_of_the_checksum_differs(name: str) -> None:
    differs = content(**{name: VALUES[name]}) != content()
    assert differs == (ATTRIBUTES[name].checksum_power is not None)


def test_the_checksum_is_that_of_0_1_0() -> None:
    """Else a job that goes on with its state would take what comes again for other events."""

    def checksum(changes: dict[str, str]) -> int:
        said = {"sessionid": "session-1", "noticeid": "notice-1", "scenario": "social"}
        said |= {"purpose": "avatar_mirroring", "region": "US", "ageband": "adult"}
        begun = 0
        for value in (said | changes).values():
            begun = (begun * 31 + crc32(value.encode())) % 2**32
        return crc32(b'{"text": "x"}', begun) % 2**31

    checked = {name: VALUES[name] for name in VALUES if name not in ("sceneid", "dataschema")}
    for name, value in checked.items():
        masked = content(**{name: value}) ^ content()  # the ids are the same, and so is the mask
        assert masked == checksum({name: value}) ^ checksum({}), name
