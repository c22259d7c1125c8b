"""The mood of scenes: what was shown in each, on average."""

import pandas as pd
import streamlit as st

from pipelines.serve.dashboard import charts
from pipelines.serve.dashboard.selection import Selection, choose_selection
from pipelines.serve.dashboard.view import Page, ink, percent, plain, show_chart

_SCENES = 20


def show_scenes(page: Page) -> None:
    """Show the busiest scenes by mean valence and arousal."""
    chosen = choose_selection(page, sessions=False)
    if chosen is None:
        return
    rows = _scenes(page, chosen)
    if rows.empty:
        st.info(page.say("nothing"))
        return
    st.caption(page.say("scenes_note", count=_SCENES))
    names = ("scene", "windows", "valence", "arousal", "abstained", "most_shown")
    columns = {name: page.say(name) for name in names}
    show_chart(page, charts.scenes(page.say, ink()), rows, "scenes", columns)


def _scenes(page: Page, chosen: Selection) -> pd.DataFrame:
    """Return the scenes with the most windows, and what was shown in most windows of each."""
    where = chosen.where("window_start")
    shown = "FILTER (WHERE NOT abstained)"
    found = page.reader.rows(
        "WITH counted AS (SELECT scene_id, expression, count(*) AS n FROM emotion_features "
        f"WHERE {where} AND expression IS NOT NULL GROUP BY 1, 2), "
        "ranked AS (SELECT scene_id, expression, row_number() OVER "
        "(PARTITION BY scene_id ORDER BY n DESC, expression) AS place FROM counted), "
        "scenes AS (SELECT scene_id, count(*) AS windows, "
        f"avg(valence) {shown} AS valence, avg(arousal) {shown} AS arousal, "
        "count(*) FILTER (WHERE abstained) AS abstained "
        f"FROM emotion_features WHERE {where} GROUP BY 1) "
        "SELECT s.*, r.expression FROM scenes s LEFT JOIN ranked r "
        "ON (r.scene_id IS NOT DISTINCT FROM s.scene_id) AND r.place = 1 "
        f"ORDER BY s.windows DESC, s.scene_id LIMIT {_SCENES}",
        "emotion_features",
    )
    if found.empty:
        return found
    shares = zip(found["abstained"], found["windows"], strict=True)
    return found.assign(
        scene=found["scene_id"].map(plain),
        abstained=[percent(some, whole) for some, whole in shares],
        most_shown=found["expression"].map(page.say.name, na_action="ignore"),
    )
