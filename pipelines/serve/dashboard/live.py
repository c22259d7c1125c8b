"""The live view: valence and arousal, and what each modality showed, up to the newest window."""

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from pipelines.serve.dashboard import charts
from pipelines.serve.dashboard.selection import Selection, choose_selection
from pipelines.serve.dashboard.view import Page, ink, percent, show_chart
from schemas.modalities import MODALITIES


def show_live(page: Page) -> None:
    """Show the chosen windows, and at the end the version that they are of."""
    chosen = choose_selection(page)
    if chosen is None:
        return
    points = _points(page, chosen)
    if points.empty:
        st.info(page.say("nothing"))
    else:
        _show_figures(page, points)
        _show_values(page, points)
        _show_timeline(page, chosen)
    version = page.reader.version("emotion_features")
    st.caption(page.say("version", table="emotion_features", version=version))


def _points(page: Page, chosen: Selection) -> pd.DataFrame:
    """Return one row for each point of time: counts, means without abstentions, the newest end."""
    shown = "FILTER (WHERE NOT abstained)"
    return page.reader.rows(
        f"SELECT {chosen.bins('window_start')} AS time, count(*) AS windows, "
        "count(*) FILTER (WHERE abstained) AS abstained, "
        f"avg(valence) {shown} AS valence, avg(arousal) {shown} AS arousal, "
        "avg(confidence) AS confidence, max(window_end) AS newest "
        f"FROM emotion_features WHERE {chosen.where('window_start')} GROUP BY 1 ORDER BY 1",
        "emotion_features",
    )


def _show_figures(page: Page, points: pd.DataFrame) -> None:
    windows = int(points["windows"].sum())
    sure = (points["confidence"] * points["windows"]).sum() / windows
    newest: datetime = points["newest"].max()
    figures = (
        ("newest_window", f"{newest.astimezone(UTC):%H:%M:%S}"),
        ("windows", f"{windows:,}"),
        ("abstained", percent(points["abstained"].sum(), windows)),
        ("confidence", f"{sure:.2f}"),
    )
    for place, (name, value) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(page.say(name), value)


def _show_values(page: Page, points: pd.DataFrame) -> None:
    st.subheader(page.say("valence_arousal"))
    st.caption(page.say("valence_arousal_note"))
    long = points.melt(["time"], ["valence", "arousal"], "measure").assign(
        measure=lambda rows: rows["measure"].map(page.say.name)
    )
    names = ("time", "valence", "arousal", "windows", "abstained", "confidence")
    columns = {name: page.say(name) for name in names}
    spec = charts.valence_arousal(page.say)
    show_chart(page, spec, long, "valence_arousal", columns, points[::-1])


def _show_timeline(page: Page, chosen: Selection) -> None:
    st.subheader(page.say("timeline"))
    st.caption(page.say("timeline_note"))
    rows = _surest(_shown(page, chosen))
    if rows.empty:
        return
    say, width = page.say, pd.Timedelta(seconds=chosen.bin_s)
    drawn = rows.assign(
        until=rows["time"] + width * 0.9,
        middle=rows["time"] + width * 0.45,
        at=rows["time"].dt.strftime("%H:%M:%S"),
        shown=rows["expression"].map(lambda name: charts.legend_name(say, name)),
        letter=rows["expression"].map(lambda name: charts.letter(say, name)),
        modality=rows["modality"].map(say.name),
        expression=rows["expression"].map(say.name),
    )
    names = ("time", "modality", "expression", "confidence", "events")
    columns = {name: say(name) for name in names}
    show_chart(page, charts.timeline(say, ink()), drawn, "timeline", columns, drawn[::-1])


def _shown(page: Page, chosen: Selection) -> pd.DataFrame:
    """Count each expression that was shown in a point of time, by modality; null: abstained."""
    counted = "count(*) AS events, avg(confidence) AS confidence"
    fused = (
        f"SELECT {chosen.bins('window_start')} AS time, 'fused' AS modality, expression, {counted} "
        f"FROM emotion_features WHERE {chosen.where('window_start')} GROUP BY 1, 2, 3"
    )
    if page.reader.version("observations") is None:
        return page.reader.rows(fused, "emotion_features")
    by_modality = (
        f"SELECT {chosen.bins('event_time')} AS time, modality, expression, {counted} "
        f"FROM observations WHERE {chosen.where('event_time')} GROUP BY 1, 2, 3"
    )
    both = f"{by_modality} UNION ALL {fused}"
    return page.reader.rows(both, "observations", "emotion_features")


def _surest(counted: pd.DataFrame) -> pd.DataFrame:
    """Keep of each point and modality the expression with the most confidence, summed.

    An abstention stays only where nothing else was shown.
    """
    weighed = counted.assign(
        weight=counted["events"] * counted["confidence"] * counted["expression"].notna(),
        expression=counted["expression"].fillna("abstained"),
        place=counted["modality"].map({name: n for n, name in enumerate(MODALITIES)}),
    )
    order = weighed.sort_values(["time", "place", "weight", "expression"])
    return order.drop_duplicates(["time", "modality"], keep="last", ignore_index=True)
