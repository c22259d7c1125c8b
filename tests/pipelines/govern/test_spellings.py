"""An erasure reaches every spelling, region and key period that is meant, and no other person."""

import datetime as dt
import fcntl
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.config import Config
from pipelines.govern.erasure.erase import How, Request, erase, erase_withdrawn
from pipelines.govern.erasure.requests import open_requests
from pipelines.govern.erasure.spellings import other_spellings
from pipelines.run.replay import replay
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from schemas.tables import TABLES
from tests.pipelines.govern.test_withdrawn import replayed
from tests.support.live_runs import QUIET, table
from tests.support.records import START, period, record, write_key_file
from transforms.landing.writing import writing
from transforms.pseudonymise import Pseudonyms

GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
REGIONS = ("US", "EU", "CN", "OTHER", "GB")
SOON = How(under_way_s=0, patience_s=0.2)


def says(who: str, region: str, second: int, count: int = 3) -> list[dict[str, Any]]:
    return [
        record("text", second + 6 * n, {"text": "well"}, subject=who, region=region,
               id=f"{who}-{region}-{second}-{n}")
        for n in range(count)
    ]  # fmt: skip


def rows_of(config: Config, who: str) -> dict[str, int]:
    """How many rows of each table carry a reference of this exact id."""
    refs = pa.array(sorted(Pseudonyms(read_keys(config.keys)).references(who, REGIONS)))
    found = {
        name: pc.sum(pc.is_in(table(config.tables, name)["subject_ref"], refs)).as_py()
        for name, each in TABLES.items()
        if each.subject
    }
    return {name: count for name, count in found.items() if count}


def erased(config: Config, *named: str, exact: bool = False) -> None:
    keys = read_keys(config.keys)
    spelt = {} if exact else other_spellings(config, keys, named)
    wanted = [*named, *(each for spellings in spelt.values() for each in spellings)]
    erase(config, keys, [Request(each) for each in wanted], QUIET, SOON)


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    return replayed(
        tmp_path, "log", keys,
        record("consent", 0, GRANT, subject="Alice"),
        *says("Alice", "US", 1), *says("Alice", "EU", 31),
        record("consent", 0, GRANT, subject="dave", id="d1"), *says("dave", "US", 61),
        record("consent", 0, GRANT, subject="Dave", id="d2"), *says("Dave", "US", 61),
        live={"state": tmp_path / "state"},
    )  # fmt: skip


def test_another_spelling_is_erased_in_every_region(config: Config) -> None:
    assert rows_of(config, "Alice")["observations"] == 6
    erased(config, " ALICE")
    assert rows_of(config, "Alice") == {}


def test_another_spelling_is_erased_under_every_key(tmp_path: Path) -> None:
    late = START + dt.timedelta(days=8)
    keys = write_key_file(
        tmp_path / "keys.yaml",
        period("2020-01-01T00:00:00Z", "first"),
        period((START + dt.timedelta(days=1)).isoformat(), "second"),
    )
    later = [
        record("text", 8 * 86_400 + n, {"text": "well"}, subject="Alice") | {"timestamp": late}
        for n in range(3)
    ]
    config = replayed(
        tmp_path, "log", keys, record("consent", 0, GRANT, subject="Alice"),
        *says("Alice", "US", 1), *later, live={"state": tmp_path / "state"},
    )  # fmt: skip
    assert rows_of(config, "Alice")["observations"] == 6
    erased(config, "alice")
    assert rows_of(config, "Alice") == {}


def test_an_exact_erasure_leaves_the_other_spelling(config: Config) -> None:
    before = rows_of(config, "Dave")
    erased(config, "dave", exact=True)
    assert rows_of(config, "dave") == {}
    assert rows_of(config, "Dave") == before
    erased(config, "Dave", exact=True)
    assert rows_of(config, "Dave") == {}


def test_a_spelling_that_no_record_shows_any_more_has_to_be_named(
    config: Config, tmp_path: Path, keys: Path
) -> None:
    lost = replayed(tmp_path, "other", keys, record("text", 500, {"text": "well"}, subject="bea"))
    before = rows_of(lost, "Alice")
    with pytest.raises(AffectstreamError, match="in another spelling too"):
        erased(lost, "alice")
    assert rows_of(lost, "Alice") == before
    erased(lost, "alice", "Alice")
    assert rows_of(lost, "Alice") == {}


def test_a_stopped_erasure_of_another_spelling_is_not_certified(config: Config) -> None:
    """What is left names the spelling that the ledger alone knows: a second run knows it too."""
    ref = Pseudonyms(read_keys(config.keys)).references("Alice", ["US"])
    config.live.state.mkdir()
    left = config.live.state / "chk-1"
    left.write_text(" ".join(sorted(ref)))
    for _ in range(2):
        with pytest.raises(AffectstreamError, match="chk-1 still name"):
            erased(config, "alice")
    left.unlink()
    erased(config, "alice")
    assert rows_of(config, "Alice") == {}


def test_refusals_from_an_unlisted_region_say_of_nobody_whose_they_are(
    tmp_path: Path, keys: Path
) -> None:
    config = replayed(
        tmp_path, "log", keys, record("consent", 0, GRANT, subject="carol"),
        *says("carol", "GB", 1), *says("carol", "US", 31),
    )  # fmt: skip
    refused = table(config.tables, "refusals")
    assert refused["region"].to_pylist() == ["unlisted"] * 3
    assert refused["subject_ref"].null_count == refused["session_ref"].null_count == 3


def test_what_passed_after_a_withdrawal_goes_in_every_region(tmp_path: Path, keys: Path) -> None:
    replayed(
        tmp_path, "log", keys, record("consent", 0, GRANT, subject="bob"), *says("bob", "EU", 11),
    )  # fmt: skip
    said = record("consent", 5, GRANT | {"granted": False}, subject="bob", region="US")
    late = replayed(tmp_path, "late", keys, said | {"timestamp": START + dt.timedelta(seconds=900)})
    assert rows_of(late, "bob")["observations"] == 3
    gone = erase_withdrawn(late, QUIET, SOON)
    assert gone["observations"] == 3
    assert set(rows_of(late, "bob")) == {"consent_ledger"}


def test_a_replay_beside_it_is_waited_for(config: Config) -> None:
    with writing(config.tables), pytest.raises(AffectstreamError, match="replay or backfill"):
        erased(config, "alice")
    held = (Path(config.tables) / ".writing").open("rb")
    fcntl.flock(held, fcntl.LOCK_SH)
    done = threading.Timer(1, held.close)
    done.start()
    keys = read_keys(config.keys)
    erase(config, keys, [Request("Alice")], QUIET, How(under_way_s=0, patience_s=30))
    assert rows_of(config, "Alice") == {}
    replay(config, QUIET)
    assert rows_of(config, "Alice") == {}


def test_a_request_dated_in_the_future_is_done_with_once(tmp_path: Path, keys: Path) -> None:
    """Its clock was wrong: who consented anew since its record is erased up to the record alone."""
    asked = record("erasure", 20, {}, subject="eve", time="2090-01-01T00:00:00Z")
    config = replayed(
        tmp_path, "log", keys, record("consent", 0, GRANT, subject="eve"), *says("eve", "US", 1),
        asked, record("consent", 30, GRANT, subject="eve", id="anew"), *says("eve", "US", 61),
    )  # fmt: skip
    secret = read_keys(config.keys)
    (request,) = open_requests(config, secret)
    assert request.until == START + dt.timedelta(seconds=20)
    erase(config, secret, [request], QUIET, SOON)
    assert rows_of(config, "eve")["observations"] == 3
    assert open_requests(config, secret) == []
