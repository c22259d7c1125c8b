"""The review queue: what a person should look at, why it was decided, and what they say of it."""

import pandas as pd
import streamlit as st

from pipelines.review.label import is_reviewer, store_review
from pipelines.serve.dashboard.decisions import show_explanation
from pipelines.serve.dashboard.view import (
    Page,
    choose,
    escape,
    plain,
    short,
    show_refreshed,
    show_table,
)
from schemas.errors import AffectstreamError
from schemas.table import PARTITION
from schemas.vocabularies import EXPRESSIONS, REVIEWER_DECISIONS
from transforms.deciding.reviews import REASONS

_SHOWN = 100
_COUNTS_S = 2.0


def show_reviews(page: Page) -> None:
    """Show how many reviews there are, the newest of them, and a form for the chosen one."""
    show_refreshed(_show_counts, page, _COUNTS_S)
    show_refreshed(_show_queue, page, None)


def _show_counts(page: Page) -> None:
    found = page.reader.rows(
        "SELECT count(*) FILTER (WHERE reviewer_decision IS NULL) AS open, "
        "count(reviewer_decision) AS decided FROM review_queue",
        "review_queue",
    )
    counts = (0, 0) if found.empty else (found["open"][0], found["decided"][0])
    for place, name, count in zip(
        st.columns(2), ("open_reviews", "decided_reviews"), counts, strict=True
    ):
        place.metric(page.say(name), f"{count:,}")


def _show_queue(page: Page) -> None:
    if message := st.session_state.pop("stored_review", None):
        st.success(message)
    shown_at, again_at = st.columns([3, 1], vertical_alignment="bottom")
    which = choose(page, "queue", ["open", "decided"], lambda q: page.say(f"queue_{q}"), shown_at)
    again_at.button(page.say("load_again"), key="load_again")
    st.caption(page.say("queue_note", count=_SHOWN))
    rows = _queue(page, decided=which == "decided")
    if rows.empty:
        st.info(page.say("none"))
        return
    _list(page, rows)
    known = rows.set_index("review_id")
    chosen = choose(
        page,
        "choose_review",
        list(known.index),
        lambda review_id: _label(review_id, known.loc[review_id]),
        lasting=False,
    )
    _show_form(page, chosen, known.loc[chosen])
    show_explanation(page, known.loc[chosen]["decision_id"])


def _queue(page: Page, *, decided: bool) -> pd.DataFrame:
    names = (
        *("review_id", "decision_id", "subject_ref", "scenario", "reason", "confidence"),
        *("window_end", "reviewer_decision", "reviewed_by", "reviewed_at", PARTITION),
    )
    state = "IS NOT NULL" if decided else "IS NULL"
    return page.reader.rows(
        f"SELECT {page.reader.present('review_queue', *names)} FROM review_queue "
        f"WHERE reviewer_decision {state} ORDER BY window_end DESC, review_id LIMIT {_SHOWN}",
        "review_queue",
    )


def _list(page: Page, rows: pd.DataFrame) -> None:
    shown = rows.assign(
        subject=rows["subject_ref"].map(short),
        said=rows["reviewer_decision"].map(lambda said: _said(page, said), na_action="ignore"),
        reviewed_at=pd.to_datetime(rows["reviewed_at"], utc=True),
        meaning=rows["reason"].map(lambda why: _reason(page, why)),
    )
    headings = {
        "window_end": "time",
        "subject": "subject",
        "scenario": "scenario",
        "confidence": "confidence",
        "meaning": "reason",
        "said": "said",
        "reviewed_by": "reviewed_by",
        "reviewed_at": "reviewed_at",
    }
    show_table(shown, {name: page.say(key) for name, key in headings.items()}, "reviews_table")


def _label(review_id: str, row: pd.Series) -> str:
    parts = (f"{row['window_end']:%H:%M:%S}", short(row["subject_ref"]), row["scenario"])
    return " · ".join(plain(part) for part in (*parts, row["reason"], short(review_id)))


def _show_form(page: Page, review_id: str, row: pd.Series) -> None:
    with st.form("review", clear_on_submit=False):
        label = st.radio(
            page.say("label"),
            REVIEWER_DECISIONS,
            format_func=lambda said: _said(page, said),
            index=None,  # what is chosen beforehand is stored unread
            key=f"label_{review_id}_{page.say.language}",
            horizontal=True,
        )
        reviewer = st.text_input(
            page.say("reviewer"),
            page.reviewer,
            key="reviewer",
            help=page.say("reviewer_help"),
            max_chars=64,
            persist_state="session",
        )
        if not st.form_submit_button(page.say("store"), key="store"):
            return
    if label is None:
        st.warning(page.say("choose_label"))
        return
    if not is_reviewer(reviewer):
        st.warning(escape(page.say("reviewer_help")))
        return
    try:
        store_review(page.reader.root, review_id, row[PARTITION], label, reviewer)
    except AffectstreamError as error:
        st.warning(escape(str(error)))
        return
    said = page.say("stored", label=_said(page, label), reviewer=reviewer)
    st.session_state["stored_review"] = escape(said)
    st.rerun(scope="fragment")


def _said(page: Page, said: str) -> str:
    if said in EXPRESSIONS:
        return page.say("instead", expression=page.say(said))
    return page.say(said) if said in REVIEWER_DECISIONS else plain(said)


def _reason(page: Page, reason: str) -> str:
    return page.say(f"reason_{reason}") if reason in REASONS else plain(reason)
