"""Draws docs/flow.svg, the picture of the graph: run it when a stage or a table comes or goes.

``python docs/flow.py`` from the root of the checkout. A test compares the names with the graph's.
"""

from html import escape
from pathlib import Path

# Stages: name, what it does, whether it makes dead letters, the other tables that it fills.
PARTS = (
    (
        "Read",
        (
            ("DecodeEvents", "CloudEvents, keyed ids", True, ()),
            ("ValidateEvents", "Great Expectations, compiled", True, ()),
            ("SieveLate", "later than allowed", True, ()),
        ),
    ),
    (
        "Permit",
        (
            ("Pseudonymise", "keyed references for names", True, ()),
            ("GateByPolicy", "law and consent", True, ("refusals", "consent_ledger")),
            ("LimitEvents", "so many of one subject", True, ()),
            ("FetchMedia", "media named by dataref", True, ()),
            ("ScrubText", "links, numbers, handles", True, ()),
        ),
    ),
    (
        "Recognise",
        (
            ("RecogniseText", "English and Chinese", True, ()),
            ("RecogniseVoice", "WAV, FLAC, Ogg", True, ()),
            ("RecogniseFace", "JPEG, PNG, WebP", True, ()),
            ("RecogniseMotion", "ARKit-52, head pose", True, ("observations",)),
        ),
    ),
    (
        "Decide",
        (
            ("WindowSessions", "5 s, one person and purpose", False, ()),
            ("FuseModalities", "attention over what is there", False, ("emotion_features",)),
            (
                "DecideExpressions",
                "history, scenario rules",
                False,
                ("expression_decisions", "review_queue"),
            ),
        ),
    ),
)
CAN_REUSE_IDS = ("refusals", "observations")  # their writers make dead letters of reused ids
ROWS_MEAN = {
    "refusals": "code and article",
    "consent_ledger": "who allowed what",
    "observations": "one recognised event",
    "emotion_features": "one window, fused",
    "expression_decisions": "what comes next",
    "review_queue": "for a person to judge",
    "dead_letters": "stage, code, place",
    "runs": "a replay, its time by stage",
    "erasures": "the proof that nothing is left",
}
WIDTH, STAGE_X, STAGE_W, BUS_X, TABLE_X, TABLE_W = 920, 110, 370, 516, 572, 328
BOX_H, STEP, PART_GAP, TOP = 36, 46, 16, 92

STYLE = """
  .ground { fill: #ffffff; stroke: #d5dbe1 }
  .stage { fill: #e9eff6; stroke: #6f8aa6 }
  .source { fill: #fbf2dc; stroke: #b08a3c }
  .table { fill: #e5f3e9; stroke: #4f8a63 }
  .lost { fill: #fbe9e4; stroke: #b0563c }
  .name { fill: #17212b; font-weight: 600; font-size: 14px }
  .note { fill: #4a5866; font-size: 12px }
  .part { fill: #4a5866; font-size: 13px; font-weight: 600; text-anchor: end }
  .flow { fill: none; stroke: #5b6b7a; stroke-width: 1.6 }
  .dead { fill: none; stroke: #b0563c; stroke-width: 1.3; stroke-dasharray: 4 3 }
  .tip { fill: #5b6b7a } .dead-tip { fill: #b0563c }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #10161c; stroke: #2c3844 }
    .stage { fill: #1d2a38; stroke: #6f8aa6 }
    .source { fill: #332a14; stroke: #b08a3c }
    .table { fill: #173023; stroke: #5fa277 }
    .lost { fill: #36201a; stroke: #d0745a }
    .name { fill: #eef3f7 } .note, .part { fill: #aab7c4 }
    .flow { stroke: #93a3b3 } .tip { fill: #93a3b3 }
    .dead { stroke: #d0745a } .dead-tip { fill: #d0745a }
  }"""


