"""The script that Streamlit runs for each viewer: language, views, and the view that is chosen.

Its arguments are those of ``server.serve_page``.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from pipelines.access.audit import AuditLog, Entry, user_name
from pipelines.access.audit_writer import AuditWriter
from pipelines.access.roles import Role, read_roles
from pipelines.access.settings import Access
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
VIEWS: dict[str, tuple[Callable[[Page], None], float | None]] = {
    "live": (show_live, REFRESH_S),
    "scenes": (show_scenes, _SLOWLY_S),
    "health": (show_health, _SLOWLY_S),
    "decisions": (show_decisions, None),
    "reviews": (show_reviews, None),
    "erasures": (show_erasures, 10 * _SLOWLY_S),
}
"""Name of a view and of its address → what shows it, and how often it looks at the tables."""


@st.cache_resource
def open_reader(root: str, access: str) -> Reader:
    """Return the one reader that all viewers share."""
    return Reader(root, role=_role(Access.model_validate_json(access)))


@st.cache_resource
def open_audit(root: str, access: str) -> AuditWriter:
    """Return the one writer of the audit log."""
    settings = Access.model_validate_json(access)
    return AuditWriter(AuditLog(settings.audit_folder(root), settings.audit_days))


def show_page(root: str, metrics_url: str, reviewer: str, access: str) -> None:
    """Show the page to one viewer; ``access`` is JSON of the settings of who may read what."""
    st.set_page_config(page_title="affectstream", layout="wide")
    settings = Access.model_validate_json(access)
    role, audit = _role(settings), open_audit(root, access)

    def note(what: str, *subjects: str) -> None:
        """Log what is looked at, once for each viewer until they look at something else."""
        if st.session_state.get("noted") != (what, subjects):
            st.session_state["noted"] = (what, subjects)
            name = settings.page_role or ""
            audit.add(
                Entry(
                    datetime.now(UTC), f"{reviewer} ({user_name()})", name, "page", what, subjects
                )
            )

    speaker = Speaker(_choose_language())
    page = Page(open_reader(root, access), speaker, metrics_url, reviewer, note)
    if not audit.ready:
        st.warning(page.say("audit_away", folder=str(settings.audit_folder(root))))
        return
    names = [name for name in VIEWS if role is None or name in role.page]
    views = [
        st.Page(_titled(page, name), title=page.say(name), url_path=name, default=name == names[0])
        for name in names
    ]
    st.navigation(views).run()


def _role(settings: Access) -> Role | None:
    if settings.page_role is None:
        return None
    return read_roles(settings.roles).named(settings.page_role)


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
    view, every_s = VIEWS[name]

    def show() -> None:
        st.title(page.say(name))
        st.caption(page.say("notice"))
        page.note(name)
        show_refreshed(view, page, every_s)

    return show


show_page(*sys.argv[1:])
