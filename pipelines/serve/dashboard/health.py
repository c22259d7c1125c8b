"""How the stream does: how far it is behind, how much it does, what it lost and why."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import streamlit as st

from pipelines.serve.dashboard import charts
from pipelines.serve.dashboard.codes import meaning
from pipelines.serve.dashboard.selection import Selection, choose_selection
from pipelines.serve.dashboard.supervisor import read_metrics
from pipelines.serve.dashboard.view import Page, escape, show_chart, show_table
from schemas.table import NO_DAY, PARTITION
from schemas.tables import TABLES

_CAUSES = 50
_DAYS = 7


def show_health(page: Page) -> None:
    """Show freshness, lag, throughput, losses by cause, and how the tables stand."""
    _show_stream(page)
    chosen = choose_selection(page, sessions=False)
    if chosen is not None:
        _show_freshness(page, chosen)
        _show_throughput(page, chosen)
    _show_causes(page, "dead_letters", ("stage", "code"))
    _show_causes(page, "refusals", ("article", "code"))
    _show_tables(page)


def _show_freshness(page: Page, chosen: Selection) -> None:
    now = datetime.now(UTC)
    end = page.reader.end("emotion_features", chosen.day)
    committed = page.reader.committed_at("emotion_features")
    points = _per_point(page, chosen)
    figures = (
        ("behind_clock", _duration(now - end) if end else "–"),
        ("since_commit", _duration(now - committed) if committed else "–"),
        ("throughput", _rate(points, chosen.bin_s)),
    )
    for place, (name, value) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(page.say(name), value)


def _rate(points: pd.DataFrame, bin_s: int) -> str:
    """Return the events per second from the first point that has any to the last."""
    if points.empty:
        return "–"
    lasted = (points["time"].max() - points["time"].min()).total_seconds() + bin_s
    return f"{points['events'].sum() / lasted:,.1f}"


def _show_stream(page: Page) -> None:
    found = read_metrics(page.metrics_url)
    if found is None:
        st.caption(page.say("no_metrics", url=escape(page.metrics_url)))
        return
    states = {True: "running", False: "stopped", None: "unknown"}
    figures = (
        ("job", page.say(states[found.running])),
        ("watermark_delay", "–" if found.delay_s is None else f"{found.delay_s:,.1f} s"),
        ("lag", "–" if found.lag is None else f"{found.lag:,.0f}"),
    )
    for place, (name, value) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(page.say(name), value)


def _per_point(page: Page, chosen: Selection) -> pd.DataFrame:
    found = page.reader.rows(
        f"SELECT {chosen.bins('event_time')} AS time, modality, count(*) AS events "
        f"FROM observations WHERE {chosen.where('event_time')} GROUP BY 1, 2 ORDER BY 1, 2",
        "observations",
    )
    return found if len(found) else pd.DataFrame({"time": [], "modality": [], "events": []})


def _show_throughput(page: Page, chosen: Selection) -> None:
    st.subheader(page.say("throughput_over_time"))
    found = _per_point(page, chosen)
    if found.empty:
        st.info(page.say("nothing"))
        return
    drawn = found.assign(
        per_s=found["events"] / chosen.bin_s, modality=found["modality"].map(page.say.name)
    )
    columns = {name: page.say(name) for name in ("time", "modality", "events")}
    columns["per_s"] = page.say("throughput")
    show_chart(page, charts.throughput(page.say), drawn, "throughput", columns, drawn[::-1])


def _show_causes(page: Page, table: str, causes: tuple[str, str]) -> None:
    """Count the newest days' rows by cause. A dead letter of which no time is known counts too."""
    st.subheader(page.say(table))
    days = [day for day in page.reader.days(table) if day != NO_DAY]
    oldest = max(days) - timedelta(days=_DAYS - 1) if days else NO_DAY
    found = page.reader.rows(
        f"SELECT {', '.join(causes)}, count(*) AS count FROM {table} "
        f"WHERE {PARTITION} >= DATE '{oldest}' OR {PARTITION} = DATE '{NO_DAY}' "
        f"GROUP BY 1, 2 ORDER BY count DESC, 1, 2 LIMIT {_CAUSES}",
        table,
    )
    if found.empty:
        st.info(page.say("none"))
        return
    st.caption(page.say("newest_days", count=_DAYS))
    language = page.say.language
    told = found.assign(meaning=found["code"].map(lambda code: meaning(code, language)))
    columns = {name: page.say(name) for name in (*causes, "count", "meaning")}
    show_table(told, columns, f"{table}_table")


def _show_tables(page: Page) -> None:
    st.subheader(page.say("tables"))
    reader = page.reader
    standing = [name for name in TABLES if reader.version(name) is not None]
    rows = pd.DataFrame(
        {
            "table": standing,
            "rows": [reader.count(name) for name in standing],
            "version": [reader.version(name) for name in standing],
            "since_commit": [_since(page, name) for name in standing],
        }
    )
    columns = {
        "table": page.say("table"),
        "rows": page.say("rows"),
        "version": page.say("table_version"),
        "since_commit": page.say("since_commit"),
    }
    show_table(rows, columns, "tables_table")


def _since(page: Page, name: str) -> str:
    committed = page.reader.committed_at(name)
    return "–" if committed is None else _duration(datetime.now(UTC) - committed)


def _duration(length: timedelta) -> str:
    """Return a length of time with its two largest units."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 120:
        return f"{minutes} min {seconds % 60} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{days} d {hours % 24} h"
