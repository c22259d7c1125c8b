"""The latest features of a subject through Feast: the guard, expiry, erasure, one store for all."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from feast import FeatureStore

from infra.redis.redis_server import Redis
from pipelines.serve.follow import Changes, Follower
from pipelines.serve.online import COLUMNS, OnlineStore
from pipelines.serve.stores import open_online
from schemas.errors import AffectstreamError
from schemas.settings import Online
from tests.support.feast_stores import VIEWS, feast_store
from tests.support.served import LENGTH, VALID, decision, erase, feature, land, subject
from transforms.landing.prepare import prepare_tables

FEATURES, DECISIONS = COLUMNS
NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
"""So far ahead that nothing expires while the tests run."""
AGES = {"fresh": timedelta(seconds=10), "old": timedelta(minutes=50)}


def ending(end: datetime) -> dict[str, Any]:
    """The times of a window that ends then."""
    start = end - LENGTH
    return {"window_start": start, "window_end": end, "event_date": start.date()}


def shown(
    who: str, age: timedelta, expression: str, revision: int = 1, **more: Any
) -> dict[str, Any]:
    """A row whose window ended so long ago."""
    own = {"window_id": f"{who}-{age}", "expression": expression} | ending(NOW - age) | more
    return feature(who, 0, revision, **own)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


@pytest.fixture
def held(root: Path) -> Iterator[OnlineStore]:
    """The online store as the feed and the API open it."""
    store = open_online(Online(store=str(root / "online.sqlite")))
    yield store
    store.close()


@pytest.fixture
def store(root: Path) -> FeatureStore:
    return feast_store(root)


def materialize(store: FeatureStore) -> None:
    store.materialize(NOW - timedelta(days=2), NOW + timedelta(days=1))


def push(store: FeatureStore, *rows: dict[str, Any], view: str = "expression") -> None:
    """Write rows to the online store as Feast's push and its materialisation do, in this order."""
    known = store.get_feature_view(view)
    columns = ["subject_ref", "window_end", *(field.name for field in known.features)]
    whole = pd.DataFrame([{name: row.get(name) for name in columns} for row in rows])
    store.write_to_online_store(view, whole)


def found(store: FeatureStore, who: str, *names: str, view: str = "expression") -> list[Any]:
    asked = [f"{view}:{name}" for name in names or ("expression",)]
    answer = store.get_online_features(asked, [{"subject_ref": subject(who)}]).to_dict()
    return [answer[name.partition(":")[2]][0] for name in asked]


def test_what_was_materialised_is_found(root: Path, store: FeatureStore) -> None:
    land(root, FEATURES, shown("anna", AGES["old"], "fear"), shown("anna", AGES["fresh"], "joy"))
    land(root, DECISIONS, decision("anna", 0, **expiring(NOW)))
    materialize(store)
    assert found(store, "anna", "expression", "n_text", "abstained") == ["joy", 1, False]
    assert found(store, "anna", "action", "reply_id", view="decision") == ["mirror", None]
    assert found(store, "nobody") == [None]
    scores = found(store, "anna", "scores")[0]
    assert sum(scores) == pytest.approx(1, abs=1e-3)


def expiring(end: datetime) -> dict[str, Any]:
    return {"window_end": end, "expires_at": end + VALID, "event_date": end.date()}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        pytest.param(shown("anna", AGES["old"], "fear", 9), "joy", id="an older window"),
        pytest.param(shown("anna", AGES["fresh"], "fear", 1), "joy", id="a lower revision"),
        pytest.param(shown("anna", AGES["fresh"], "fear", 2), "joy", id="a repetition"),
        pytest.param(shown("anna", AGES["fresh"], "fear", 3), "fear", id="a revision"),
        pytest.param(shown("anna", timedelta(0), "fear", 1), "fear", id="a newer window"),
    ],
)
def test_a_row_replaces_another_only_where_window_and_revision_have_grown(
    store: FeatureStore, later: dict[str, Any], expected: str
) -> None:
    push(store, shown("anna", AGES["fresh"], "joy", 2))
    push(store, later)
    assert found(store, "anna") == [expected]


