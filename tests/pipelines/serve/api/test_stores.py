"""The API over a real redis, which goes away and comes back; and one that hangs."""

import socket
from pathlib import Path

import pytest

from infra.processes import free_ports
from infra.redis.redis_server import Redis
from pipelines.config import Config
from schemas.settings import Online
from tests.pipelines.serve.api.world import (
    ADA,
    WINDOWS,
    api_config,
    client_of,
    fill_store,
    make_tables,
    tokens_of_all_roles,
)

PAGE = f"/v1/subjects/{ADA}/latest"


def over(address: str, folder: Path, **api: float) -> Config:
    config = api_config(folder, **api)
    return config.model_copy(update={"online": Online(store=address)})


@pytest.mark.redis
def test_lookups_fail_while_redis_is_away_and_go_on_once_it_is_back(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis", *free_ports(1))
    server.start()
    try:
        make_tables(tmp_path / "tables")
        config = over(server.address, tmp_path)
        fill_store(tmp_path / "tables", config.online)
        analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
        with client_of(config) as client:
            found = client.get(PAGE, headers=analyst)
            assert found.json()["window_id"] == f"ada-{WINDOWS - 1}-recommendation"
            assert client.get("/ready").status_code == 200
            server.stop()
            away = client.get(PAGE, headers=analyst)
            assert (away.status_code, away.json()["code"]) == (503, "store_away")
            server.start()  # it kept its data in memory only
            again = client.get(PAGE, headers=analyst)
            assert (again.status_code, again.json()["code"]) == (404, "subject_unknown")
            fill_store(tmp_path / "tables", config.online)
            assert client.get(PAGE, headers=analyst).content == found.content
    finally:
        server.stop()


def test_a_store_that_hangs_is_503_before_its_client_gives_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        config = over(address, tmp_path, timeout_s=0.2)
        analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
        with client_of(config) as client:
            answer = client.get(PAGE, headers=analyst)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_away")
            connection = silent.accept()[0]
            assert connection.recv(4096), "what the client of redis asked"
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):  # it still waits: it does so for ten seconds
                connection.recv(1)
            connection.close()
