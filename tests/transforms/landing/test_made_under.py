"""Tables go with the keys that they were made under, and with no others."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from schemas.errors import AffectstreamError
from schemas.keys import KeyPeriod, Keys, ShreddedPeriod, fingerprint
from tests.support.records import period
from tests.support.served import feature, land
from transforms.landing.made_under import MADE_UNDER, check_made_under, note_made_under
from transforms.landing.prepare import prepare_tables

FIRST = period("2026-01-01T00:00:00Z", "first")
SECOND = period("2026-09-01T00:00:00Z", "second")
THIRD = period("2026-12-01T00:00:00Z", "third")
EU = period("2026-01-01T00:00:00Z", "of the EU", "EU")
STAYING = {"persons": b"persons" + FIRST.key, "tombstone": b"tombstones" + FIRST.key}


def keys(*periods: KeyPeriod, **more: object) -> Keys:
    return Keys.of(periods, **STAYING | more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Tables with a row that were made under two periods."""
    prepare_tables(tmp_path)
    land(tmp_path, "emotion_features", feature("a", 1))
    note_made_under(tmp_path, keys(FIRST, SECOND, EU))
    return tmp_path


def gone(each: KeyPeriod) -> ShreddedPeriod:
    return ShreddedPeriod(since=each.since, region=each.region, check=fingerprint(each.key))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (keys(period("2026-01-01T00:00:00Z", "x"), SECOND, EU), "2026-01-01T00:00:00+00:00 is"),
        (keys(FIRST, EU), "that since 2026-09-01T00:00:00+00:00 is missing or another"),
        (keys(FIRST, SECOND), "since 2026-01-01T00:00:00+00:00 of region EU is missing"),
        (keys(FIRST, SECOND, EU, persons=THIRD.key), "that of persons is another"),
        (keys(FIRST, SECOND, EU, tombstone=THIRD.key), "that of tombstones is another"),
        (keys(period("2026-02-01T00:00:00Z", "first"), SECOND, EU), "2026-01-01T00:00:00+00:00 is"),
        (
            keys(FIRST, SECOND, EU, period("2026-05-01T00:00:00Z", "between")),
            "that since 2026-05-01T00:00:00+00:00 was put between others",
        ),
        *(
            (keys(FIRST, SECOND, EU, period(f"{day}T00:00:00Z", "of the US", "US")),
             f"that since {day}T00:00:00+00:00 of region US was put between others")
            for day in ("2000-01-01", "2026-01-01", "2026-09-01")
        ),
        (keys(SECOND, EU, shredded=[gone(THIRD)]), "that since 2026-01-01T00:00:00+00:00 is"),
    ],
)  # fmt: skip
def test_other_keys_are_one_sentence(root: Path, given: Keys, said: str) -> None:
    before = DeltaTable(root / "consent_ledger").version()
    for act in (check_made_under, note_made_under):
        with pytest.raises(AffectstreamError) as raised:
            act(root, given)
        assert said in str(raised.value)
        assert str(raised.value).startswith(f"the tables under {root} were made under other keys (")
        assert "\n" not in str(raised.value)
    assert DeltaTable(root / "consent_ledger").version() == before


@pytest.mark.parametrize(
    "given",
    [
        keys(FIRST, SECOND, EU),
        keys(FIRST, SECOND, EU, THIRD),
        keys(SECOND, EU, shredded=[gone(FIRST)]),
        keys(FIRST, SECOND, EU, period("2026-12-01T00:00:00Z", "of China", "CN")),
    ],
)
def test_more_keys_and_shredded_ones_are_taken_and_noted_once(root: Path, given: Keys) -> None:
    check_made_under(root, given)
    note_made_under(root, given)
    version = DeltaTable(root / "consent_ledger").version()
    note_made_under(root, given)
    assert DeltaTable(root / "consent_ledger").version() == version
    lost = [each for each in given.periods if each != EU]
    with pytest.raises(AffectstreamError, match="of region EU is missing"):
        check_made_under(root, keys(*lost, shredded=given.shredded))


def test_a_region_that_no_event_has_is_refused(root: Path) -> None:
    german = period("2026-12-01T00:00:00Z", "of Germany", "DE")
    with pytest.raises(AffectstreamError, match="a region DE, whose events are read as EU: name"):
        check_made_under(root, keys(FIRST, SECOND, EU, german))


def test_a_shredded_key_that_comes_back_is_refused(root: Path) -> None:
    note_made_under(root, keys(SECOND, EU, shredded=[gone(FIRST)]))
    with pytest.raises(AffectstreamError, match="put between others"):
        check_made_under(root, keys(FIRST, SECOND, EU))


def test_tables_without_rows_and_without_a_note_go_with_any_keys(tmp_path: Path) -> None:
    check_made_under(tmp_path / "nowhere", keys(FIRST))
    prepare_tables(tmp_path)
    for given in (keys(FIRST), keys(SECOND)):
        check_made_under(tmp_path, given)
        note_made_under(tmp_path, given)
    land(tmp_path, "emotion_features", feature("a", 1))
    with pytest.raises(AffectstreamError, match="2026-09-01"):
        check_made_under(tmp_path, keys(FIRST))


def test_what_is_noted_tells_nothing_of_a_key(root: Path) -> None:
    (log,) = [path for path in (root / "consent_ledger" / "_delta_log").glob("*.json")
              if MADE_UNDER in path.read_text()]  # fmt: skip
    for secret in (FIRST.key, SECOND.key, EU.key, *STAYING.values()):
        assert secret.hex()[:16] not in log.read_text()
    noted = DeltaTable(root / "consent_ledger").metadata().configuration[MADE_UNDER]
    assert len(json.loads(noted)[0]) == 3


@pytest.mark.parametrize("text", ["", "[]", "{}", "[[1], 2, 3]", '[[["x"]], "a", "b", "c"]'])
def test_a_note_that_is_none_is_one_sentence(root: Path, text: str) -> None:
    table = DeltaTable(root / "consent_ledger")
    table.alter.set_table_properties({MADE_UNDER: text}, raise_if_not_exists=False)
    with pytest.raises(AffectstreamError, match=f"has a property {MADE_UNDER} that names no keys"):
        check_made_under(root, keys(FIRST))
