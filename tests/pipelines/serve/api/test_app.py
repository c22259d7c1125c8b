"""What each page answers, to whom, and what it never says."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipelines.access.roles import read_roles
from pipelines.access.settings import ROLES
from pipelines.config import Config
from pipelines.serve.api.landed import LandedRows
from pipelines.serve.api.online import Lookups
from pipelines.serve.stores import open_online
from tests.pipelines.serve.api.world import (
    ADA,
    BEE,
    DAD,
    DAY,
    FAY,
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

SECRET = "a name that nobody may see"
PAGES = {
    "latest": f"/v1/subjects/{ADA}/latest",
    "decision": f"/v1/subjects/{ADA}/decision",
    "history": f"/v1/subjects/{ADA}/history",
    "explanation": f"/v1/subjects/{ADA}/decisions/{decision_id('ada', 2)}/explanation",
    "metrics": "/metrics",
}
ROLES_SHIPPED = read_roles(ROLES).roles
Headers = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("api")
    make_tables(folder / "tables")
    made = api_config(folder)
    fill_store(folder / "tables", made.online)
    return made


@pytest.fixture(scope="module")
def callers(config: Config) -> Headers:
    return tokens_of_all_roles(config.api.tokens)


@pytest.fixture(scope="module")
def client(config: Config, callers: Headers) -> Iterator[TestClient]:
    with client_of(config) as made:
        yield made


@pytest.mark.parametrize("role", ROLES_SHIPPED)
@pytest.mark.parametrize("page", PAGES)
def test_a_role_may_ask_for_what_stands_in_the_table(
    client: TestClient, callers: Headers, role: str, page: str
) -> None:
    answer = client.get(PAGES[page], headers=callers[role])
    if page in ROLES_SHIPPED[role].api:
        assert answer.status_code == 200
    else:
        assert problem(answer) == (403, "role_refused")


def test_latest_and_decision_are_the_newest_rows(client: TestClient, callers: Headers) -> None:
    analyst = callers["analyst"]
    shown = client.get(PAGES["latest"], headers=analyst).json()
    assert shown["subject_ref"] == ADA
    assert shown["window_id"] == f"ada-{WINDOWS - 1}-recommendation"
    assert (shown["expression"], shown["confidence"]) == ("joy", 0.7)
    decided = client.get(PAGES["decision"], headers=analyst).json()
    assert decided["decision_id"] == decision_id("ada", WINDOWS - 1)


def test_a_recommender_gets_what_was_consented_to_for_recommendation_alone(
    client: TestClient, callers: Headers
) -> None:
    mine, all_ = callers["recommender"], callers["analyst"]
    for page in ("latest", "decision"):
        assert client.get(f"/v1/subjects/{DAD}/{page}", headers=all_).status_code == 200
        hidden = client.get(f"/v1/subjects/{DAD}/{page}", headers=mine)
        unknown = client.get(f"/v1/subjects/{FAY}/{page}", headers=mine)
        assert problem(hidden) == problem(unknown) == (404, "subject_unknown")
        assert hidden.content == unknown.content, "whether a subject exists is not told"
    asked = {"purpose": "avatar_mirroring"}
    refused = client.get(f"/v1/subjects/{DAD}/latest", params=asked, headers=mine)
    assert problem(refused) == (403, "purpose_refused")
    history = client.get(PAGES["history"], params=DAY, headers=mine)
    assert problem(history) == (403, "role_refused"), "it has decisions that have expired"


def test_an_answer_that_the_caller_has_is_not_sent_again(
    client: TestClient, callers: Headers
) -> None:
    for page in (PAGES["latest"], PAGES["explanation"]):
        first = client.get(page, headers=callers["analyst"])
        tag = first.headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = client.get(page, headers=callers["analyst"] | {"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        other = client.get(page, headers=callers["analyst"] | {"If-None-Match": '"other"'})
        assert other.content == first.content


@pytest.mark.parametrize(
    ("of", "row_id"), [("features", "window_id"), ("decisions", "decision_id")]
)
def test_a_history_comes_page_by_page_in_the_order_of_time(
    client: TestClient, callers: Headers, of: str, row_id: str
) -> None:
    def page(**more: Any) -> dict[str, Any]:
        query = DAY | {"of": of} | more
        url = f"/v1/subjects/{ADA}/history"
        return client.get(url, params=query, headers=callers["officer"]).json()

    whole = page()
    assert whole["next"] is None
    assert [row["window_end"] for row in whole["rows"]] == [
        (BEGIN + timedelta(seconds=5 * (n + 1))).isoformat().replace("+00:00", "Z")
        for n in range(WINDOWS)
    ]
    rows, after = [], {}
    while True:
        found = page(limit=2, **after)
        assert len(found["rows"]) <= 2
        rows += found["rows"]
        if found["next"] is None:
            break
        after = {"after": found["next"]}
    assert rows == whole["rows"]
    assert len({row[row_id] for row in rows}) == WINDOWS
    part = page(
        since=(BEGIN + timedelta(seconds=6)).isoformat(), until=BEGIN + timedelta(seconds=15)
    )
    assert [row["window_end"][-4:] for row in part["rows"]] == [":10Z"]


def test_a_revision_that_lands_is_in_the_next_answer(
    client: TestClient, callers: Headers, config: Config
) -> None:
    def revisions() -> list[int]:
        url = f"/v1/subjects/{BEE}/history"
        rows = client.get(url, params=DAY, headers=callers["analyst"]).json()["rows"]
        return [row["revision"] for row in rows]

    assert revisions() == [1] * WINDOWS
    land(Path(config.tables), "emotion_features", feature("bee", 1, revision=3))
    assert revisions() == [1, 3, 1, 1, 1]


def test_an_explanation_has_window_rule_models_and_quality_and_nothing_raw(
    client: TestClient, callers: Headers
) -> None:
    found = client.get(PAGES["explanation"], headers=callers["officer"]).json()
    assert found["decision"]["policy_version"] == "scenarios-test"
    assert (found["decision"]["action"], found["decision"]["reason"]) == ("mirror", "default")
    assert found["window"]["window_id"] == found["decision"]["window_id"]
    assert found["window"]["attention"] == [1.0, 0.0, 0.0, 0.0]
    assert found["window"]["model_id"] == "test@1"
    (seen,) = found["observations"]
    assert (seen["modality"], seen["quality"]) == ("text", "too_short")
    assert seen["model_id"] == "text-compact@3.0.0"
    assert "embedding" not in seen
    url = f"/v1/subjects/{BEE}/decisions/{decision_id('ada', 2)}/explanation"
    others = client.get(url, headers=callers["officer"])
    assert problem(others) == (404, "decision_unknown")


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ({"limit": 0}, "query_wrong", "limit: input should be greater"),
        ({"of": SECRET}, "query_wrong", "of: input should be 'features' or 'decisions'"),
        ({"since": "2090-11-30T10:00:00"}, "query_wrong", "since: input should have timezone"),
        ({"since": SECRET}, "query_wrong", "since: input should be a valid datetime"),
        ({"after": "x"}, "query_wrong", "after: give what `next` of the page before said"),
        ({"after": "eCB5"}, "query_wrong", "after: give what `next`"),
        ({"purpose": "'; DROP"}, "query_wrong", "purpose: string should match"),
        ({SECRET: "1"}, "query_wrong", "this page has the parameters of, since, until, purpose,"),
        ({"since": "2090-11-30T12:00:00Z"}, "query_wrong", "since, until: give times from 1970"),
        ({"since": "2026-01-01T00:00:00Z"}, "range_too_long", "at most 31 days"),
        ({"until": "0001-01-01T00:00:00+23:00"}, "query_wrong", "since, until"),
    ],
)
def test_a_wrong_parameter_is_named_and_its_value_is_not(
    client: TestClient, callers: Headers, query: dict[str, str], code: str, says: str
) -> None:
    given = DAY | query if "since" not in query else query | {"until": DAY["until"]}
    answer = client.get(PAGES["history"], params=given | query, headers=callers["analyst"])
    assert problem(answer) == (422, code)
    assert says in answer.json()["detail"]
    assert SECRET not in answer.text


def test_an_id_that_is_none_is_refused_without_being_said(
    client: TestClient, callers: Headers
) -> None:
    for page in (f"/v1/subjects/{SECRET}/latest", f"/v1/subjects/{ADA.upper()}/decision"):
        answer = client.get(page, headers=callers["analyst"])
        assert problem(answer) == (422, "query_wrong")
        assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "token_missing"),
        ({"Authorization": "Basic me"}, "token_missing"),
        ({"Authorization": "Bearer"}, "token_missing"),
        ({"Authorization": "Bearer affectstream"}, "token_invalid"),
        ({"Authorization": "Bearer affectstream_00000000_x"}, "token_invalid"),
        ({"Authorization": "Bearer ключ"}, "token_invalid"),
    ],
)
def test_who_has_no_token_gets_nothing(
    client: TestClient, headers: dict[str, str], code: str
) -> None:
    coded = {name: value.encode() for name, value in headers.items()}
    for page in (*PAGES.values(), "/v1/nothing"):
        answer = client.get(page, headers=coded)
        assert problem(answer) == (401, code)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_secret_of_another_token_opens_nothing(client: TestClient, callers: Headers) -> None:
    mine, other = (callers[role]["Authorization"] for role in ("analyst", "operator"))
    prefix, identity, _ = mine.split("_", 2)
    mixed = f"{prefix}_{identity}_{other.split('_', 2)[2]}"
    answer = client.get(PAGES["latest"], headers={"Authorization": mixed})
    assert problem(answer) == (401, "token_invalid")


def test_pages_and_methods_that_are_none(client: TestClient, callers: Headers) -> None:
    for page in ("/v2", f"{PAGES['latest']}/", "/v1/subjects"):
        answer = client.get(page, headers=callers["analyst"])
        assert problem(answer) == (404, "not_found")
    for method in ("POST", "DELETE", "PUT", "OPTIONS"):
        answer = client.request(method, PAGES["latest"], headers=callers["analyst"])
        assert problem(answer) == (405, "method_refused")
        assert answer.headers["allow"] == "GET"


def test_the_metrics_count_what_was_answered(client: TestClient, callers: Headers) -> None:
    def count(status: int) -> float:
        text = client.get("/metrics", headers=callers["operator"]).text
        wanted = f'affectstream_api_requests_total{{route="latest",status="{status}"}} '
        return sum(float(line[len(wanted) :]) for line in text.splitlines() if wanted in line)

    before = count(200), count(404)
    client.get(PAGES["latest"], headers=callers["analyst"])
    client.get(f"/v1/subjects/{FAY}/latest", headers=callers["analyst"])
    assert (count(200), count(404)) == (before[0] + 1, before[1] + 1)


def test_health_and_readiness_need_no_token(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}


def test_empty_tables_and_an_empty_store_are_no_error(tmp_path: Path) -> None:
    config = api_config(tmp_path)
    prepare_tables(tmp_path / "tables")
    open_online(config.online).close()
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:
        assert client.get("/ready").json() == {"status": "ready"}
        latest = client.get(PAGES["latest"], headers=analyst)
        assert problem(latest) == (404, "subject_unknown")
        history = client.get(PAGES["history"], params=DAY, headers=analyst)
        assert history.json() == {"rows": [], "next": None}
        why = client.get(PAGES["explanation"], headers=analyst)
        assert problem(why) == (404, "decision_unknown")
        make_tables(tmp_path / "tables")
        history = client.get(PAGES["history"], params=DAY, headers=analyst)
        assert len(history.json()["rows"]) == WINDOWS


def test_a_store_that_is_away_is_503_and_the_tables_are_still_read(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables")
    config = api_config(tmp_path)
    away = config.online.model_copy(update={"store": "redis://127.0.0.1:1/0"})
    config = config.model_copy(update={"online": away})
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:
        for _ in range(2):
            answer = client.get(PAGES["latest"], headers=analyst)
            assert problem(answer) == (503, "store_away")
            assert answer.headers["retry-after"] == "1"
        assert problem(client.get("/ready")) == (503, "store_away")
        assert client.get("/health").status_code == 200
        history = client.get(PAGES["history"], params=DAY, headers=analyst)
        assert len(history.json()["rows"]) == WINDOWS


def test_tables_that_cannot_be_read_are_503(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables")
    config = api_config(tmp_path)
    open_online(config.online).close()
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    for path in (tmp_path / "tables" / "emotion_features" / "_delta_log").iterdir():
        path.write_text("{")
    with client_of(config) as client:
        answer = client.get(PAGES["history"], params=DAY, headers=analyst)
        assert problem(answer) == (503, "tables_away")
        assert problem(client.get("/ready")) == (503, "tables_away")


def test_an_answer_that_takes_too_long_is_504(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = api_config(tmp_path, timeout_s=0.05)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    monkeypatch.setattr(LandedRows, "history", lambda *_: time.sleep(0.5))
    with client_of(config) as client:
        answer = client.get(PAGES["history"], params=DAY, headers=analyst)
        assert problem(answer) == (504, "time_out")
        assert client.get("/health").status_code == 200


def test_a_fault_says_nothing_of_what_it_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(Lookups, "find", fail)
    config = api_config(tmp_path)
    analyst = tokens_of_all_roles(config.api.tokens)["analyst"]
    with client_of(config) as client:
        answer = client.get(PAGES["latest"], headers=analyst)
        assert problem(answer) == (500, "internal")
        assert SECRET not in answer.text
    assert "a request failed with KeyError" in caplog.text
    assert SECRET not in caplog.text


def test_a_token_has_a_rate(tmp_path: Path) -> None:
    config = api_config(tmp_path, requests_per_s=3)
    open_online(config.online).close()
    callers = tokens_of_all_roles(config.api.tokens)
    with client_of(config) as client:
        answers = [client.get(PAGES["latest"], headers=callers["analyst"]) for _ in range(6)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:3] == [404] * 3
        assert problem(answers[-1]) == (429, "rate_limited")
        other = client.get(PAGES["latest"], headers=callers["recommender"])
        assert other.status_code == 404, "each token has its own"
