"""Training of the filter's learnt part: its lines, its judge and its thresholds."""

import numpy as np

from model_serving.reply.hazard import HAZARDS
from model_serving.reply.hazard_net import judge_odds
from model_serving.training.recipe import read_recipe
from model_serving.training.reply.filter import choose_thresholds, train_judge
from model_serving.training.reply.lines import Line, read_written, readings

RECIPE = read_recipe("reply-filter")


def test_a_line_with_brackets_is_read_in_several_ways() -> None:
    found = readings("[I|we] won[|, at last] [today|again].", np.random.default_rng(0))
    assert len(found) == len(set(found)) == 5
    assert set(found) <= {
        f"{who} won{how} {when}."
        for who in ("I", "we")
        for how in ("", ", at last")
        for when in ("today", "again")
    }


def test_each_kind_and_side_is_written_in_both_languages_and_no_line_is_both() -> None:
    lines = read_written(1)
    kinds = {(line.hazard, line.side) for line in lines}
    assert kinds == {(kind, side) for kind in (*HAZARDS, None) for side in ("person", "reply")}
    assert not any("[" in line.text or "|" in line.text for line in lines)
    hostile = {(k.text.casefold(), k.side) for k in lines if k.hazard}
    assert not hostile & {(k.text.casefold(), k.side) for k in lines if not k.hazard}
    assert lines == read_written(1)


def test_a_judge_learns_what_can_be_told_apart_and_takes_states_as_they_are() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 6, 600)
    centres = 5 * rng.normal(size=(6, 16))
    states = (7 + centres[kinds] + rng.normal(size=(600, 16))).astype(np.float32)
    lines = [Line("", "person", None if k == 0 else HAZARDS[k - 1], "lines") for k in kinds]
    judge = train_judge(states, lines, RECIPE)
    odds = judge_odds(judge, states, "person")
    assert ((odds[:, 0] > 0) == (kinds > 0)).mean() > 0.98
    hostile = kinds > 0
    assert (odds[hostile, 1:].argmax(axis=1) + 1 == kinds[hostile]).mean() > 0.98
    again = judge_odds(train_judge(states, lines, RECIPE), states, "person")
    assert np.array_equal(odds, again)


def test_thresholds_let_so_many_benign_lines_through() -> None:
    lines = [
        Line("", "person", hazard, f"first.{language}")
        for hazard, count in ((None, 50), ("self_harm", 10))
        for language in ("en", "zh")
        for _ in range(count)
    ]
    odds = np.zeros((120, 6))
    odds[:100, 0] = odds[:100, 1] = np.arange(100)
    odds[100:110, 0], odds[110:, 1] = 50, 98.2
    any_above, harm_above, found = choose_thresholds(odds, lines)
    assert 95 < any_above < harm_above < 98.2
    assert found["en, harm to oneself found"] == 0
    assert found["zh, harm to oneself found"] == found["zh, found"] == 1
    assert found["en, false alarms"] == 0
    assert found["zh, false alarms"] == (odds[50:100, 0] > any_above).mean() == 0.06
