"""The newest decisions, and the explanation of one of them from what landed."""

import pandas as pd
import streamlit as st

from pipelines.serve.dashboard import charts
from pipelines.serve.dashboard.codes import meaning
from pipelines.serve.dashboard.reader import moment
from pipelines.serve.dashboard.selection import choose_selection
from pipelines.serve.dashboard.view import Page, choose, ink, plain, short, show_chart, show_table
from pipelines.serve.literals import same, text
from schemas.modalities import MODALITIES
from schemas.table import PARTITION

_DECISIONS = 100
_REASONS = (
    *("default", "settling", "scenario_rule", "abstained"),
    *("not_opted_in", "avatar_off", "usage_reminder"),
)
_PARTS = ("purpose", "scenario", "age_band")


def show_decisions(page: Page) -> None:
    """List the newest decisions of a selection, and explain the one that is chosen."""
    chosen = choose_selection(page)
    if chosen is None:
        return
    found = page.reader.rows(
        "SELECT decision_id, window_end, subject_ref, scene_id, scenario, expression, confidence, "
        f"action, reason FROM expression_decisions WHERE {chosen.where('window_end')} "
        f"ORDER BY window_end DESC, decision_id LIMIT {_DECISIONS}",
        "expression_decisions",
    )
    if found.empty:
        st.info(page.say("nothing"))
        return
    _list(page, found)
    known = found.set_index("decision_id")
    decision = choose(
        page,
        "choose_decision",
        list(known.index),
        lambda row: _label(page, known.loc[row]),
        lasting=False,
    )
    show_explanation(page, decision)


def _list(page: Page, found: pd.DataFrame) -> None:
    rows = found.assign(
        subject=found["subject_ref"].map(short),
        expression=found["expression"].map(page.say.name, na_action="ignore"),
    )
    headings = {
        "window_end": "time",
        "subject": "subject",
        "scene_id": "scene",
        "expression": "held",
        "confidence": "confidence",
        "action": "action",
        "reason": "reason",
    }
    columns = {name: page.say(key) for name, key in headings.items()}
    show_table(rows, columns, "decisions_table")


def _label(page: Page, row: pd.Series) -> str:
    shown = page.say("none") if row["expression"] is None else page.say.name(row["expression"])
    parts = (f"{row['window_end']:%H:%M:%S}", short(row["subject_ref"]), shown, row["action"])
    return " · ".join(plain(part) for part in parts)


def show_explanation(page: Page, decision_id: str) -> None:
    """Show what landed of one decision: rule, window, observations, attention, versions."""
    st.subheader(page.say("explanation"))
    found = page.reader.rows(
        f"SELECT * FROM expression_decisions WHERE decision_id = {text(decision_id)}",
        "expression_decisions",
    )
    if found.empty:
        st.info(page.say("decision_gone"))
        return
    decision = found.iloc[0]
    page.note("explanation", decision["subject_ref"])
    _show_rule(page, decision)
    features = page.reader.rows(
        f"SELECT {page.reader.present('emotion_features', *_FEATURES)} FROM emotion_features "
        f"WHERE window_id = {text(decision['window_id'])} AND {PARTITION} BETWEEN "
        f"DATE '{decision[PARTITION]}' - INTERVAL '1 day' AND DATE '{decision[PARTITION]}'",
        "emotion_features",
    )
    if features.empty:
        st.info(page.say("features_gone"))
        _show_facts(page, decision, None)
        return
    window = features.iloc[0]
    _show_observations(page, window)
    _show_attention(page, window)
    _show_facts(page, decision, window)


_FEATURES = (
    *("window_id", "subject_ref", "session_ref", *_PARTS, "window_start", "window_end", "revision"),
    *("expression", "confidence", "abstained", "valence", "arousal", "attention", "activity"),
    *("game_result", "lesson_state", "model_id"),
)


def _show_rule(page: Page, decision: pd.Series) -> None:
    shown = decision["expression"]
    figures = (
        ("held", page.say("none") if shown is None else page.say.name(shown)),
        ("confidence", f"{decision['confidence']:.2f}"),
        ("action", plain(decision["action"])),
        ("reason", plain(decision["reason"])),
    )
    for place, (name, value) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(page.say(name), value)
    if decision["reason"] in _REASONS:
        st.write(page.say(f"reason_{decision['reason']}"))


def _show_observations(page: Page, window: pd.Series) -> None:
    """Show what each modality gave to the window, abstentions and quality codes included."""
    st.markdown(f"**{page.say('observed')}**")
    parts = " AND ".join(same(name, window[name]) for name in _PARTS)
    found = page.reader.rows(
        "SELECT modality, expression, count(*) AS events, avg(confidence) AS confidence, "
        "avg(valence) AS valence, avg(arousal) AS arousal, quality, model_id FROM observations "
        f"WHERE {PARTITION} = DATE '{window['window_start'].date()}' "
        f"AND event_time >= {moment(window['window_start'])} "
        f"AND event_time < {moment(window['window_end'])} "
        f"AND subject_ref = {text(window['subject_ref'])} "
        f"AND session_ref = {text(window['session_ref'])} AND {parts} "
        "GROUP BY modality, expression, quality, model_id ORDER BY modality, events DESC",
        "observations",
    )
    if found.empty:
        st.info(page.say("nothing"))
        return
    language = page.say.language
    rows = found.assign(
        modality=found["modality"].map(page.say.name),
        expression=found["expression"].fillna("abstained").map(page.say.name),
        meaning=found["quality"].map(lambda code: meaning(code, language) or None),
    )
    names = ("modality", "expression", "events", "confidence", "valence", "arousal", "quality")
    columns = {name: page.say(name) for name in (*names, "meaning")}
    show_table(rows, columns | {"model_id": page.say("model")}, "observed_table")


def _show_attention(page: Page, window: pd.Series) -> None:
    names = [page.say(name) for name in MODALITIES]
    rows = pd.DataFrame({"modality": names, "attention": window["attention"]}).astype(
        {"attention": float}
    )
    st.markdown(f"**{page.say('attention')}**")
    columns = {name: page.say(name) for name in ("modality", "attention")}
    show_chart(page, charts.attention(page.say, ink()), rows, "attention", columns)


def _show_facts(page: Page, decision: pd.Series, window: pd.Series | None) -> None:
    facts = {
        "policy_version": decision["policy_version"],
        "reply": decision["reply_id"],
        "intensity": f"{decision['intensity']:.2f}",
        "expires": f"{decision['expires_at']:%Y-%m-%d %H:%M:%S}",
        "scene": decision["scene_id"],
        "scenario": decision["scenario"],
        "purpose": decision["purpose"],
        "region": decision["region"],
        "age_band": decision["age_band"],
        "subject": short(decision["subject_ref"]),
        "session": short(decision["session_ref"]),
    }
    if window is not None:
        begin, end = window["window_start"], window["window_end"]
        told = [window[name] for name in ("activity", "game_result", "lesson_state")]
        shown = "abstained" if window["abstained"] else window["expression"]
        facts |= {
            "window": f"{begin:%Y-%m-%d %H:%M:%S} – {end:%H:%M:%S}",
            "revision": str(window["revision"]),
            "fused": f"{page.say.name(shown)}, {window['confidence']:.2f}",
            "context": ", ".join(plain(value) for value in told if value) or None,
            "model": window["model_id"],
        }
    rows = pd.DataFrame({"fact": [page.say(name) for name in facts], "value": list(facts.values())})
    show_table(rows, {name: page.say(name) for name in ("fact", "value")}, "facts_table")
