"""The script that Streamlit runs for each viewer: language, views, and the view that is chosen.

Its arguments are those of ``server.serve_page``.
"""

import sys
from collections.abc import Callable

import streamlit as st

from pipelines.serve.dashboard.decisions import show_decisions
from pipelines.serve.dashboard.erasures import show_erasures
from pipelines.serve.dashboard.health import show_health
from pipelines.serve.dashboard.live import show_live
from pipelines.serve.dashboard.reader import Reader
from pipelines.serve.dashboard.reviews import show_reviews
from pipelines.serve.dashboard.scenes import show_scenes
from pipelines.serve.dashboard.texts import LANGUAGES, Language, Speaker, first_language
from pipelines.serve.dashboard.view import REFRESH_S, Page, show_refreshed

_SLOWLY_S = 2.0
_VIEWS: dict[str, tuple[Callable[[Page], None], float | None]] = {
    "live": (show_live, REFRESH_S),
    "scenes": (show_scenes, _SLOWLY_S),
    "health": (show_health, _SLOWLY_S),
    "decisions": (show_decisions, None),
    "reviews": (show_reviews, None),
    "erasures": (show_erasures, 10 * _SLOWLY_S),
}
"""Name of a view and of its address → what shows it, and how often it looks at the tables."""


@st.cache_resource
def open_reader(root: str) -> Reader:
    """Return the one reader that all viewers share."""
    return Reader(root)


def show_page(root: str, metrics_url: str, reviewer: str) -> None:
    """Show the page to one viewer."""
    st.set_page_config(page_title="affectstream", layout="wide")
    page = Page(open_reader(root), Speaker(_choose_language()), metrics_url, reviewer)
    views = [
        st.Page(_titled(page, name), title=page.say(name), url_path=name, default=name == "live")
        for name in _VIEWS
    ]
    st.navigation(views).run()


def _choose_language() -> Language:
    if "language" not in st.session_state:
        st.session_state["language"] = first_language(st.context.locale)
    say = Speaker(st.session_state["language"])
    chosen: Language = st.sidebar.selectbox(
        say("language"),
        list(LANGUAGES),
        format_func=lambda name: LANGUAGES[name],
        key="language",
        persist_state="session",
    )
    return chosen


def _titled(page: Page, name: str) -> Callable[[], None]:
    view, every_s = _VIEWS[name]

    def show() -> None:
        st.title(page.say(name))
        st.caption(page.say("notice"))
        show_refreshed(view, page, every_s)

    return show


show_page(*sys.argv[1:])
