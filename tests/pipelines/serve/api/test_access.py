"""What the roles hide is in no answer, and every reading of people is logged or refused."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from starlette.testclient import TestClient

from pipelines.access import audit
from pipelines.access.audit import hash_of, read_entries, verify
from pipelines.access.settings import ROLES
from pipelines.serve.api.app import serve
from pipelines.serve.api.bodies import Decision, Features
from pipelines.serve.api.token_file import add_token
from schemas.errors import AffectstreamError
from tests.pipelines.serve.api.world import (
    ADA,
    BEE,
    DAD,
    DAY,
    FAY,
    WINDOWS,
    api_config,
    bearer,
    client_of,
    decision_id,
    fill_store,
    make_tables,
    problem,
    tokens_of_all_roles,
)

LATEST, HISTORY = f"/v1/subjects/{ADA}/latest", f"/v1/subjects/{ADA}/history"
WHY = f"/v1/subjects/{ADA}/decisions/{decision_id('ada', 2)}/explanation"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    make_tables(tmp_path / "tables")
    return tmp_path


@contextmanager
def serving(folder: Path, **access: Any) -> Iterator[TestClient]:
    config = api_config(folder, access=access)
    fill_store(folder / "tables", config.online)
    with client_of(config) as client:
        yield client


def callers(folder: Path) -> dict[str, dict[str, str]]:
    return tokens_of_all_roles(folder / "tokens.json")


def own_roles(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write the shipped roles with changes of the analyst's tables."""
    given = yaml.safe_load(ROLES.read_text())
    del given["roles"]["analyst"]["page"]  # which shows all rows
    given["roles"]["analyst"]["tables"] |= changes
    path = folder / "roles.yaml"
    path.write_text(yaml.safe_dump(given))
    return {"roles": str(path)}