def test_what_has_expired_is_not_found_though_it_is_held(
    store: FeatureStore, held: OnlineStore
) -> None:
    now = datetime.now(UTC)
    ages = {who: NOW - now + timedelta(minutes=ago) for who, ago in (("anna", 61), ("ben", 50))}
    push(store, shown("anna", ages["anna"], "joy"), shown("ben", ages["ben"], "joy"))
    push(store, decision("anna", 0, **expiring(now - VALID)), view="decision")
    assert found(store, "anna") == [None]
    assert found(store, "ben") == ["joy"]
    assert found(store, "anna", "action", view="decision") == [None]
    assert len(held.find(FEATURES, subject("anna"))) == 1


def test_feast_and_the_feed_hold_the_same_row(
    root: Path, store: FeatureStore, held: OnlineStore
) -> None:
    begin = {name: Follower(root, name, COLUMNS[name]).here() for name in COLUMNS}
    land(root, FEATURES, shown("anna", AGES["fresh"], "joy", activity="puzzle"))
    land(root, DECISIONS, decision("anna", 0, **expiring(NOW)))
    materialize(store)
    pushed = {name: held.find(name, subject("anna")) for name in COLUMNS}
    held.erase([subject("anna")])
    for name, position in begin.items():
        changes = Follower(root, name, COLUMNS[name]).read(position)
        assert isinstance(changes, Changes)
        held.write(changes)
        (fed,), (from_feast,) = held.find(name, subject("anna")), pushed[name]
        assert from_feast[:-1] == fed[:-1]
        assert msgspec.json.decode(from_feast.row) == msgspec.json.decode(fed.row)
    assert found(store, "anna", "activity") == ["puzzle"]  # what the feed took in, without Feast
    assert found(store, "anna", "action", view="decision") == ["mirror"]


def test_an_erased_subject_is_found_no_more_nor_materialised_again(
    root: Path, store: FeatureStore, held: OnlineStore
) -> None:
    land(root, FEATURES, shown("anna", AGES["fresh"], "joy"), shown("ben", AGES["fresh"], "joy"))
    materialize(store)
    assert found(store, "anna") == ["joy"]
    held.erase([subject("anna")])
    erase(root, FEATURES, "anna")
    materialize(store)
    assert found(store, "anna") == [None]
    assert found(store, "ben") == ["joy"]
    erase(root, FEATURES, "ben")  # the table is empty
    materialize(store)
    assert found(store, "anna") == [None]


def test_rows_for_another_purpose_are_neither_written_nor_found(
    root: Path, store: FeatureStore, held: OnlineStore
) -> None:
    land(root, FEATURES, shown("anna", AGES["fresh"], "joy", purpose="avatar_mirroring"))
    materialize(store)
    assert held.find(FEATURES, subject("anna")) == []
    position = Follower(root, FEATURES, COLUMNS[FEATURES]).snapshot(None)
    assert position is not None
    held.write(position)
    assert len(held.find(FEATURES, subject("anna"))) == 1
    assert found(store, "anna") == [None]


def test_a_materialisation_moves_no_position_of_the_feed(
    root: Path, store: FeatureStore, held: OnlineStore
) -> None:
    land(root, FEATURES, shown("anna", AGES["fresh"], "joy"))
    materialize(store)
    assert held.positions() == {}


@pytest.mark.redis
def test_redis_serves_alike(root: Path, redis: Redis) -> None:
    password = root / "password"
    password.write_text(redis.password)
    store = feast_store(root, online={"store": redis.address, "password_file": str(password)})
    push(store, shown("anna", AGES["fresh"], "joy"))
    push(store, shown("anna", AGES["old"], "fear"))
    assert found(store, "anna") == ["joy"]


def test_a_view_of_sessions_cannot_be_online(root: Path) -> None:
    view = VIEWS[2].with_name("sessions")
    view.online = True
    with pytest.raises(AffectstreamError, match="view session_expression cannot be served online"):
        feast_store(root, views=[view])
