import io
from datetime import timedelta

import pytest
from rich.console import Console

from pipelines.show.report import write_report
from pipelines.show.screen import CAUSES_SHOWN, show
from pipelines.tables.views import causes, losses, stages_of_last_run, windows_with_decisions
from schemas.errors import QualityCode
from tests.support.synthetic_tables import (
    LENGTH,
    START,
    dead_letter,
    decision,
    feature,
    land,
    observation,
    ref,
    refusal,
    run,
    truth_row,
    write_mixed_session,
    write_session,
    write_truth,
)


def printed(root, truth=None, width=100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    show(root, console, truth)
    return console.export_text()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    truth = tmp_path_factory.mktemp("truth") / "truth.parquet"
    return root, write_session(root, truth, subjects=8, windows=36)


def test_show_prints_every_part_within_eighty_columns(session):
    text = printed(*session, width=80)
    for part in (
        "emotion_features",
        "Shown expression, estimated",
        "Last 12 of",
        "Decisions: ",
        "consent_withdrawn",
        "GDPR 7(3)",
        "bad_json",
        "recognise_voice",
        "Against the ground truth",
        "windows, fused",
    ):
        assert part in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_show_and_report_tell_what_lowered_confidence(tmp_path):
    rows = [observation(str(n), "p", START, "motion", "joy", 0.9) for n in range(8)]
    for row in rows[:6]:
        row["quality"] = "few_shapes"
        row["abstained"] = row is not rows[0]
    rows[7]["quality"] = "of_another_version"
    land(tmp_path, "observations", rows)
    text = " ".join(printed(tmp_path, width=80).split())
    assert "6 few_shapes: 75% of motion, 5 abstained" in text
    assert QualityCode.FEW_SHAPES.meaning in text
    assert "1 of_another_version: 12% of motion, 0 abstained" in text
    page = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert QualityCode.FEW_SHAPES.meaning in page
    assert "of_another_version" in page


def test_what_stands_in_has_no_row_but_a_line(tmp_path):
    land(tmp_path, "observations", [observation("v", "p", START, "voice", "fear", 0.9)])
    land(tmp_path, "emotion_features", [feature("p", START, "fear", 0.9, {"voice": 1})])
    true = truth_row("v", "p", START, "voice", "joy", stand_in="synthesised speech")
    text = printed(tmp_path, write_truth(tmp_path / "truth.parquet", [true]))
    assert not [line for line in text.splitlines() if line.startswith("voice")]
    assert "windows, fused" in text
    assert "No score of 1 voice event: synthesised speech" in text


def test_show_never_prints_a_raw_subject(session):
    assert "player" not in printed(*session)


def test_a_session_is_one_line_of_letters_with_gaps_and_abstentions(tmp_path):
    at = [START + LENGTH * n for n in range(4)]
    rows = [
        feature("p", at[0], "joy", 0.9, {"text": 1}),
        feature("p", at[1], "anger", 0.2, {"voice": 1}),
        feature("p", at[3], "surprise", 0.7, {"face": 12}),
    ]
    land(tmp_path, "emotion_features", rows)
    land(tmp_path, "expression_decisions", [decision(rows[0], "mirror", "confident")])
    text = printed(tmp_path)
    assert f"{ref('p')[:6]}  J ·   U" in text
    assert "mirror (confident)" in text
    assert "mirror 1" in text
    assert "no decision 2" in text
    assert "··+·" in text  # twelve face events do not fit one digit


def test_a_long_session_shows_its_last_windows_and_says_so(tmp_path):
    moods = ["joy"] * 50 + ["fear"]
    rows = [feature("p", START + LENGTH * n, m, 0.9, {"text": 1}) for n, m in enumerate(moods)]
    land(tmp_path, "emotion_features", rows)
    text = printed(tmp_path, width=48)
    line = next(row for row in text.splitlines() if row.startswith(ref("p")[:6]))
    assert line.split()[1:] == ["J"] * 19 + ["F"]
    assert "their last 20 windows are shown" in " ".join(text.split())


def test_windows_carry_their_decision_once_and_stand_in_time_order(tmp_path):
    rows = [feature("p", START + LENGTH * n, "joy", 0.9, {"text": 1}) for n in (2, 0, 1)]
    land(tmp_path, "emotion_features", rows)
    land(tmp_path, "expression_decisions", [decision(rows[1], "mirror", "confident")])
    frame = windows_with_decisions(tmp_path)
    assert frame["window_start"].is_monotonic_increasing
    assert frame["action"].fillna("").tolist() == ["mirror", "", ""]


def test_stages_come_from_the_newest_run(tmp_path):
    old = {"decode": {"rows_in": 1, "rows_out": 1, "seconds": 9.0}}
    new = {
        "decode": {"rows_in": 5, "rows_out": 4, "seconds": 1.0},
        "recognise_text": {"rows_in": 4, "rows_out": 4, "seconds": 3.0, "forward_seconds": 2.0},
    }
    land(tmp_path, "runs", [run(new, minutes=5), run(old, minutes=0)])
    frame = stages_of_last_run(tmp_path)
    assert frame["stage"].tolist() == ["decode", "recognise_text"]
    assert frame["rows_out"].tolist() == [4, 4]
    assert frame["forward_seconds"].fillna(-1).tolist() == [-1, 2.0]


def test_losses_count_by_code_and_keep_a_row_without_an_article(tmp_path):
    land(tmp_path, "dead_letters", [dead_letter(n, "bad_json") for n in range(2)])
    article_less = refusal("a", "p", "notice_missing", "x") | {"article": None}
    land(tmp_path, "refusals", [article_less])
    assert losses(tmp_path).to_dict("records") == [
        {"kind": "dead letter", "code": "bad_json", "where": "decode", "n": 2},
        {"kind": "refusal", "code": "notice_missing", "where": "–", "n": 1},
    ]


def test_one_cause_is_one_line_wherever_in_the_record_it_stands(tmp_path):
    places = [
        dead_letter(n, "bad_json") | {"detail": f"JSON is malformed: invalid character (byte {n})"}
        for n in range(3)
    ]
    land(tmp_path, "dead_letters", places)
    assert causes(tmp_path)[["detail", "n", "example"]].to_dict("records") == [
        {"detail": "JSON is malformed: invalid character", "n": 3, "example": "session.text 0:0"}
    ]
    assert "more cause" not in printed(tmp_path)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (CAUSES_SHOWN + 1, "and 1 more cause, of 2 dead letters"),
        (CAUSES_SHOWN + 4, "and 4 more causes, of 8 dead letters"),
    ],
)
def test_causes_that_are_not_shown_are_counted(tmp_path, kinds, said):
    rows = [dead_letter(n, "bad_json") | {"detail": f"cause {n % kinds}"} for n in range(2 * kinds)]
    land(tmp_path, "dead_letters", rows)
    assert said in printed(tmp_path)


