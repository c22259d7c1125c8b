"""Roles: what ships, and what a file of roles may not say."""

from pathlib import Path

import pytest
import yaml

from pipelines.access.roles import API_PAGES, Role, read_roles
from pipelines.access.settings import ROLES
from schemas.errors import AffectstreamError
from schemas.tables import TABLES

SHIPPED = read_roles(ROLES)
ESTIMATES = {"expression", "scores", "valence", "arousal", "confidence", "embedding"}


def test_an_operator_sees_no_expression_and_nobody() -> None:
    operator = SHIPPED.named("operator")
    shown = {
        column
        for name, grant in operator.tables.items()
        if name in TABLES
        for column in TABLES[name].schema.names
        if grant.shows(column)
    }
    assert not shown & ESTIMATES
    assert not shown & {"subject_ref", "session_ref", "person_ref", "person_fold"}
    assert "dead_letters" in operator.tables
    assert operator.api == {"metrics"}


def test_a_recommender_sees_fresh_rows_of_recommendation_alone() -> None:
    recommender = SHIPPED.named("recommender")
    assert set(recommender.tables) == {"emotion_features", "expression_decisions"}
    for grant in recommender.tables.values():
        assert grant.purposes == {"recommendation"}
        assert grant.unexpired or grant.max_age_s == 3_600
    assert not recommender.past
    assert recommender.api == {"latest", "decision"}


def test_an_analyst_sees_no_consent_and_an_officer_does() -> None:
    analyst, officer = SHIPPED.named("analyst"), SHIPPED.named("officer")
    assert not set(analyst.tables) & {"consent_ledger", "refusals", "review_queue", "dead_letters"}
    assert not analyst.tables["observations"].shows("embedding")
    assert {"consent_ledger", "refusals", "review_queue"} <= set(officer.tables)


def test_who_reads_the_queue_may_label_and_an_officer_alone_exports() -> None:
    may = {name: set(role.may) for name, role in SHIPPED.roles.items() if role.may}
    assert may == {"officer": {"label", "export"}, "reviewer": {"label"}}
    assert may.keys() == {n for n, role in SHIPPED.roles.items() if "review_queue" in role.tables}


def test_only_an_operator_sees_metrics() -> None:
    assert {name for name, role in SHIPPED.roles.items() if "metrics" in role.api} == {"operator"}
    assert set(API_PAGES) >= set.union(*(set(role.api) for role in SHIPPED.roles.values()))


def test_an_unknown_role_is_refused_with_the_nearest() -> None:
    with pytest.raises(AffectstreamError, match=r"no role 'analist': did you mean `analyst`\?"):
        SHIPPED.named("analist")


def write(path: Path, **role: object) -> Path:
    whole = {"version": "test", "roles": {"auditor": {"description": "audits"} | role}}
    path.write_text(yaml.safe_dump(whole))
    return path


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ({"tables": {"observation": {}}}, "'observation' is no table or view: did you mean"),
        ({"tables": {"runs": {"columns": ["log", "seconde"]}}}, "runs has no column 'seconde'"),
        ({"tables": {"runs": {"without": ["seconde"]}}}, "runs has no column 'seconde'"),
        ({"tables": {"runs": {"columns": ["log"], "without": ["log"]}}}, "has both"),
        ({"tables": {"runs": {"columns": []}}}, "runs shows no column"),
        ({"tables": {"runs": {"purposes": ["research"]}}}, "runs has no purpose by which"),
        ({"tables": {"emotion_features": {"unexpired": True}}}, "has no expires_at by which"),
        ({"tables": {"runs": {"max_age_s": 60}}}, "runs has no window_end by which"),
        ({"tables": {"emotion_features": {"purposes": []}}}, "at least 1 item"),
        ({"tables": {"emotion_features": {"max_age_s": 0}}}, "greater than 0"),
        ({"tables": {"emotion_features": {"purpose": ["research"]}}}, "Extra inputs"),
        ({"api": ["latest"]}, "api lists latest, which reads emotion_features"),
        ({"api": ["newest"]}, "'newest' is no page of the API"),
        ({"page": ["lives"]}, "'lives' is no view of the page: did you mean `live`"),
        ({"may": ["lable"]}, "'lable' is no action: did you mean `label`"),
        ({"rows": "all"}, "Extra inputs"),
        (
            {"page": ["live"], "tables": {"emotion_features": {"max_age_s": 9}}},
            "the page shows all rows, and those of emotion_features are limited",
        ),
    ],
)
def test_a_role_that_says_what_nobody_knows_is_refused(
    tmp_path: Path, role: dict[str, object], said: str
) -> None:
    path = write(tmp_path / "roles.yaml", **role)
    with pytest.raises(AffectstreamError, match="is not a file of roles") as caught:
        read_roles(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["Data Team", "", "a" * 65, "x'; --"])
def test_a_role_has_a_plain_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(yaml.safe_dump({"version": "test", "roles": {name: {"description": "d"}}}))
    with pytest.raises(AffectstreamError, match="is no name of a role"):
        read_roles(path)


def test_what_a_role_does_not_name_it_does_not_have(tmp_path: Path) -> None:
    role = read_roles(write(tmp_path / "roles.yaml")).named("auditor")
    assert role == Role(description="audits")
    assert (role.api, role.page, role.past, dict(role.tables)) == (set(), set(), False, {})