def entries(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the log once the server has closed it."""
    assert verify(folder / "audit").problems == []
    return list(read_entries(folder / "audit"))


def test_a_reading_is_logged_with_who_what_whom_and_how_much(world: Path) -> None:
    who = callers(world)
    with serving(world) as client:
        client.get(LATEST, headers=who["analyst"])
        client.get(HISTORY, params=DAY, headers=who["officer"])
        client.get(WHY, headers=who["officer"])
        client.get(f"/v1/subjects/{FAY}/latest", headers=who["analyst"])
        client.get(HISTORY, headers=who["recommender"])
        client.get(f"/v1/subjects/{DAD}/decision", headers=who["recommender"])
        client.get("/v1/subjects/A%20Name/latest", headers=who["analyst"])
        client.get("/metrics", headers=who["operator"])
        client.get("/health")
        client.get(LATEST)
    found = [(e["role"], e["what"], e["subjects"], e["rows"], e["outcome"]) for e in entries(world)]
    assert found == [
        ("analyst", "latest", [hash_of(ADA)], 1, "200"),
        ("officer", "history", [hash_of(ADA)], WINDOWS, "200"),
        ("officer", "explanation", [hash_of(ADA)], 3, "200"),
        ("analyst", "latest", [hash_of(FAY)], 0, "404"),
        ("recommender", "history", [hash_of(ADA)], 0, "403"),
        ("recommender", "decision", [hash_of(DAD)], 0, "404"),
        ("analyst", "latest", [], 0, "422"),
    ]
    first = entries(world)[0]
    assert first["who"].startswith("a analyst (")
    assert first["via"] == "api"
    text = "".join(file.read_text() for file in (world / "audit").glob("*.jsonl"))
    assert "A Name" not in text
    assert "A%20Name" not in text
    assert not [
        token for held in who.values() for token in held.values() if token.split()[1] in text
    ]


def test_while_the_log_cannot_be_written_nobody_is_answered(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, write = threading.Event(), os.write

    def write_if_there_is_room(fd: int, data: bytes) -> int:
        if full.is_set():
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(audit.os, "write", write_if_there_is_room)
    who = callers(world)
    with serving(world) as client:
        full.set()
        status = [client.get(LATEST, headers=who["analyst"]).status_code]
        for _ in range(500):
            if status[-1] == 503:
                break
            time.sleep(0.01)
            status.append(client.get(LATEST, headers=who["analyst"]).status_code)
        refused = client.get(WHY, headers=who["officer"])
        assert problem(refused) == (503, "audit_away")
        assert client.get("/metrics", headers=who["operator"]).status_code == 200
        assert client.get("/health").status_code == 200
        full.clear()
        for _ in range(500):
            if client.get(LATEST, headers=who["analyst"]).status_code == 200:
                break
            time.sleep(0.01)
        else:
            pytest.fail("it does not answer again")
    answered = [e for e in entries(world) if e["outcome"] == "200"]
    assert len(answered) == status.count(200) + 1, "what was answered before is written too"


def test_a_server_whose_log_cannot_be_written_does_not_start(world: Path) -> None:
    blocked = world / "file"
    blocked.write_text("")
    config = api_config(world, access={"audit": str(blocked)}, port=0)
    fill_store(world / "tables", config.online)
    with pytest.raises(AffectstreamError, match=r"the audit log in .*file cannot be written"):
        serve(config, Console(quiet=True))


HIDDEN = ("expression", "scores", "valence", "region")


def test_a_column_that_is_hidden_is_null_on_every_page(world: Path) -> None:
    limited = {"without": [*HIDDEN]}
    own = own_roles(
        world,
        emotion_features=limited,
        expression_decisions={"without": ["expression", "region"]},
        observations={"without": ["expression", "embedding", "valence"]},
    )
    who = callers(world)
    headers = who["analyst"]
    with serving(world, **own) as client:
        latest = client.get(LATEST, headers=headers).json()
        decided = client.get(f"/v1/subjects/{ADA}/decision", headers=headers).json()
        history = client.get(HISTORY, params=DAY, headers=headers).json()["rows"]
        why = client.get(WHY, headers=headers).json()
        whole = client.get(WHY, headers=who["officer"]).json()
    assert set(latest) == set(Features.model_fields)
    assert set(decided) == set(Decision.model_fields)
    for row in (latest, *history, why["window"]):
        assert {row[name] for name in HIDDEN} == {None}
        assert row["arousal"] is not None
    assert (decided["expression"], decided["region"]) == (None, None)
    assert why["decision"]["expression"] is None
    assert {row["expression"] for row in why["observations"]} == {None}
    assert {row["arousal"] for row in why["observations"]} != {None}
    assert whole["window"]["expression"] == "joy"


def test_rows_that_are_hidden_are_on_no_page(world: Path) -> None:
    """Of ada, whose rows are for recommendation, and dad, whose are for mirroring alone."""
    mirrored = {"purposes": ["avatar_mirroring"]}
    own = own_roles(world, emotion_features=mirrored, expression_decisions=mirrored)
    headers = callers(world)["analyst"]
    with serving(world, **own) as client:
        assert problem(client.get(LATEST, headers=headers)) == (404, "subject_unknown")
        assert client.get(HISTORY, params=DAY, headers=headers).json()["rows"] == []
        assert problem(client.get(WHY, headers=headers)) == (404, "decision_unknown")
        wrong = client.get(LATEST, params={"purpose": "recommendation"}, headers=headers)
        assert problem(wrong) == (403, "purpose_refused")
        shown = client.get(f"/v1/subjects/{DAD}/latest", headers=headers)
        assert shown.json()["purpose"] == "avatar_mirroring"


def test_windows_that_are_too_old_for_a_role_are_not_served(world: Path) -> None:
    """The clock stands at the end of the last window, four windows of 5 s after the first's."""
    own = own_roles(
        world, emotion_features={"max_age_s": 12}, expression_decisions={"unexpired": True}
    )
    headers = callers(world)["analyst"]
    with serving(world, **own) as client:
        ages = client.get(HISTORY, params=DAY, headers=headers).json()["rows"]
        assert 1 <= len(ages) <= 3, "the clock goes on while the test runs"
        assert client.get(LATEST, headers=headers).status_code in (200, 404)
    own = own_roles(world, emotion_features={"max_age_s": 1e-6})
    with serving(world, **own) as client:
        assert client.get(HISTORY, params=DAY, headers=headers).json()["rows"] == []
        assert problem(client.get(LATEST, headers=headers)) == (404, "subject_unknown")
        assert client.get(f"/v1/subjects/{BEE}/decision", headers=headers).status_code == 200


def test_a_token_of_a_role_that_is_gone_may_ask_for_nothing(world: Path) -> None:
    given = yaml.safe_load(ROLES.read_text())
    del given["roles"]["analyst"]
    path = world / "roles.yaml"
    path.write_text(yaml.safe_dump(given))
    headers = callers(world)["analyst"]
    with serving(world, roles=str(path)) as client:
        for page in (LATEST, HISTORY, WHY, "/metrics"):
            assert problem(client.get(page, headers=headers)) == (403, "role_refused")


def test_a_role_of_ones_own_has_what_it_lists(world: Path) -> None:
    given = yaml.safe_load(ROLES.read_text())
    given["roles"]["auditor"] = {
        "description": "looks at decisions",
        "api": ["decision"],
        "tables": {"expression_decisions": {"without": ["subject_ref"]}},
    }
    path = world / "roles.yaml"
    path.write_text(yaml.safe_dump(given))
    headers = bearer(add_token(world / "tokens.json", "eve", "auditor", timedelta(days=1)))
    with serving(world, roles=str(path)) as client:
        row = client.get(f"/v1/subjects/{ADA}/decision", headers=headers).json()
        assert (row["subject_ref"], row["expression"]) == (None, "joy")
        assert problem(client.get(LATEST, headers=headers)) == (403, "role_refused")
