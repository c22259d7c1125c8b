"""Which rows a view is about: a span that ends with the newest window, one scene, one session."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import streamlit as st

from pipelines.serve.dashboard.reader import moment
from pipelines.serve.dashboard.view import Page, choose, plain, short
from pipelines.serve.literals import text
from schemas.table import PARTITION

_BIN_S = {5: 5, 15: 10, 60: 60, 1440: 900}
"""Minutes of a span → seconds of one point in its pictures: 60 to 96 points."""
_CHOICES = 200

Scene = tuple[str, ...]
"""One scene; empty for all of them."""
Session = tuple[str, ...]
"""References of a session and of a subject in it; empty for all of them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows from ``begin`` to the end of ``day``; without a scene or session, those of all."""

    day: date
    begin: datetime
    bin_s: int
    scene: Scene = ()
    session: Session = ()

    def where(self, time: str) -> str:
        """Return the condition that selects them, for a table with this column of time."""
        parts = [
            f"{PARTITION} BETWEEN DATE '{self.begin.date()}' AND DATE '{self.day}'",
            f"{time} >= {moment(self.begin)}",
        ]
        if self.scene:
            parts.append(f"scene_id = {text(self.scene[0])}")
        if self.session:
            parts.append(f"session_ref = {text(self.session[0])}")
            parts.append(f"subject_ref = {text(self.session[1])}")
        return " AND ".join(parts)

    def bins(self, time: str) -> str:
        """Return the expression of the point in a picture that a time belongs to."""
        return f"date_bin(INTERVAL '{self.bin_s} seconds', {time})"


def choose_selection(page: Page, *, sessions: bool = True) -> Selection | None:
    """Let the viewer choose among what has landed; None where no window has."""
    days = page.reader.days("emotion_features")
    if not days:
        st.info(page.say("nothing"))
        return None
    day_at, span_at, scene_at, session_at = st.columns(4)
    day = choose(page, "day", days, place=day_at)
    span = choose(page, "span", list(_BIN_S), lambda m: page.say(f"span_{m}"), span_at)
    end = page.reader.end("emotion_features", day)
    if end is None:
        st.info(page.say("nothing"))
        return None
    begin = end - timedelta(minutes=span) + timedelta(milliseconds=1)
    wide = Selection(day, begin, _BIN_S[span])
    all_of_them = page.say("all")
    scenes = _scenes(page, wide)
    scene = choose(page, "scene", scenes, lambda s: plain(s[0]) if s else all_of_them, scene_at)
    chosen = Selection(day, begin, _BIN_S[span], scene)
    if not sessions:
        return chosen
    known = _sessions(page, chosen)
    session = choose(
        page,
        "session",
        [(), *known],
        lambda s: f"{short(s[1])} · {short(s[0])}" if s else all_of_them,
        session_at,
    )
    return Selection(day, begin, _BIN_S[span], scene, session)


def _scenes(page: Page, chosen: Selection) -> list[Scene]:
    found = page.reader.rows(
        f"SELECT scene_id, count(*) AS n FROM emotion_features WHERE {chosen.where('window_start')}"
        f" AND scene_id IS NOT NULL GROUP BY 1 ORDER BY n DESC, 1 LIMIT {_CHOICES}",
        "emotion_features",
    )
    return [(), *((scene,) for scene in sorted(found.get("scene_id", [])))]


def _sessions(page: Page, chosen: Selection) -> list[Session]:
    """Return the newest sessions, in an order that another one does not change."""
    found = page.reader.rows(
        "SELECT session_ref, subject_ref, max(window_end) AS newest "
        f"FROM emotion_features WHERE {chosen.where('window_start')} "
        f"GROUP BY 1, 2 ORDER BY newest DESC, 1, 2 LIMIT {_CHOICES}",
        "emotion_features",
    )
    return sorted(found[["session_ref", "subject_ref"]].itertuples(index=False, name=None))
