"""The running server keeps what its OpenAPI document promises, asked with ids that there are."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from infra.processes import Process, free_ports
from tests.pipelines.serve.api.world import (
    ADA,
    BEE,
    DAD,
    FAY,
    WINDOWS,
    api_config,
    decision_id,
    fill_store,
    make_tables,
    tokens_of_all_roles,
)

IDS = {
    "subject_ref": [ADA, BEE, DAD, FAY],
    "decision_id": [decision_id("ada", n) for n in range(WINDOWS)],
}
ROLES = {"/metrics": "operator"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict]]:
    """The address of a server started by its command, and the headers of each role."""
    folder = tmp_path_factory.mktemp("server")
    (port,) = free_ports(1)
    config = api_config(folder, port=port)
    make_tables(Path(config.tables))
    fill_store(Path(config.tables), config.online)
    callers = tokens_of_all_roles(config.api.tokens)
    settings_file = folder / "config.yaml"
    settings_file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "pipelines.cli.main", "serve", "--config", str(settings_file)]
    path = os.environ.get("PYTHONPATH", str(Path(__file__).parents[4]))
    process = Process("api", folder, command, port, {"PYTHONPATH": path})
    process.start()
    yield f"http://127.0.0.1:{port}", callers
    process.stop()


def document(url: str, ids: dict[str, list[str]]) -> schemathesis.BaseSchema:
    """The server's own document, with these ids in place of any."""
    found = httpx.get(f"{url}/openapi.json").json()
    for operations in found["paths"].values():
        for parameter in operations["get"].get("parameters", []):
            if parameter["name"] in ids:
                parameter["schema"] = {"type": "string", "enum": ids[parameter["name"]]}
    schema = schemathesis.openapi.from_dict(found)
    schema.config.update(base_url=url)
    return schema


def ask(
    schema: schemathesis.BaseSchema, mode: GenerationMode, headers: Callable[[str], dict[str, str]]
) -> set[tuple[str, int]]:
    """Ask every page with made-up parameters and check each answer; return page and status."""
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Case) -> None:
            # No schema can say that `since` is before `until`, and not by too much.
            apart = [positive_data_acceptance] if case.path.endswith("/history") else []
            answer = case.call_and_validate(headers=headers(case.path), excluded_checks=apart)
            seen.add((case.path, answer.status_code))

        with suppress(Unsatisfiable):  # a page without parameters can be asked nothing wrong
            check()
    return seen


def test_answers_are_as_documented(server: tuple[str, dict]) -> None:
    url, callers = server
    schema = document(url, IDS)
    seen = ask(schema, GenerationMode.POSITIVE, lambda path: callers[ROLES.get(path, "analyst")])
    assert len({path for path, status in seen if status == 200}) == 7, sorted(seen)


@pytest.mark.parametrize("mode", GenerationMode)
def test_whoever_asks_for_anything_gets_a_documented_answer(
    server: tuple[str, dict], mode: GenerationMode
) -> None:
    url, callers = server
    seen = ask(document(url, {}), mode, lambda _: callers["recommender"])
    assert {status for _, status in seen} & {404, 422}
