"""What came with events stands on the page as it is, and turns nothing around."""

import math

import pandas as pd
import pytest

from pipelines.serve.dashboard.selection import Selection
from pipelines.serve.dashboard.view import escape, percent, plain, short
from tests.support.served import BEGIN


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plaza", "plaza"),
        ("广场", "广场"),
        ("a\nb\x00", "a\\nb\\x00"),
        ("\u202etxt", "\\u202etxt"),
        ("\u2066x\u2069\u200e", "\\u2066x\\u2069\\u200e"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "…"),
        (None, "–"),
        (math.nan, "–"),
        (pd.NaT, "–"),
        (7, "7"),
    ],
)
def test_a_text_is_made_plain(given: object, shown: str) -> None:
    assert plain(given) == shown


def test_markdown_is_escaped() -> None:
    assert escape("[x](http://y) ![z] :red[a] $b$ <i>") == (
        r"\[x\]\(http\://y\) \!\[z\] \:red\[a\] \$b\$ \<i\>"
    )


def test_of_a_pseudonym_eight_digits_are_shown() -> None:
    assert short("0123456789abcdef" * 2) == "01234567"


def test_a_share_of_nothing_is_no_share() -> None:
    assert (percent(1, 3), percent(0, 0)) == ("33%", "–")


def test_a_selection_reads_only_the_days_that_it_spans() -> None:
    where = Selection(BEGIN.date(), BEGIN, 5, ("it's",), ("s", "w")).where("window_start")
    assert where == (
        "event_date BETWEEN DATE '2090-11-30' AND DATE '2090-11-30' "
        "AND window_start >= TIMESTAMP '2090-11-30T10:00:00.000000Z' "
        "AND scene_id = 'it''s' AND session_ref = 's' AND subject_ref = 'w'"
    )
