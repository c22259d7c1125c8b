"""Questions to tables: asked once, paid once, answered alike, and by who is in them now."""

from pathlib import Path

import pytest

from pipelines.aggregate.answer import Answer, aggregate
from pipelines.aggregate.settings import Aggregates
from schemas.errors import AffectstreamError
from tests.pipelines.aggregate.world import land, no_noise, people, question, rows_of
from tests.support import served
from tests.support.served import feature
from transforms.landing.prepare import prepare_tables

SETTINGS = Aggregates()
WHO = "analysts"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return land(tmp_path, people(150, windows=3), people(19, name="few", scene_id="attic"))


def test_the_same_question_has_the_same_answer_and_costs_once(root: Path) -> None:
    answers = [aggregate(root, question(by=("scene_id",)), SETTINGS, WHO) for _ in range(5)]
    assert [answer.paid_before for answer in answers] == [False, True, True, True, True]
    assert all(answer.table.equals(answers[0].table) for answer in answers)
    assert {answer.spent.questions for answer in answers} == {1}
    assert 0 < answers[-1].spent.epsilon <= SETTINGS.epsilon


def test_what_is_drawn_twice_differs(root: Path) -> None:
    """Without the ledger an average over repetitions would come near the truth."""
    asked = question()
    shown = set()
    for number in range(4):
        settings = Aggregates(ledger=root / f"{number}.sqlite")
        shown |= {tuple(rows_of(aggregate(root, asked, settings, WHO).table)[0].values())}
    assert len(shown) == 4


def test_another_version_another_question_or_another_audience_is_paid_for(root: Path) -> None:
    settings = Aggregates(audiences=("analysts", "press"))
    asked = question()
    for turn, more in enumerate((asked, question(by=("hour",)), question(by=("day",)))):
        assert not aggregate(root, more, settings, WHO).paid_before, turn
    assert aggregate(root, asked, settings, "press").spent.questions == 1
    land(root, people(1, name="new"))
    later = aggregate(root, asked, settings, WHO)
    assert (later.paid_before, later.spent.questions) == (False, 4)
    assert aggregate(root, asked, Aggregates(max_windows=2), WHO).spent.questions == 5


def exact(root: Path, **asked: object) -> Answer:
    return aggregate(root, question(**asked), Aggregates(), WHO, noise=no_noise)


def test_groups_filters_and_times_choose_the_windows(root: Path) -> None:
    land(root, people(160, name="cn", region="CN", scene_id="hall", purpose="safety"))
    land(root, people(170, name="late", region="CN", scene_id="hall"))
    by_scene = exact(root, by=("scene_id",)).table
    assert by_scene["scene_id"].to_pylist() == ["hall", "plaza"]  # the attic has 19
    assert by_scene["subjects"].to_pylist() == [170, 150]
    assert by_scene["windows"].to_pylist() == [170, 450]
    assert exact(root, where=("region=CN",)).table["subjects"].to_pylist() == [170]
    assert exact(root, by=("purpose", "region")).table.select(
        ["purpose", "region", "subjects"]
    ).to_pylist() == [
        {"purpose": "recommendation", "region": "CN", "subjects": 170},
        {"purpose": "recommendation", "region": "EU", "subjects": 169},
        {"purpose": "safety", "region": "CN", "subjects": 160},
    ]
    first = exact(root, until="2090-11-30T10:00:05", where=("scene_id=plaza",)).table
    assert first["windows"].to_pylist() == [150]
    later = exact(root, since="2090-11-30T18:00:05+08:00", where=("scene_id=plaza",)).table
    assert later["windows"].to_pylist() == [300]
    for odd in ("x' OR '1'='1", "latest observations", "场景-7", "--", "\\'; DROP TABLE x"):
        assert exact(root, where=(f"scene_id={odd}",)).table.num_rows == 0


def test_a_revised_window_counts_once_as_it_was_last(tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    for revision, valence in ((1, -1.0), (3, 0.5), (2, -0.9)):
        rows = [feature(f"p{n}-", 0, revision, valence=valence) for n in range(150)]
        served.land(tmp_path, "emotion_features", *rows)
    (row,) = rows_of(exact(tmp_path).table)
    assert (row["subjects"], row["windows"], row["valence"]) == (150, 150, 0.5)


def test_who_was_erased_is_out_of_every_later_answer(root: Path) -> None:
    before = exact(root, where=("scene_id=plaza",)).table
    assert before["subjects"].to_pylist() == [150]
    served.erase(root, "emotion_features", "p7-")
    after = exact(root, where=("scene_id=plaza",))
    assert not after.paid_before
    assert after.table["subjects"].to_pylist() == [149]
    assert after.table["windows"].to_pylist() == [3 * 149]


def test_an_empty_table_is_asked_in_vain_and_paid_for(tmp_path: Path) -> None:
    prepare_tables(tmp_path)
    for by in ((), ("scene_id", "hour")):
        answer = aggregate(tmp_path, question(by=by), SETTINGS, WHO)
        assert answer.table.num_rows == 0
        assert answer.table.column_names[: len(by)] == sorted(by)
    assert answer.spent.questions == 2  # that nobody is there is an answer, too


@pytest.mark.parametrize("place", ["nowhere", "without"])
def test_where_no_features_stand_nothing_is_spent(tmp_path: Path, place: str) -> None:
    prepare_tables(tmp_path / "without")
    features = tmp_path / "without" / "emotion_features"
    features.rename(tmp_path / "elsewhere")
    with pytest.raises(AffectstreamError, match=r"no table under|has no emotion_features"):
        aggregate(tmp_path / place, question(), SETTINGS, WHO)
    assert not list(tmp_path.rglob("*.sqlite"))


def test_an_audience_that_is_not_configured_has_no_budget(root: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"analyst is none of `aggregates\.audiences`: did"):
        aggregate(root, question(), SETTINGS, "analyst")


@pytest.mark.s3
def test_tables_in_an_object_store_are_asked_with_a_ledger_elsewhere(
    store: str, tmp_path: Path
) -> None:
    root = f"{store}/aggregates"
    prepare_tables(root)
    served.land(root, "emotion_features", *people(150))
    with pytest.raises(AffectstreamError, match=r"name a file as `aggregates\.ledger`"):
        aggregate(root, question(), SETTINGS, WHO)
    settings = Aggregates(ledger=tmp_path / "ledger.sqlite")
    first, again = (aggregate(root, question(), settings, WHO) for _ in range(2))
    assert first.table.num_rows == 1
    assert again.paid_before
    assert again.table.equals(first.table)