def test_show_of_nothing_but_a_run_says_so(tmp_path):
    land(tmp_path, "runs", [run({})])
    text = printed(tmp_path)
    assert "No dead letter and no refusal." in text
    assert "runs" in text


def test_sessions_of_one_subject_are_separate_lines(tmp_path):
    first = feature("p", START, "joy", 0.9, {"text": 1})
    later = feature("p", START + timedelta(hours=5), "fear", 0.9, {"text": 1})
    land(tmp_path, "emotion_features", [first, later | {"session_ref": ref("another")}])
    lines = [row for row in printed(tmp_path).splitlines() if row.startswith(ref("p")[:6])]
    assert [line.split()[1:] for line in lines] == [["J"], ["F"]]


def test_purposes_of_one_session_are_lines_that_say_what_tells_them_apart(tmp_path):
    write_mixed_session(tmp_path, tmp_path / "truth.parquet")
    text = printed(tmp_path, width=120)
    who = ref("p")[:6]
    begin = text.index("Shown expression")
    lines = [row for row in text[begin:].splitlines() if row.startswith(who)]
    assert sorted(line[len(who) :].rstrip() for line in lines) == [
        " entertainment game adult    J J J J",
        " entertainment social adult      F F",
        " research game –               A A A",
    ]
    assert "Last 9 of 9 windows" in text
    assert text.count(f"{who} research game –") == 4  # a line, and three listed windows
    assert "observe 9" in text


def test_a_null_that_all_rows_share_tells_nothing_apart(tmp_path):
    rows = [
        feature("p", START + LENGTH * n, "joy", 0.9, {"text": 1}) | {"age_band": None}
        for n in range(2)
    ]
    land(tmp_path, "emotion_features", rows)
    assert f"{ref('p')[:6]}  J J" in printed(tmp_path)
