import datetime as dt

import pytest

from schemas.errors import AffectstreamError
from schemas.events import pseudonymous_schema
from schemas.keys import KeyPeriod, read_keys, write_keys
from tests.support.records import START, decoded, record
from transforms.pseudonymise import Pseudonyms


def period(since: str, digit: str) -> KeyPeriod:
    return KeyPeriod.model_validate({"since": since, "key": digit * 64})


ONE = (period("2020-01-01T00:00:00Z", "a"),)


def test_no_raw_id_goes_on_and_references_are_stable() -> None:
    batch = decoded(
        record("text", 1, {"text": "x"}),
        record("text", 2, {"text": "x"}, subject="bob"),
        record("text", 3, {"text": "x"}),
    )
    out = Pseudonyms(ONE).batch(batch)
    assert out.schema == pseudonymous_schema("text")
    first, second, third = out["subject_ref"].to_pylist()
    assert first == third != second
    assert len(first) == 32
    assert "alice" not in str(out.to_pylist())
    assert out["subject_ref"][0].as_py() != out["session_ref"][0].as_py()
    assert Pseudonyms(ONE).batch(batch).equals(out)


def test_region_and_key_change_the_reference() -> None:
    batch = decoded(record("text", 1, {"text": "x"}), record("text", 2, {"text": "x"}, region="EU"))
    refs = Pseudonyms(ONE).batch(batch)["subject_ref"].to_pylist()
    other = Pseudonyms((period("2020-01-01T00:00:00Z", "b"),)).batch(batch)["subject_ref"]
    assert len({*refs, *other.to_pylist()}) == 4


def test_the_key_is_that_of_the_event_time() -> None:
    boundary = START + dt.timedelta(seconds=5)
    keys = (*ONE, period(boundary.isoformat(), "b"))
    rows = [record("text", n, {"text": "x"}) for n in (4, 5, 6)]
    refs = Pseudonyms(keys).batch(decoded(*rows))["subject_ref"].to_pylist()
    assert refs[0] != refs[1] == refs[2]


def test_key_files(tmp_path) -> None:
    path = tmp_path / "keys.yaml"
    with pytest.raises(AffectstreamError, match="no key file"):
        read_keys(path)
    write_keys(path)
    assert path.stat().st_mode & 0o077 == 0
    assert len(read_keys(path)) == 1
    with pytest.raises(AffectstreamError, match="never overwritten"):
        write_keys(path)
    path.write_text("periods: [{since: 2026-01-01T00:00:00Z, key: abcd}]")
    with pytest.raises(AffectstreamError, match="64 hex digits"):
        read_keys(path)
