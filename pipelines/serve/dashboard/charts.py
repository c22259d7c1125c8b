"""The pictures, as Vega-Lite: each tells by shape, place or letter what it tells by colour."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from pipelines.serve.dashboard.texts import Speaker
from pipelines.show.screen import COLOURS, LETTERS
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS

Spec = dict[str, Any]

LINES = MappingProxyType(
    {
        "valence": "#C26A00",
        "arousal": "#5B73D6",
        "text": "#C26A00",
        "voice": "#5B73D6",
        "face": "#00896A",
        "motion": "#B65A93",
        "erasure_requested": "#C26A00",
        "withdrawn": "#5B73D6",
    }
)
"""Colours of lines and bars: at least 3 to 1 against a light page and a dark one."""
ABSTAINED = "#8A94A3"
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond")


def valence_arousal(say: Speaker) -> Spec:
    """Return lines of ``value`` over ``time``, one for each ``measure``."""
    return _lines(say, ("valence", "arousal"), "measure", [-1, 1], "")


def throughput(say: Speaker) -> Spec:
    """Return lines of ``per_s`` over ``time``, one for each ``modality``."""
    return _lines(say, tuple(MODALITIES), "modality", None, say("throughput"), "per_s")


def timeline(say: Speaker, ink: str) -> Spec:
    """Return one row for each ``modality``: bars from ``time`` to ``until``.

    ``shown`` is the expression's name as in the legend, its ``letter`` stands over the ``middle``
    of the bar, and the bar's thickness is the ``confidence``. ``at`` is the time as a text.
    """
    rows = [say(name) for name in (*MODALITIES, "fused")]
    names = [legend_name(say, name) for name in (*EXPRESSIONS, "abstained")]
    colours = [*(COLOURS[name] for name in EXPRESSIONS), ABSTAINED]
    place = {
        "field": "modality",
        "type": "nominal",
        "sort": rows,
        "scale": {"domain": rows},
        "axis": {"title": None, "labelLimit": 160},
    }
    fill = {"domain": names, "range": colours}
    legend = {"orient": "bottom", "title": None, "columns": 8}
    abstained = "datum.letter == '–'"
    bar = {
        "x": _time(),
        "x2": {"field": "until"},
        "y": place,
        "color": {"field": "shown", "type": "nominal", "scale": fill, "legend": legend},
        "size": {
            "field": "confidence",
            "type": "quantitative",
            "scale": {"domain": [0, 1], "range": [2, 18]},
            "legend": None,
        },
        "fillOpacity": {"condition": {"test": abstained, "value": 0.15}, "value": 1},
        "stroke": {"condition": {"test": abstained, "value": ABSTAINED}, "value": None},
        "tooltip": [
            {"field": "at", "title": say("time")},
            {"field": "shown", "title": say("expression")},
            {"field": "confidence", "format": ".2f", "title": say("confidence")},
            {"field": "events", "title": say("events")},
        ],
    }
    over = {"x": _time("middle"), "y": place, "text": {"field": "letter"}}
    return {
        "height": 48 * len(rows) + 70,
        "layer": [
            {"mark": {"type": "bar", "orient": "horizontal"}, "encoding": bar},
            {
                "mark": {"type": "text", "dy": -15, "fontSize": 11, "color": ink, "aria": False},
                "encoding": over,
            },
        ],
    }


def letter(say: Speaker, name: str) -> str:
    """Return the letter that stands for an expression; – for an abstention."""
    if name == "abstained":
        return "–"
    return say(name)[0] if say.language == "zh" else LETTERS[name]


def legend_name(say: Speaker, name: str) -> str:
    """Return an expression's name after the letter that stands for it."""
    return f"{letter(say, name)} {say(name)}"


def scenes(say: Speaker, ink: str) -> Spec:
    """Return a point for each ``scene`` by ``valence`` and ``arousal``, as large as ``windows``."""
    plane = {
        name: {
            "field": name,
            "type": "quantitative",
            "scale": {"domain": [-1, 1]},
            "axis": {"title": say(name), "tickCount": 4},
        }
        for name in ("valence", "arousal")
    }
    x, y = plane["valence"], plane["arousal"]
    size = {
        "field": "windows",
        "type": "quantitative",
        "scale": {"range": [30, 400]},
        "legend": None,
    }
    return {
        "height": 380,
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "color": LINES["arousal"]},
                "encoding": {"x": x, "y": y, "size": size},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 12, "limit": 160, "color": ink},
                "encoding": {"x": x, "y": y, "text": {"field": "scene"}},
            },
        ],
    }


def erasures(say: Speaker, ink: str) -> Spec:
    """Return bars of ``count`` by ``day``, side by side for each ``action``, with the number."""
    actions = ("erasure_requested", "withdrawn")
    names = [say(name) for name in actions]
    colour = {
        "field": "action",
        "type": "nominal",
        "scale": {"domain": names, "range": [LINES[name] for name in actions]},
        "legend": {"orient": "top", "title": None},
    }
    bars = {
        "x": {"field": "day", "type": "ordinal", "title": None, "axis": {"labelAngle": 0}},
        "xOffset": {"field": "action", "sort": names},
        "y": {"field": "count", "type": "quantitative", "title": say("count")},
    }
    return {
        "height": 260,
        "layer": [
            {"mark": {"type": "bar"}, "encoding": bars | {"color": colour}},
            {
                "mark": {"type": "text", "dy": -7, "color": ink},
                "encoding": bars | {"text": {"field": "count"}},
            },
        ],
    }


def attention(say: Speaker, ink: str) -> Spec:
    """Return a bar of ``attention`` for each ``modality``, with the number."""
    bars = {
        "y": {"field": "modality", "type": "nominal", "sort": None, "title": None},
        "x": {
            "field": "attention",
            "type": "quantitative",
            "scale": {"domain": [0, 1]},
            "axis": {"title": None, "tickCount": 5},
        },
    }
    number = {"text": {"field": "attention", "format": ".2f"}}
    return {
        "height": 28 * len(MODALITIES) + 30,
        "layer": [
            {"mark": {"type": "bar", "color": LINES["arousal"], "size": 14}, "encoding": bars},
            {
                "mark": {"type": "text", "align": "left", "dx": 6, "color": ink},
                "encoding": bars | number,
            },
        ],
    }


def _lines(
    say: Speaker,
    names: Sequence[str],
    field: str,
    domain: list[int] | None,
    title: str,
    value: str = "value",
) -> Spec:
    shown = [say(name) for name in names]

    def by(values: Sequence[object]) -> Spec:
        scale = {"domain": shown, "range": list(values)[: len(shown)]}
        legend = {"orient": "top", "title": None}
        return {"field": field, "type": "nominal", "scale": scale, "legend": legend}

    return {
        "height": 240,
        "mark": {"type": "line", "point": {"size": 30}, "strokeWidth": 1.5},
        "encoding": {
            "x": _time(),
            "y": {
                "field": value,
                "type": "quantitative",
                "title": title or None,
                "scale": {"domain": domain} if domain else {"zero": True},
            },
            "color": by([LINES[name] for name in names]),
            "strokeDash": by(_DASHES),
            "shape": by(_SHAPES),
        },
    }


def _time(field: str = "time") -> Spec:
    return {
        "field": field,
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": {"title": None, "format": "%H:%M:%S", "tickCount": 8, "labelOverlap": True},
    }
