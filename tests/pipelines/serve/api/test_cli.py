"""The commands of the API: what they print, and what they say when they cannot."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import api
from pipelines.cli.main import app
from pipelines.serve.api.token_file import read_tokens
from pipelines.serve.api.tokens import Tokens
from pipelines.serve.stores import open_online
from schemas.errors import AffectstreamError
from schemas.settings import Online

runner = CliRunner()


def run(*arguments: object) -> str:
    done = runner.invoke(app, [str(argument) for argument in arguments])
    if done.exception:
        raise done.exception
    return done.stdout


def test_a_token_is_made_shown_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    made = run("tokens", "add", "the game", "--role", "recommender", "--days", 1, "--file", path)
    token = made.splitlines()[0]
    assert Tokens(path).caller(f"Bearer {token}").role == "recommender"
    listed = run("tokens", "list", "--file", path)
    identity = read_tokens(path)[0].id
    assert [identity, "the", "game", "recommender"] == listed.splitlines()[1].split()[:4]
    assert token.split("_", 2)[2] not in listed
    run("tokens", "revoke", identity, "--file", path)
    assert read_tokens(path) == []


def test_an_address_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        store = tmp_path / "online.sqlite"
        open_online(Online(store=str(store))).close()
        where = ("--tokens", tmp_path / "tokens.json", "--store", store)
        refused = pytest.raises(
            AffectstreamError, match=rf"^cannot listen on 127\.0\.0\.1:{port} \("
        )
        with refused:
            run("serve", "--tables", tmp_path, "--port", port, *where)


def test_a_server_with_nothing_to_answer_from_is_refused_and_makes_nothing(
    tmp_path: Path,
) -> None:
    where = ("--store", tmp_path / "typo" / "x.sqlite", "--tables", tmp_path / "nowhere")
    with pytest.raises(AffectstreamError, match=r"^neither the online store .*x\.sqlite nor"):
        run("serve", "--tokens", tmp_path / "tokens.json", *where)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "find_spec", lambda _: None)
    for command in (["serve"], ["tokens", "list"]):
        with pytest.raises(AffectstreamError, match=r"pip install affectstream\[api\]"):
            run(*command)
