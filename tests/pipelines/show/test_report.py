import re
from html.parser import HTMLParser

import pytest

from pipelines.show.report import write_report
from pipelines.show.screen import COLOURS
from schemas.errors import AffectstreamError
from tests.support.synthetic_tables import (
    START,
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

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Balance(HTMLParser):
    """Follows the open elements; a stray or crossed end tag fails."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    truth = tmp_path_factory.mktemp("truth") / "truth.parquet"
    known = write_session(root, truth, subjects=5, windows=12)
    return write_report(root, truth.with_name("report.html"), known).read_text(encoding="utf-8")


def test_the_page_is_whole_and_holds_every_picture(page):
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert balance.seen["svg"] == 8
    for title in (
        "Expressions over time",
        "Agreement with the ground truth",
        "Decisions by action",
        "Dead letters and refusals",
        "Where the time went",
    ):
        assert f"<h2>{title}</h2>" in page
    assert len(page) < 3_000_000


def test_it_says_first_what_it_is_not(page):
    first = page.index("never a finding of what a person feels")
    assert first < page.index("<h2>")


def test_nothing_is_loaded_from_anywhere(page):
    outside = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(script|link|img|iframe|object)\b|@import|\burl\((?!#)", page)
    assert set(re.findall(r"(?:href|src)=\"(.)", page)) <= {"#"}


def test_no_subject_can_be_read_from_it(page):
    assert "player" not in page
    assert ref("player-0")[:6] in page
    assert ref("player-0") not in page


def test_pictures_follow_the_pages_ink_and_name_each_expression(page):
    assert "currentColor" in page
    assert "var(--line)" in page
    assert "#010203" not in page
    assert all(name in page and colour.lower() in page for name, colour in COLOURS.items())
    assert "prefers-color-scheme: dark" in page


def test_figures_of_the_page_are_those_of_the_tables(tmp_path):
    root = tmp_path / "tables"
    truth = write_session(root, tmp_path / "t.parquet", subjects=2, windows=6)
    page = write_report(root, tmp_path / "r.html", truth).read_text()
    assert "<td>dead_letters</td><td>4</td>" in page
    assert "consent_withdrawn · GDPR 7(3)" in page
    assert "78% of the time was spent inside model forward passes" in page


def test_each_purpose_of_a_session_is_drawn(tmp_path):
    truth = write_mixed_session(tmp_path / "t", tmp_path / "truth.parquet")
    path = write_report(tmp_path / "t", tmp_path / "r.html", truth)
    page = path.read_text(encoding="utf-8")
    assert "3 of 3 sessions and 9 of 9 windows" in page
    assert "counts once for each" in page
    assert page.count(f"{ref('p')[:6]} research game –") == 2  # in the timeline and over a panel


def test_tables_without_windows_or_runs_say_so(tmp_path):
    land(tmp_path / "t", "refusals", [refusal("r", "p", "consent_unknown", "GDPR 9")])
    truth = write_truth(tmp_path / "t.parquet", [truth_row("r", "p", START, "voice", "joy")])
    page = write_report(tmp_path / "t", tmp_path / "r.html", truth).read_text(encoding="utf-8")
    for sentence in (
        "The tables hold no window yet.",
        "The tables hold no decision yet.",
        "The tables hold no run yet.",
        "No labelled event has an observation.",
    ):
        assert sentence in page


def test_what_stands_in_has_no_row_but_a_sentence(tmp_path):
    land(tmp_path / "t", "observations", [observation("v", "p", START, "voice", "fear", 0.9)])
    true = truth_row("v", "p", START, "voice", "joy", stand_in="synthesised speech")
    truth = write_truth(tmp_path / "t.parquet", [true])
    page = write_report(tmp_path / "t", tmp_path / "r.html", truth).read_text(encoding="utf-8")
    assert "No score of 1 voice event: synthesised speech" in page
    assert "No labelled event has an observation." not in page
    assert "<td>voice" not in page


def test_without_truth_the_page_says_so(tmp_path):
    land(tmp_path / "t", "runs", [run({})])
    page = write_report(tmp_path / "t", tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No ground truth was given." in page
    assert "No record was unusable" in page


def test_an_unwritable_page_is_one_sentence(tmp_path):
    land(tmp_path / "t", "runs", [run({})])
    with pytest.raises(AffectstreamError, match="cannot write"):
        write_report(tmp_path / "t", tmp_path / "missing" / "r.html")


def test_two_reports_of_the_same_tables_are_equal(tmp_path):
    truth = write_session(tmp_path / "t", tmp_path / "t.parquet", subjects=2, windows=4)
    pages = [
        write_report(tmp_path / "t", tmp_path / f"{n}.html", truth).read_bytes() for n in range(2)
    ]
    assert pages[0] == pages[1]


def test_names_from_a_log_are_text_and_no_markup(tmp_path):
    land(tmp_path / "t", "observations", [observation("v", "p", START, "voice", "fear", 0.9)])
    land(tmp_path / "t", "refusals", [refusal("r", "p", "consent_unknown", "<script>law</script>")])
    true = truth_row("v", "p", START, "voice", "joy", corpus='<script>corpus</script> & "more"')
    truth = write_truth(tmp_path / "t.parquet", [true])
    page = write_report(tmp_path / "t", tmp_path / "r.html", truth).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;corpus&lt;/script&gt; &amp;" in page
    assert "&lt;script&gt;law" in page
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
