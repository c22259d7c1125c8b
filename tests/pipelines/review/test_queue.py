"""The review queue, in the order in which it is worth looking at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.access.audit import read_entries
from pipelines.access.settings import Access
from pipelines.review.queue import ALL_OPEN, Asked, list_reviews
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS
from tests.support.served import decision, feature, land, review
from tests.support.synthetic_tables import expression_columns
from transforms.landing.prepare import prepare_tables


def scores(**shown: float) -> list[float]:
    rest = (1 - sum(shown.values())) / (len(EXPRESSIONS) - len(shown))
    return [shown.get(name, rest) for name in EXPRESSIONS]


SHOWN = {
    "ann": scores(joy=0.4, anger=0.4),
    "bob": scores(joy=0.41, anger=0.41),  # almost the same
    "cem": scores(fear=0.9),
    "dee": scores(sadness=0.5, surprise=0.4),
    "eve": scores(joy=0.999),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tables = tmp_path / "tables"
    prepare_tables(tables)
    for number, (who, told) in enumerate(SHOWN.items()):
        land(tables, "emotion_features", feature(who, number, scores=told))
        window = f"{who}-{number}-recommendation"
        land(tables, "review_queue", review(who, number, window_id=window))
    land(tables, "review_queue", review("gus", 9, scenario="support", reason="disagreement"))
    return tables


def ids(root: Path, asked: Asked = ALL_OPEN, **how: Any) -> list[str]:
    return list_reviews(root, asked, **how)["review_id"].to_pylist()


def test_the_newest_come_first_unless_asked_otherwise(root: Path) -> None:
    assert ids(root) == ["r-gus-9", "r-eve-4", "r-dee-3", "r-cem-2", "r-bob-1", "r-ann-0"]
    assert ids(root, limit=2) == ["r-gus-9", "r-eve-4"]
    assert ids(root, Asked(scenario="support")) == ["r-gus-9"]
    assert ids(root, Asked(reason="disagreement")) == ["r-gus-9"]
    assert ids(root, Asked(scenario="x' OR 'x' = 'x")) == []
    with pytest.raises(AffectstreamError, match="no reason of a review: did you mean"):
        ids(root, Asked(reason="disagrement"))


def test_the_least_sure_come_first_and_those_without_features_last(root: Path) -> None:
    found = list_reviews(root, order="uncertainty")
    assert found["review_id"].to_pylist() == [
        "r-ann-0", "r-bob-1", "r-dee-3", "r-cem-2", "r-eve-4", "r-gus-9",
    ]  # fmt: skip
    *known, gone = found["uncertainty"].to_pylist()
    assert gone is None
    for value, who in zip(known, ("ann", "bob", "dee", "cem", "eve"), strict=True):
        told = np.array(SHOWN[who])
        assert value == pytest.approx(-(told * np.log(told)).sum() / np.log(7), abs=1e-5)


def test_the_farthest_come_first_and_what_is_alike_last(root: Path) -> None:
    """Against the definition: each is the farthest from all before it, by Hellinger's distance."""
    found = ids(root, order="diversity")
    assert found[0] == "r-ann-0"
    assert found[-1] == "r-bob-1", "ann has told it"
    assert sorted(found) == sorted(ids(root))
    flat = {"gus": [1 / 7] * 7}
    points = {who: np.sqrt(told) for who, told in (SHOWN | flat).items()}
    order = [review_id.split("-")[1] for review_id in found]
    for place in range(1, len(order)):
        away = {
            who: min(np.linalg.norm(points[who] - points[before]) for before in order[:place])
            for who in order[place:]
        }
        assert away[order[place]] == pytest.approx(max(away.values()))


def test_a_review_is_listed_with_what_its_window_shows_and_what_else_is_held(
    root: Path, tmp_path: Path
) -> None:
    shown = [("ivy", 11, "sadness", 0.82, "surprise"), ("jon", 12, "joy", 0.6, "joy")]
    for who, number, expression, confidence, held in shown:
        columns = expression_columns(expression, confidence, 0.4)
        land(root, "emotion_features", feature(who, number, **columns))
        land(root, "expression_decisions", decision(who, number, expression=held))
        land(root, "review_queue", review(who, number))
    unsure = expression_columns("fear", 0.2, 0.4) | {"expression": None, "abstained": True}
    land(root, "emotion_features", feature("kim", 13, **unsure))
    land(root, "expression_decisions", decision("kim", 13, expression="fear"))
    land(root, "review_queue", review("kim", 13))
    names = ("window_expression", "window_confidence", "held")
    wanted = [
        (None, pytest.approx(0.2), "fear"),
        ("joy", pytest.approx(0.6), None),
        ("sadness", pytest.approx(0.82), "surprise"),
    ]
    access = Access(audit=tmp_path / "audit")
    for how in ({}, {"role": "reviewer", "access": access}):
        for order in ("time", "uncertainty", "diversity"):
            rows = list_reviews(root, order=order, **how).sort_by(
                [("window_end", "descending")]
            )[:3].to_pylist()  # fmt: skip
            assert [tuple(row[name] for name in names) for row in rows] == wanted, order


def test_a_role_that_sees_no_windows_lists_the_queue_alone(root: Path, tmp_path: Path) -> None:
    roles = tmp_path / "roles.yaml"
    roles.write_text(
        "version: v\nroles: {clerk: {description: counts, tables: {review_queue: {}}}}\n"
    )
    access = Access(audit=tmp_path / "audit", roles=roles)
    rows = list_reviews(root, role="clerk", access=access).to_pylist()
    assert len(rows) == 6
    assert {row["window_expression"] for row in rows} == {None}
    assert list_reviews(root).to_pylist()[1]["window_expression"] == "joy"


def test_decided_reviews_are_another_list(root: Path) -> None:
    said = {"reviewer_decision": "joy", "reviewed_by": "dana"}
    land(root, "review_queue", review("hal", 11, **said))
    assert "r-hal-11" not in ids(root)
    (row,) = list_reviews(root, Asked(decided=True)).to_pylist()
    assert (row["review_id"], row["reviewer_decision"], row["reviewed_by"]) == (
        "r-hal-11", "joy", "dana",
    )  # fmt: skip


def test_a_role_reads_what_it_may_and_the_reading_is_logged(root: Path, tmp_path: Path) -> None:
    access = Access(audit=tmp_path / "audit")
    assert len(ids(root, role="reviewer", access=access, order="uncertainty")) == 6
    with pytest.raises(AffectstreamError, match="analyst may not read review_queue"):
        ids(root, role="analyst", access=access)
    read, refused = read_entries(tmp_path / "audit")
    assert (read["role"], read["rows"], read["outcome"]) == ("reviewer", 6, "ok")
    assert (refused["role"], refused["outcome"]) == ("analyst", "refused")


def test_without_a_queue_it_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"^there is no review_queue under .*: name"):
        list_reviews(tmp_path / "nowhere")
