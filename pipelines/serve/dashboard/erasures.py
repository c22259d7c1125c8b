"""Erasures: proofs, requests whose rows still stand, and withdrawals by day."""

import pandas as pd
import streamlit as st

from pipelines.serve.dashboard import charts
from pipelines.serve.dashboard.view import Page, ink, short, show_chart, show_table
from pipelines.serve.literals import text
from schemas.table import PARTITION
from schemas.tables import TABLES

_REQUESTS = 100
_DAYS = 30
_LEDGER = "consent_ledger"
_PROOFS = "erasures"


def show_erasures(page: Page) -> None:
    """Show what people withdrew and asked to be erased, and how far that is."""
    _show_proofs(page)
    counted = page.reader.rows(
        f"SELECT {PARTITION} AS day, action, count(DISTINCT person_ref) AS count FROM {_LEDGER} "
        "WHERE action IN ('erasure_requested', 'withdrawn') GROUP BY 1, 2 "
        f"ORDER BY 1 DESC, 2 LIMIT {2 * _DAYS}",
        _LEDGER,
    )
    if counted.empty:
        st.info(page.say("none"))
        return
    st.subheader(page.say("day_counts"))
    rows = counted.assign(
        day=counted["day"].astype(str), action=counted["action"].map(page.say.name)
    ).sort_values(["day", "action"])
    columns = {name: page.say(name) for name in ("day", "action", "count")}
    show_chart(page, charts.erasures(page.say, ink()), rows, "erasures", columns)
    _show_requests(page)


def _show_proofs(page: Page) -> None:
    st.subheader(page.say("proofs"))
    st.caption(page.say("proofs_note", count=_REQUESTS))
    found = page.reader.rows(
        "SELECT erasure_id, requested_at, completed_at, rows_deleted, files_deleted "
        f"FROM {_PROOFS} ORDER BY requested_at DESC, 1 LIMIT {_REQUESTS}",
        _PROOFS,
    )
    if found.empty:
        st.info(page.say("none"))
        return
    rows = found.assign(
        day=found["requested_at"].dt.strftime("%Y-%m-%d %H:%M"),
        state=[
            page.say("erasure_open" if pd.isna(at) else "erasure_proved")
            for at in found["completed_at"]
        ],
    )
    names = ("day", "erasure_id", "state", "rows_deleted", "files_deleted")
    show_table(rows, {name: page.say(name) for name in names}, "proofs_table")


def _show_requests(page: Page) -> None:
    st.subheader(page.say("requests"))
    st.caption(page.say("erasures_note", count=_REQUESTS))
    found = page.reader.rows(
        "SELECT subject_ref, region, max(event_time) AS asked, "
        f"max(recorded_at) AS recorded FROM {_LEDGER} WHERE action = 'erasure_requested' "
        f"GROUP BY 1, 2 ORDER BY asked DESC, 1 LIMIT {_REQUESTS}",
        _LEDGER,
    )
    if found.empty:
        st.info(page.say("none"))
        return
    left = _tables_with_rows(page, found)
    rows = found.assign(
        day=found["asked"].dt.strftime("%Y-%m-%d"),
        subject=found["subject_ref"].map(short),
        state=[page.say("erasure_open" if tables else "erasure_done") for tables in left],
        tables=[", ".join(tables) or "–" for tables in left],
    )
    names = ("day", "subject", "region", "state", "tables")
    show_table(rows, {name: page.say(name) for name in names}, "requests_table")


def _tables_with_rows(page: Page, requests: pd.DataFrame) -> list[list[str]]:
    """Return for each request the tables that have rows of the subject from before it.

    The request itself is a row of the ledger, which goes with the others when it is carried out.
    """
    subjects = ", ".join(text(ref) for ref in sorted(requests["subject_ref"].dropna().unique()))
    found: list[list[str]] = [[] for _ in range(len(requests))]
    for table in TABLES.values():
        if table.subject is None or table.time is None or table.name == _LEDGER or not subjects:
            continue
        first = page.reader.rows(
            f"SELECT {table.subject} AS subject_ref, min({table.time}) AS first "
            f"FROM {table.name} WHERE {table.subject} IN ({subjects}) GROUP BY 1",
            table.name,
        )
        if first.empty:
            continue
        oldest = requests["subject_ref"].map(first.set_index("subject_ref")["first"])
        for place, (since, asked) in enumerate(zip(oldest, requests["asked"], strict=True)):
            if pd.notna(since) and since <= asked:
                found[place].append(table.name)
    return found
