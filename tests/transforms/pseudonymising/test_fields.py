"""Scenes, notices and context fields lose what could name a person before anything can land."""

import pyarrow as pa
import pytest

from schemas.events import CONTEXT_FIELDS
from schemas.keys import Keys
from tests.support.records import KEYS, decoded, period, record
from transforms.pseudonymise import Pseudonyms
from transforms.pseudonymising.fields import FreeFields
from transforms.sources.recorded import MAX_ROWS

HELLO = {"text": "hello", "lang": "en"}


def scenes(*names: str | None, public: tuple[str, ...] = (), **changes: str) -> list[str | None]:
    rows = [record("text", n, HELLO, sceneid=name, **changes) for n, name in enumerate(names)]
    batch = Pseudonyms(KEYS, FreeFields(public)).batch(decoded(*rows))
    return batch["scene_id"].to_pylist()


def context(payload: dict, **changes: str) -> dict:
    batch = Pseudonyms(KEYS).batch(decoded(record("context", 1, payload, **changes)))
    (row,) = batch.select([*CONTEXT_FIELDS, "details"]).to_pylist()
    return row


def test_a_scene_lands_as_a_keyed_pseudonym_that_is_the_same_in_every_run() -> None:
    first, second, again, none = scenes("lobby", "home-of-alice", "lobby", None)
    assert first == again != second
    assert none is None
    assert first.startswith("scene-")
    assert len(first) == len("scene-") + 16
    assert scenes("lobby") == [first]
    other = Pseudonyms(Keys.of([period("2020-01-01T00:00:00Z", "another")]))
    assert other.batch(decoded(record("text", 1, HELLO, sceneid="lobby")))["scene_id"][0] != first
    assert scenes("lobby", region="EU") != [first], "as a session's reference"


def test_public_scenes_keep_their_names_unless_they_name_a_person() -> None:
    named = ("lobby", "level-3", "level-alice", "level-13912345678", "lobby2", "LOBBY")
    shown = scenes(*named, public=("lobby", "level-*"))
    assert shown[:2] == ["lobby", "level-3"]
    assert all(scene.startswith("scene-") for scene in shown[2:])


def test_a_null_scene_stays_null_where_scenes_are_public() -> None:
    assert scenes(None, "lobby", public=("lobby",)) == [None, "lobby"]


def test_context_fields_are_plain_codes_or_nothing() -> None:
    said = {"activity": "duel", "game_result": "lost", "lesson_state": "review"}
    assert context(said | {"door": "open"}) == said | {"details": '{"door":"open"}'}
    free = {
        "activity": "met bob at the bar",
        "game_result": "alice",
        "lesson_state": "139-12345678",
    }
    assert context(free) == dict.fromkeys([*CONTEXT_FIELDS, "details"])
    told = {"door": "open", "by": "alice-2", "at": "session-1", "call": "5550123456"}
    assert context(told)["details"] == '{"door":"open"}'


def test_a_notice_of_a_consent_is_a_plain_code_or_a_pseudonym() -> None:
    grant = {"granted": True, "purposes": ["research"], "modalities": ["text"]}

    def notice(name: str) -> str:
        batch = decoded(record("consent", 1, grant, noticeid=name))
        return Pseudonyms(KEYS).batch(batch)["notice_id"][0].as_py()

    assert notice("notice-2026-11") == "notice-2026-11"
    assert notice("for alice@example.com").startswith("notice-")
    assert notice("for-alice") == notice("for-alice") != notice("for-alice-2")
    assert "alice" not in notice("for-alice")


@pytest.mark.parametrize("rows", [0, 1, MAX_ROWS])
def test_batches_of_every_size(rows: int) -> None:
    fields = FreeFields(("lobby",))
    batch = decoded(record("context", 1, {"activity": "duel"}, sceneid="lobby"))
    many = batch.take(pa.array([0] * rows, pa.int64()))
    replaced = fields.replace(many, lambda _, value: pa.array(["0" * 32] * len(value), pa.string()))
    assert {len(column) for column in replaced.values()} == {rows}
