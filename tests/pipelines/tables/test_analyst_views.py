"""The views say what their descriptions promise, by sums that share no code with their SQL."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.tables.analyst_views import VIEWS, tables_of
from pipelines.tables.query import query
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.tables import TABLES
from schemas.vocabularies import EXPRESSIONS
from tests.support import served, synthetic_tables
from tests.support.served import BEGIN, LENGTH, feature, subject
from tests.support.synthetic_tables import expression_columns, scores_of
from transforms.landing.prepare import prepare_tables


def shown(expression: str, confidence: float, threshold: float = 0.4) -> dict[str, Any]:
    return expression_columns(expression, confidence, threshold)


def observation(who: str, window: int, modality: str, number: int = 0, **more: Any) -> Any:
    row = feature(who, window)
    shared = ("subject_ref", "session_ref", "scene_id", "scenario", "purpose", "region", "age_band")
    return {
        "event_id": f"{who}-{window}-{modality}-{number}",
        **{name: row[name] for name in shared},
        "event_time": row["window_start"] + timedelta(seconds=1 + number),
        "modality": modality,
        **shown("joy", 0.7),
        "content": 1,
        "event_date": row["event_date"],
    } | more


def refusal(who: str, number: int, modality: str) -> dict[str, Any]:
    row = observation(who, 0, modality, number)
    return row | {"code": "consent_unknown", "article": "GDPR", "policy_version": "p"}


def land(root: Path, name: str, *rows: dict[str, Any]) -> None:
    synthetic_tables.land(root, name, list(rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    prepare_tables(tmp_path)
    return tmp_path


def rows_of(root: Path, sql: str) -> list[dict[str, Any]]:
    return query(root, sql).to_pylist()


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_over_empty_tables_is_empty_and_has_the_columns_it_promises(
    root: Path, name: str
) -> None:
    empty = query(root, f"SELECT * FROM {name}")
    assert empty.num_rows == 0
    found = {field.name: field.type for field in empty.schema}
    promised = {field.name: field.type for field in VIEWS[name].schema}
    assert list(found) == list(promised)
    for column, kind in promised.items():
        assert found[column] == kind, column


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_can_be_filtered_sorted_and_summed_up(root: Path, name: str) -> None:
    for purpose in ({}, {"purpose": "research"}):
        land(root, "observations", *(observation("a", 0, m, **purpose) for m in MODALITIES))
        land(root, "emotion_features", feature("a", 0, **purpose))
    land(root, "refusals", refusal("a", 0, "face"))
    filtered = query(root, f"SELECT * FROM {name} WHERE purpose = 'research' ORDER BY event_date")
    assert filtered.num_rows == (len(MODALITIES) if name == "coverage" else 1)
    summed = f"SELECT purpose, count(*) AS n FROM {name} GROUP BY purpose ORDER BY purpose"
    assert query(root, summed)["n"].to_pylist() == [filtered.num_rows] * 2


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_whose_table_does_not_stand_is_one_sentence_that_names_it(
    tmp_path: Path, name: str
) -> None:
    land(tmp_path, "runs", {"run_id": "r", "event_date": BEGIN.date()})
    lacking = tables_of(VIEWS[name])[0]
    with pytest.raises(AffectstreamError, match=f"{name} reads {lacking}.* no such table") as wrong:
        query(tmp_path, f"SELECT * FROM {name}")
    assert "\n" not in str(wrong.value)


def test_every_view_reads_what_its_sql_names() -> None:
    for view in VIEWS.values():
        assert tables_of(view) == tuple(t for t in tables_of(view) if t in TABLES)
        for name in (*TABLES, *VIEWS):
            named = f"FROM {name}" in view.sql or f"JOIN {name}" in view.sql
            assert named == (name in view.reads), (view.name, name)


def test_expressions_has_a_column_for_each_probability_and_attention(root: Path) -> None:
    row = feature("a", 0, attention=[0.4, 0.3, 0.2, 0.1], **shown("fear", 0.6))
    land(root, "emotion_features", row, feature("b", 0, **shown("fear", 0.3)))
    (found,) = rows_of(root, f"SELECT * FROM expressions WHERE subject_ref = '{subject('a')}'")
    by_label = [found[f"p_{label}"] for label in EXPRESSIONS]
    assert by_label == pytest.approx(scores_of("fear", 0.6))
    assert [found[f"attention_{m}"] for m in MODALITIES] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert not {"scores", "attention"} & set(found)
    (unsure,) = rows_of(root, "SELECT * FROM expressions WHERE abstained")
    assert unsure["expression"] is None
    assert unsure["p_fear"] == pytest.approx(0.3)


def test_latest_is_one_row_for_each_subject_and_purpose_abstained_or_not(root: Path) -> None:
    rows = [feature("a", n) for n in range(3)]
    rows += [feature("a", 5, **shown("joy", 0.2)), feature("a", 4, purpose="research")]
    rows += [feature("b", 1, age_band=None, window_id="b-1"), feature("b", 0)]
    land(root, "emotion_features", *rows)
    late = feature("b", 1, revision=4, window_id="b-1", age_band=None)
    served.land(root, "emotion_features", late)
    found = rows_of(root, "SELECT * FROM latest ORDER BY subject_ref, purpose")
    assert [(r["subject_ref"][0], r["purpose"], r["window_id"], r["revision"]) for r in found] == [
        ("a", "recommendation", "a-5-recommendation", 1),
        ("a", "research", "a-4-research", 1),
        ("b", "recommendation", "b-1", 4),
    ]
    assert found[0]["abstained"]
    assert found[0]["expression"] is None


def test_daily_trend_leaves_what_abstained_out_of_means_and_shares(root: Path) -> None:
    day = int(timedelta(days=1) / LENGTH)
    joy, anger, unsure = shown("joy", 0.7), shown("anger", 0.5), shown("fear", 0.3)
    rows = [feature("a", 0, **joy), feature("a", 1, **joy), feature("b", 0, **anger)]
    rows += [feature("b", 1, **unsure), feature("c", day, **unsure)]
    land(root, "emotion_features", *rows, feature("a", 0, purpose="research", **anger))
    first, research, second = rows_of(
        root, "SELECT * FROM daily_trend ORDER BY event_date, purpose"
    )
    assert (first["windows"], first["subjects"], first["abstained"]) == (4, 2, 1)
    assert first["valence"] == pytest.approx((2 * joy["valence"] + anger["valence"]) / 3)
    assert first["arousal"] == pytest.approx((2 * joy["arousal"] + anger["arousal"]) / 3)
    assert first["share_joy"] == pytest.approx(2 / 3)
    assert first["share_anger"] == pytest.approx(1 / 3)
    assert sum(first[f"share_{label}"] for label in EXPRESSIONS) == pytest.approx(1)
    assert (research["purpose"], research["windows"], research["share_anger"]) == ("research", 1, 1)
    assert second["event_date"] == (BEGIN + timedelta(days=1)).date()
    assert (second["windows"], second["abstained"]) == (1, 1)
    assert second["valence"] is second["arousal"] is second["share_joy"] is None


def test_scene_mood_is_by_the_hour_in_utc(root: Path) -> None:
    hour = int(timedelta(hours=1) / LENGTH)
    rows = [feature("a", n) for n in (0, 1, hour - 1, hour)]
    land(root, "emotion_features", *rows, feature("b", 0, scene_id="arena"))
    found = rows_of(root, "SELECT * FROM scene_mood ORDER BY scene_id, hour")
    assert [(r["scene_id"], r["hour"], r["windows"]) for r in found] == [
        ("arena", BEGIN, 1),
        ("plaza", BEGIN, 3),
        ("plaza", BEGIN + timedelta(hours=1), 1),
    ]


def entropy(p: np.ndarray) -> float:
    return -sum(float(x) * math.log(x) for x in p if x > 0)


def test_disagreement_is_the_divergence_of_the_modalities_of_a_window(root: Path) -> None:
    land(
        root,
        "observations",
        observation("a", 0, "text", **shown("joy", 0.9)),
        observation("a", 0, "text", 1, **shown("sadness", 0.6)),
        observation("a", 0, "voice", **shown("anger", 0.8)),
        observation("a", 0, "face", **shown("fear", 0.2)),  # abstained: says nothing
        observation("a", 1, "text"),  # one modality
        observation("a", 2, "text"),
        observation("a", 2, "face"),
        observation("b", 0, "text", age_band=None),
        observation("b", 0, "voice", age_band=None),
        observation("c", 0, "text", purpose="research"),  # of another window than the next
        observation("c", 0, "voice"),
    )
    rows = [feature("a", n) for n in range(3)] + [feature("b", 0, age_band=None)]
    land(root, "emotion_features", *rows, feature("c", 0), feature("c", 0, purpose="research"))
    first, same, null = rows_of(
        root, "SELECT * FROM disagreement ORDER BY subject_ref, window_start"
    )
    text = (0.9 * np.array(scores_of("joy", 0.9)) + 0.6 * np.array(scores_of("sadness", 0.6))) / 1.5
    voice = np.array(scores_of("anger", 0.8))
    expected = entropy((text + voice) / 2) - (entropy(text) + entropy(voice)) / 2
    assert first["window_id"] == "a-0-recommendation"
    assert first["disagreement"] == pytest.approx(expected / math.log(2), abs=1e-5)
    assert (first["text"], first["voice"], first["face"]) == ("joy", "anger", None)
    assert first["modalities"] == 2
    apart = np.array([shown("joy", 0.9)["valence"], shown("sadness", 0.6)["valence"]])
    weighed = float(apart @ [0.9, 0.6]) / 1.5
    spread = abs(weighed - float(shown("anger", 0.8)["valence"]))
    assert first["valence_spread"] == pytest.approx(spread, abs=1e-5)
    assert (same["window_start"], same["text"], same["face"]) == (BEGIN + 2 * LENGTH, "joy", "joy")
    assert same["disagreement"] == pytest.approx(0, abs=1e-6)
    assert (null["subject_ref"], null["age_band"]) == (subject("b"), None)


def test_opposites_disagree_by_one(root: Path) -> None:
    land(
        root,
        "observations",
        *(
            observation("a", 0, modality, **shown(expression, 1.0))
            for modality, expression in zip(MODALITIES, ("joy", "anger", "fear"), strict=False)
        ),
    )
    land(root, "emotion_features", feature("a", 0))
    (row,) = rows_of(root, "SELECT * FROM disagreement")
    assert row["disagreement"] == pytest.approx(1)
    assert row["modalities"] == 3


def test_coverage_counts_what_was_estimated_abstained_and_refused(root: Path) -> None:
    seen = [observation("a", n, "text") for n in range(3)]
    seen.append(observation("a", 3, "text", **shown("joy", 0.2)))
    land(root, "observations", *seen, observation("a", 0, "voice"))
    land(root, "refusals", *(refusal("a", n, "voice") for n in range(3)), refusal("b", 0, "face"))
    land(root, "refusals", refusal("b", 1, "context"))
    counts = [{"n_text": 1, "n_voice": int(n == 0)} for n in range(4)]
    land(root, "emotion_features", *(feature("a", n, **count) for n, count in enumerate(counts)))
    found = {row["modality"]: row for row in rows_of(root, "SELECT * FROM coverage")}
    assert found.keys() == set(MODALITIES)
    assert pick(found["text"]) == (4, 1, 0.25, 0, 0, 4, 1)
    assert pick(found["voice"]) == (1, 0, 0, 3, 0.75, 1, 0.25)
    assert pick(found["face"]) == (0, 0, None, 1, 1, 0, 0)
    assert pick(found["motion"]) == (0, 0, None, 0, None, 0, 0)


def pick(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("observed", "abstained", "abstained_share", "refused", "refused_share", "windows")
    return tuple(row[name] for name in (*names, "window_share"))


def test_coverage_of_observations_that_were_kept_no_longer_is_null(root: Path) -> None:
    land(root, "emotion_features", feature("a", 0))
    text = next(row for row in rows_of(root, "SELECT * FROM coverage") if row["modality"] == "text")
    assert pick(text) == (None, None, None, 0, None, 1, 1)


def test_views_follow_a_table_that_lacks_a_column_that_came_later(tmp_path: Path) -> None:
    row = feature("a", 0)
    schema = TABLES["emotion_features"].schema
    old = pa.schema([field for field in schema if field.name != "lesson_state"])
    whole = [{name: row.get(name) for name in old.names}]
    write_deltalake(tmp_path / "emotion_features", pa.Table.from_pylist(whole, schema=old))
    (found,) = rows_of(tmp_path, "SELECT * FROM latest")
    assert found["p_joy"] == pytest.approx(0.7)
    assert "lesson_state" not in found


def test_views_join_tables_and_stand_where_tables_are_listed(root: Path) -> None:
    land(root, "emotion_features", feature("a", 0))
    joined = "SELECT l.p_joy, t.windows FROM latest l JOIN daily_trend t USING (event_date)"
    assert rows_of(root, joined)[0]["windows"] == 1
    listed = {row["table_name"] for row in rows_of(root, "SHOW TABLES")}
    assert {*TABLES, *VIEWS} <= listed
    assert query(root, "DESCRIBE latest")["column_name"].to_pylist() == VIEWS["latest"].schema.names
    named_like_a_view = "WITH latest AS (SELECT 1 AS a) SELECT a FROM latest"
    assert rows_of(root, named_like_a_view) == [{"a": 1}]