def draw() -> str:
    """Return the picture as SVG: stages down the left, the tables that they fill on the right."""
    parts = [*_sources()]
    before, y, table_y = TOP - 12, TOP, 0
    for title, stages in PARTS:
        parts.append(_text(STAGE_X - 14, y + 23, title, "part"))
        for name, note, lost, tables in stages:
            parts.append(_arrow(before, y))
            parts.append(_box(STAGE_X, y, STAGE_W, "stage", name, note))
            if lost:
                parts.append(_dashed(STAGE_X + STAGE_W, y + 26))
            for table in tables:
                table_y = max(table_y + STEP, y)
                parts.append(_landing(y + 10, table_y))
                parts.append(_box(TABLE_X, table_y, TABLE_W, "table", table, ROWS_MEAN[table]))
                if table in CAN_REUSE_IDS:
                    parts.append(_dashed(TABLE_X, table_y + 26))
            before = y + BOX_H
            y += STEP
        y += PART_GAP
    dead_y = max(table_y, y - STEP) + STEP
    parts.append(
        f'<path class="dead" d="M{BUS_X} {TOP + 26}V{dead_y + 18}H{TABLE_X}" '
        'marker-end="url(#dead)"/>'
    )
    parts.append(_box(TABLE_X, dead_y, TABLE_W, "lost", "dead_letters", ROWS_MEAN["dead_letters"]))
    # What no stage fills stands in the corner.
    parts.append(_box(STAGE_X, dead_y, STAGE_W, "table", "runs", ROWS_MEAN["runs"]))
    beside_y = dead_y + STEP
    parts.append(_box(STAGE_X, beside_y, STAGE_W, "table", "erasures", ROWS_MEAN["erasures"]))
    return _page(int(beside_y + BOX_H + 20), parts)


def _sources() -> list[str]:
    half = (STAGE_W - 12) / 2
    boxes = [
        _box(STAGE_X, 24, half, "source", "recorded log", ""),
        _box(STAGE_X + half + 12, 24, half, "source", "Kafka", ""),
    ]
    notes = [
        _text(STAGE_X + half / 2, 74, "replay, this process", "note", "middle"),
        _text(STAGE_X + STAGE_W - half / 2, 74, "live, on Flink", "note", "middle"),
        _text(TABLE_X, 47, "Delta tables, each row once", "name"),
        _text(TABLE_X, 66, "dashed: what could not be read or judged", "note"),
    ]
    return boxes + notes


def _box(x: float, y: float, width: float, kind: str, name: str, note: str) -> str:
    box = f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX_H}" rx="5"/>'
    if not note:
        return box + "\n" + _text(x + width / 2, y + 23, name, "name", "middle")
    return "\n".join(
        (
            box,
            _text(x + 12, y + 23, name, "name"),
            _text(x + width - 12, y + 23, note, "note", "end"),
        )
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "") -> str:
    placed = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}"{placed}>{escape(text)}</text>'


def _arrow(start: int, end: int) -> str:
    middle = STAGE_X + STAGE_W // 2
    return f'<path class="flow" d="M{middle} {start}V{end}" marker-end="url(#flow)"/>'


def _dashed(x: int, y: int) -> str:
    """Return a line from a box to the one that leads to the dead letters."""
    return f'<path class="dead" d="M{x} {y}H{BUS_X}"/>'


def _landing(start: int, table_y: int) -> str:
    """Return an arrow from a stage's edge to a table, over the line of the dead letters."""
    x, y = STAGE_X + STAGE_W, table_y + 10
    bend = "" if y == start else f"H{TABLE_X - 22}V{y}"
    return f'<path class="flow" d="M{x} {start}{bend}H{TABLE_X}" marker-end="url(#flow)"/>'


def _page(height: int, parts: list[str]) -> str:
    tips = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path class="{kind}" d="M0 0L8 4L0 8z"/></marker>'
        for name, kind in (("flow", "tip"), ("dead", "dead-tip"))
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="system-ui, sans-serif" role="img" '
            'aria-label="The graph: from a recorded log or Kafka through fifteen stages to the '
            'tables">',
            f"<style>{STYLE}\n</style>",
            f"<defs>{tips}</defs>",
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
            *parts,
            "</svg>\n",
        )
    )


if __name__ == "__main__":
    Path("docs/flow.svg").write_text(draw(), encoding="utf-8")
