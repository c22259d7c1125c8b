"""What every view gets and does: the tables, the language, values made fit to be shown."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from pipelines.serve.dashboard.reader import Reader
from pipelines.serve.dashboard.texts import Speaker
from pipelines.show.escapes import escape_controls
from schemas.errors import AffectstreamError

REFRESH_S = 0.5
"""How often a live view looks for a commit, which costs the server 30 ms for each viewer."""
_LONGEST = 80
_REF = 8
"""Hex digits of a pseudonym that are shown."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a view is shown with.

    ``metrics_url`` is where a live job's supervisor may answer; ``note`` logs what is looked at,
    and the subjects whose rows these are.
    """

    reader: Reader
    say: Speaker
    metrics_url: str
    reviewer: str
    note: Callable[..., None]


def show_refreshed(view: Callable[[Page], None], page: Page, every_s: float | None) -> None:
    """Show a view again and again; what is wrong with the tables is one sentence until it is not.

    Only the view runs again, not the page around it; None: only when its controls are used.
    """

    @st.fragment(run_every=every_s)
    def run() -> None:
        try:
            page.reader.check_root()
            view(page)
        except AffectstreamError as error:
            st.warning(escape(str(error)))

    run()


def choose(
    page: Page,
    key: str,
    options: list[Any],
    label: Callable[[Any], str] = str,
    place: Any = st,
    *,
    lasting: bool = True,
) -> Any:
    """Let the viewer choose one of these; the choice outlives other views and languages.

    A ``lasting`` choice outlives its option too, as a scene in which nobody is for a while.
    """
    own, widget = f"chosen_{key}", f"{key}_{page.say.language}"
    known, chosen = options, st.session_state.get(own, options[0])
    if chosen not in options and lasting:
        known = [*options, chosen]
    elif chosen not in options:
        chosen = options[0]
        st.session_state.pop(widget, None)
    found = place.selectbox(
        page.say(key), known, known.index(chosen), format_func=label, key=widget
    )
    # Streamlit knows an option by its label, and hands on a label that it does not find.
    st.session_state[own] = found if found in known else chosen
    return st.session_state[own]


def plain(value: object) -> str:
    """Return a text that came with an event as one line that shows what is in it.

    Control and format characters, which could turn the text around, stand as their escapes; what
    is long is cut.
    """
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "–"
    shown = escape_controls(str(value)[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def escape(value: str) -> str:
    """Return a text for a place that reads Markdown, so that it stands there as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:" else c for c in value)


def short(ref: object) -> str:
    """Return the first digits of a pseudonym."""
    return plain(ref)[:_REF]


def ink() -> str:
    """Return the colour of texts in pictures, which Vega would draw black on a dark page too."""
    return "#E8E8E8" if st.context.theme.type == "dark" else "#31333F"


def percent(part: float, whole: float) -> str:
    """Return a share as a whole percentage, – where there is nothing to share."""
    return f"{part / whole:.0%}" if whole else "–"


def show_chart(
    page: Page,
    spec: Mapping[str, Any],
    data: pd.DataFrame,
    key: str,
    columns: Mapping[str, str],
    values: pd.DataFrame | None = None,
) -> None:
    """Show a chart, and what it shows as a table for whoever does not see it or uses no mouse.

    ``columns`` are those of the table, with their headings; ``values`` its rows where they are not
    those of the chart.
    """
    st.vega_lite_chart(data, dict(spec), key=key, alt=page.say(f"{key}_alt"))
    title = f"{page.say('as_table')}: {page.say(key)}"
    with st.expander(title, key=f"{key}_open", on_change="rerun") as table:
        if table.open:
            show_table(data if values is None else values, columns, f"{key}_table")


def show_table(rows: pd.DataFrame, columns: Mapping[str, str], key: str) -> None:
    """Show these columns of the rows under these headings: three digits, times in UTC."""
    shown = pd.DataFrame({heading: _cells(rows[name]) for name, heading in columns.items()})
    st.dataframe(shown, hide_index=True, key=key, height="content" if len(shown) < 12 else 420)


def _cells(column: pd.Series) -> pd.Series:
    """Return a column as it is shown. Texts are made plain: they came with events."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.strftime("%Y-%m-%d %H:%M:%S").fillna("–")
    if pd.api.types.is_bool_dtype(column):
        return column.map({True: "✓", False: "–"})
    if pd.api.types.is_float_dtype(column):
        return column.astype(float).round(3)
    return column if pd.api.types.is_integer_dtype(column) else column.map(plain)
