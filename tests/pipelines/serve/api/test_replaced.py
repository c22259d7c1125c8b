"""Tables and stores that are missing, or were removed and made anew under a running server."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipelines.access.roles import Grant
from pipelines.serve.api import online
from pipelines.serve.api.landed import LandedRows
from pipelines.serve.online import OnlineStore
from pipelines.serve.stores import open_online
from schemas.settings import Online
from tests.pipelines.serve.api.world import (
    ADA,
    BEE,
    DAY,
    NOW,
    WINDOWS,
    api_config,
    client_of,
    decision_id,
    fill_store,
    make_tables,
    problem,
    tokens_of_all_roles,
)
from tests.support.served import BEGIN, feature, land
from transforms.landing.prepare import prepare_tables

LATEST, HISTORY = f"/v1/subjects/{ADA}/latest", f"/v1/subjects/{ADA}/history"
EXPLANATION = f"/v1/subjects/{ADA}/decisions/{decision_id('ada', 2)}/explanation"


def made_of(folder: Path) -> list[str]:
    """What stands in a folder beside the log of who read what."""
    return sorted(path.name for path in folder.iterdir() if path.name != "audit")


def test_what_is_missing_is_said_and_not_made(tmp_path: Path) -> None:
    config = api_config(tmp_path)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    before = made_of(tmp_path)
    with client_of(config) as client:
        for page in ("/ready", LATEST):
            answer = client.get(page, headers=analyst)
            assert problem(answer) == (503, "store_away")
            assert "the online store is not there" in answer.json()["detail"]
        assert made_of(tmp_path) == before
        open_online(config.online).close()
        for page, table in (
            ("/ready", "emotion_features"),
            (HISTORY, "emotion_features"),
            (EXPLANATION, "expression_decisions"),
        ):
            answer = client.get(page, headers=analyst)
            assert problem(answer) == (503, "tables_away")
            assert answer.json()["detail"] == f"there is no table {table}"
        make_tables(tmp_path / "tables")
        assert client.get("/ready").json() == {"status": "ready"}
        history = client.get(HISTORY, params=DAY, headers=analyst)
        assert len(history.json()["rows"]) == WINDOWS


@pytest.mark.parametrize("windows", [1, WINDOWS, 2 * WINDOWS])
def test_a_table_that_was_made_anew_is_read_anew(tmp_path: Path, windows: int) -> None:
    """With fewer commits than the old one, as many, and more."""
    make_tables(tmp_path / "tables")
    config = api_config(tmp_path)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:

        def windows_of(who: str) -> int:
            page = f"/v1/subjects/{who}/history"
            answer = client.get(page, params=DAY, headers=analyst)
            assert answer.status_code == 200
            return len(answer.json()["rows"])

        assert (windows_of(ADA), windows_of(BEE)) == (WINDOWS, WINDOWS)
        shutil.rmtree(tmp_path / "tables" / "emotion_features")
        prepare_tables(tmp_path / "tables")
        for window in range(windows):
            land(tmp_path / "tables", "emotion_features", feature("bee", window))
        assert (windows_of(ADA), windows_of(BEE)) == (0, windows)


def test_files_that_went_while_a_table_was_open_are_looked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tables(tmp_path / "tables")
    rows = LandedRows(tmp_path / "tables", lambda: NOW)
    span = (BEGIN, BEGIN + timedelta(hours=1))
    assert (
        len(rows.history("emotion_features", ADA, Grant(), None, span, 100, None).rows) == WINDOWS
    )
    stale = DeltaTable(tmp_path / "tables" / "emotion_features")
    shutil.rmtree(tmp_path / "tables" / "emotion_features")
    prepare_tables(tmp_path / "tables")
    land(tmp_path / "tables", "emotion_features", feature("ada", 0))
    newest = LandedRows._newest
    answers = iter([stale])  # the table went between the look at its log and the reading
    monkeypatch.setattr(
        LandedRows, "_newest", lambda self, name: next(answers, None) or newest(self, name)
    )
    assert len(rows.history("emotion_features", ADA, Grant(), None, span, 100, None).rows) == 1


def test_a_store_that_was_removed_and_made_anew_forgets_whom_it_held(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables")
    config = api_config(tmp_path)
    fill_store(tmp_path / "tables", config.online)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:
        assert client.get(LATEST, headers=analyst).status_code == 200
        for file in tmp_path.glob("online.sqlite*"):
            file.unlink()
        gone = client.get(LATEST, headers=analyst)
        assert problem(gone) == (503, "store_away")
        assert problem(client.get("/ready")) == (503, "store_away")
        DeltaTable(tmp_path / "tables" / "emotion_features").delete(f"subject_ref = '{ADA}'")
        fill_store(tmp_path / "tables", config.online)
        erased = client.get(LATEST, headers=analyst)
        assert problem(erased) == (404, "subject_unknown")
        stays = client.get(f"/v1/subjects/{BEE}/latest", headers=analyst)
        assert stays.json()["subject_ref"] == BEE
        assert client.get("/ready").status_code == 200


def test_a_store_that_was_written_over_is_503(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables")
    config = api_config(tmp_path)
    fill_store(tmp_path / "tables", config.online)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:
        assert client.get(LATEST, headers=analyst).status_code == 200
        with Path(config.online.store).open("r+b") as file:
            file.write(b"garbage" * 2_000)
        assert problem(client.get("/ready")) == (503, "store_away")
        broken = client.get(LATEST, headers=analyst)
        assert problem(broken) == (503, "store_away")


def test_a_store_stays_open_from_one_lookup_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def count(settings: Online) -> OnlineStore:
        opened.append(settings.store)
        return open_online(settings)

    monkeypatch.setattr(online, "open_online", count)
    make_tables(tmp_path / "tables")
    config = api_config(tmp_path)
    fill_store(tmp_path / "tables", config.online)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:
        for _ in range(3):
            assert client.get(LATEST, headers=analyst).status_code == 200
            fill_store(tmp_path / "tables", config.online)  # a feed beside it, which comes and goes
    assert opened == [config.online.store]
