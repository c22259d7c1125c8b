"""The online store, in sqlite and in a real redis: the guard, expiry, erasure, what is away."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis as client

from infra.processes import free_ports
from infra.redis.redis_server import Redis
from pipelines.serve.follow import Changes, Position
from pipelines.serve.online import (
    COLUMNS,
    OnlineStore,
    StoreAwayError,
    entries,
    latest,
    microseconds,
)
from pipelines.serve.stores import open_online
from schemas.errors import AffectstreamError
from schemas.settings import Online
from schemas.tables import TABLES
from tests.support.served import BEGIN, LENGTH, VALID, decision, feature, subject

NOW = BEGIN + timedelta(seconds=60)
FEATURES, DECISIONS = COLUMNS


def changes(*rows: dict[str, Any], table: str = FEATURES, version: int = 1, **more: Any) -> Changes:
    schema = pa.schema([TABLES[table].schema.field(name) for name in COLUMNS[table]])
    whole = [{name: row.get(name) for name in schema.names} for row in rows]
    batch = pa.Table.from_pylist(whole, schema=schema)
    return Changes(table, batch, more.get("erased", ()), Position("t", version))


def found(
    store: OnlineStore, who: str, table: str = FEATURES, at: Any = NOW, purpose: str | None = None
) -> dict[str, Any] | None:
    return latest(store, table, subject(who), purpose, now=lambda: at)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Online:
    if request.param == "sqlite":
        return Online(store=str(tmp_path / "deep" / "online.sqlite"))
    server: Redis = request.getfixturevalue("redis")
    password = tmp_path / "password"
    password.write_text(f"{server.password}\n")
    client.Redis(port=server.port, password=server.password).flushdb()
    return Online(store=server.address, password_file=password)


@pytest.fixture
def store(settings: Online) -> Iterator[OnlineStore]:
    opened = open_online(settings)
    yield opened
    opened.close()


def test_the_newest_row_of_a_subject_is_found_with_all_its_columns(store: OnlineStore) -> None:
    store.write(changes(feature("a", 1), feature("b", 2)))
    row = found(store, "a")
    assert row is not None
    assert set(row) == set(COLUMNS[FEATURES])
    assert row["window_id"] == "a-1-recommendation"
    assert row["window_end"] == (BEGIN + 2 * LENGTH).isoformat().replace("+00:00", "Z")
    assert row["confidence"] == 0.7
    assert row["scores"][3] == 0.7
    assert sum(row["scores"]) == pytest.approx(1, abs=1e-3)
    assert row["lesson_state"] is None
    assert found(store, "nobody") is None
    assert found(store, "a", DECISIONS) is None


@pytest.mark.parametrize("at_once", [True, False])
def test_a_row_is_replaced_only_by_a_later_window_or_a_higher_revision(
    store: OnlineStore, at_once: bool
) -> None:
    rows = [
        (feature("a", 3, revision=2, n_text=1), "a-3", 1),
        (feature("a", 2, revision=9), "a-3", 1),  # an older window that came late
        (feature("a", 3, revision=1), "a-3", 1),
        (feature("a", 3, revision=2, n_text=7), "a-3", 1),  # a repetition changes nothing
        (feature("a", 3, revision=3, n_text=4), "a-3", 4),
        (feature("a", 4, revision=1, n_text=5), "a-4", 5),
    ]
    if at_once:
        store.write(changes(*(row for row, _, _ in rows)))
        assert found(store, "a")["n_text"] == 5
        return
    for version, (row, window, n_text) in enumerate(rows):
        store.write(changes(row, version=version))
        held = found(store, "a")
        assert (held["window_id"], held["n_text"]) == (f"{window}-recommendation", n_text)


def test_rows_from_elsewhere_are_guarded_alike_and_move_no_position(store: OnlineStore) -> None:
    store.write(changes(feature("a", 3), feature("b", 1), version=7))
    news = changes(feature("a", 2), feature("b", 2), feature("c", 1), version=9)
    store.take(entries(news, 60))
    assert found(store, "a")["window_id"] == "a-3-recommendation"
    assert found(store, "b")["window_id"] == "b-2-recommendation"
    assert found(store, "c")["window_id"] == "c-1-recommendation"
    assert store.positions() == {FEATURES: Position("t", 7)}


def test_purposes_are_kept_apart(store: OnlineStore) -> None:
    store.write(changes(feature("a", 1), feature("a", 2, purpose="avatar_mirroring")))
    assert found(store, "a")["purpose"] == "avatar_mirroring"
    assert found(store, "a", purpose="recommendation")["window_id"] == "a-1-recommendation"
    assert found(store, "a", purpose="research") is None


def test_what_has_expired_is_not_served_whatever_is_held(store: OnlineStore) -> None:
    store.write(changes(feature("a", 0)))
    store.write(changes(decision("a", 0), table=DECISIONS))
    end = BEGIN + LENGTH
    assert found(store, "a", at=end + timedelta(seconds=3599)) is not None
    assert found(store, "a", at=end + timedelta(seconds=3600)) is None
    assert found(store, "a", DECISIONS, at=end + VALID - timedelta(seconds=1)) is not None
    assert found(store, "a", DECISIONS, at=end + VALID) is None


def test_an_erasure_leaves_nothing_of_a_subject_and_all_of_the_others(store: OnlineStore) -> None:
    store.write(changes(feature("a", 1), feature("a", 1, purpose="research"), feature("b", 1)))
    store.write(changes(decision("a", 1), table=DECISIONS))
    store.write(changes(feature("c", 1), erased=(subject("a"),), version=2))
    assert [found(store, "a", table) for table in COLUMNS] == [None, None]
    assert found(store, "b") is not None
    assert found(store, "c") is not None
    store.erase([subject("b"), subject("never seen")])
    assert found(store, "b") is None
    store.erase([])


def test_whoever_has_no_rows_any_more_is_forgotten_where_versions_were_left_out(
    store: OnlineStore,
) -> None:
    store.write(changes(feature("a", 1), feature("b", 1)))
    store.write(changes(decision("a", 10), decision("b", 10), table=DECISIONS))
    anew = changes(feature("c", 1), version=9)
    store.write(replace(anew, standing=frozenset({subject("b"), subject("c")})))
    assert found(store, "a") is None
    assert [found(store, who) is None for who in "bc"] == [False, False]
    assert found(store, "a", DECISIONS) is not None, "of another table nothing was said"


def test_the_position_moves_with_the_rows(store: OnlineStore) -> None:
    assert store.positions() == {}
    store.write(changes(feature("a", 1), version=7))
    store.write(changes(table=DECISIONS, version=9))
    assert store.positions() == {FEATURES: Position("t", 7), DECISIONS: Position("t", 9)}


def test_what_it_takes_in_stands_when_it_is_opened_again(
    store: OnlineStore, settings: Online
) -> None:
    store.write(changes(*(feature(f"s{number}", 1) for number in range(12_000)), version=3))
    again = open_online(settings)
    assert again.positions() == {FEATURES: Position("t", 3)}
    assert found(again, "s11999")["n_text"] == 1
    again.close()


def test_a_broken_row_leaves_neither_rows_nor_position(
    store: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = changes(*(feature(f"s{number}", 1) for number in range(3)))
    broken = Changes(good.table, good.rows.drop(["purpose"]), (), good.position)
    with pytest.raises(KeyError):
        store.write(broken)
    assert store.positions() == {}
    assert found(store, "s0") is None


def test_sqlite_overwrites_what_it_erases_in_every_file(tmp_path: Path) -> None:
    store = open_online(Online(store=str(tmp_path / "online.sqlite")))
    store.write(changes(feature("victim", 1), feature("b", 1)))
    name = subject("victim").encode()
    assert any(name in path.read_bytes() for path in tmp_path.iterdir())
    store.write(changes(feature("b", 2), erased=(subject("victim"),), version=2))
    assert not any(name in path.read_bytes() for path in tmp_path.iterdir())
    store.close()


def test_nobody_else_may_read_an_sqlite_file(tmp_path: Path) -> None:
    store = open_online(Online(store=str(tmp_path / "online.sqlite")))
    store.write(changes(feature("a", 1)))
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    store.close()


def test_sqlite_purges_what_has_expired(tmp_path: Path) -> None:
    store = open_online(Online(store=str(tmp_path / "online.sqlite"), ttl_s=60))
    store.write(changes(feature("a", 0), feature("b", 100)))
    assert store.purge(microseconds(BEGIN + timedelta(seconds=66))) == 1
    held = sqlite3.connect(tmp_path / "online.sqlite").execute("SELECT subject_ref FROM latest")
    assert held.fetchall() == [(subject("b"),)]
    store.close()


@pytest.mark.redis
def test_redis_drops_a_subject_when_its_last_row_expires(redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(redis.password)
    settings = Online(store=redis.address, password_file=tmp_path / "password", ttl_s=3600)
    store = open_online(settings)
    store.write(changes(feature("old", 0)))  # BEGIN is long past, or to come
    server = client.Redis(port=redis.port, password=redis.password)
    at = server.pexpiretime("affectstream:latest:" + subject("old"))
    assert at in (-2, round((BEGIN + LENGTH + timedelta(seconds=3600)).timestamp() * 1000))
    store.close()


def test_a_store_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and long enough to be sure of it" * 9)
    with pytest.raises(AffectstreamError, match=r"cannot open the online store .*not a database"):
        open_online(Online(store=str(tmp_path / "text")))
    (port,) = free_ports(1)
    with pytest.raises(StoreAwayError, match=f"redis://127.0.0.1:{port}/0 does not answer"):
        open_online(Online(store=f"redis://127.0.0.1:{port}/0"))


@pytest.mark.redis
@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_password_that_redis_refuses_is_said(
    redis: Redis, tmp_path: Path, password: str | None
) -> None:
    file = None
    if password:
        file = tmp_path / "password"
        file.write_text(password)
    with pytest.raises(AffectstreamError, match=r"see `online\.password_file`") as caught:
        open_online(Online(store=redis.address, password_file=file))
    assert not isinstance(caught.value, StoreAwayError)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://host/db", "is no store"),
        ("redis://:secret@host/0", "would be printed"),
    ],
)
def test_an_address_that_is_no_store_is_refused(given: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Online(store=given)
