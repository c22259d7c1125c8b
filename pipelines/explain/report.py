"""An explanation for a person: plain text that fits 80 columns."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from model_serving.attribution.occlusion import Part
from pipelines.explain.ablation import Ablation
from pipelines.explain.chain import Chain, Row
from pipelines.explain.explanation import Explanation
from pipelines.explain.sources import Source
from pipelines.show.escapes import safe_text
from pipelines.tables.results import cell_text, shorten_id
from schemas.modalities import MODALITIES

WIDTH: Final = 80
_OBSERVATIONS: Final = 20
_PARTS: Final = 5
_SINGLE: Final = 3
"""Events of one modality whose parts are printed each by itself; of more the means are."""
_BAR: Final = 20


def print_explanation(found: Explanation, console: Console) -> None:
    """Print an explanation: decision, gate, observations, weights, sources, rule and reviews."""
    _print_decision(found.chain, console)
    _print_gate(found.chain, console)
    _print_observations(found.chain.observations, console)
    if found.ablation is not None:
        _print_weights(found.ablation, console)
    if found.sources is not None:
        _print_sources(found.sources, console)
    _print_rule(found.chain.decision, console)
    _print_reviews(found.chain.reviews, console)
    if found.notes:
        _print_heading("Not explained", console)
        for note in found.notes:
            console.print(safe_text(f"- {note}"))


def _print_decision(chain: Chain, console: Console) -> None:
    decision, window = chain.decision, chain.window or {}
    console.print(Text.assemble(("Decision ", "bold"), safe_text(decision["decision_id"])))
    shown = [
        ("at", decision.get("window_end")),
        ("of", " · ".join(_known(decision, "scenario", "purpose", "region", "age_band"))),
        ("scene", decision.get("scene_id")),
        ("subject", decision.get("subject_ref")),
        ("shown", _estimate(decision, "held after smoothing")),
        ("window", _estimate(window, "abstained" if window.get("abstained") else "fused")),
        ("context", " · ".join(_known(window, "activity", "game_result", "lesson_state"))),
        ("does", " · ".join(_known(decision, "action", "reply_id"))),
        ("until", decision.get("expires_at")),
    ]
    _print_facts([(name, value) for name, value in shown if value], console)


def _print_gate(chain: Chain, console: Console) -> None:
    if not chain.gate:
        return
    _print_heading("Gate", console)
    grid = _grid("modality", "allowed", "refused", "consent")
    said = {row["modality"]: row for row in chain.consents}
    for row in chain.gate:
        refused = "; ".join(
            f"{each['events']} {each['code']} ({each['article']})" for each in row["refused"]
        )
        consent = said.get(row["modality"])
        told = f"{consent['action']} {cell_text(consent['event_time'])}" if consent else "–"
        _add(grid, row["modality"], row["allowed"], refused or "0", told)
    console.print(grid)


def _print_observations(rows: list[Row], console: Console) -> None:
    if not rows:
        return
    _print_heading("Observations", console)
    grid = _grid("time", "modality", "expression", "confidence", "quality", "event")
    for row in rows[:_OBSERVATIONS]:
        abstained = "abstained" if row.get("abstained") else "–"
        _add(
            grid,
            f"{row['event_time']:%H:%M:%S.%f}"[:-3],
            row["modality"],
            row.get("expression") or abstained,
            row.get("confidence"),
            row.get("quality") or "",
            shorten_id(row["event_id"]),
        )
    console.print(grid)
    if len(rows) > _OBSERVATIONS:
        console.print(f"… {len(rows) - _OBSERVATIONS} more; --format json has them")
    models = sorted({str(row["model_id"]) for row in rows if row.get("model_id")})
    console.print(safe_text(f"by {', '.join(models)}"))


def _print_weights(found: Ablation, console: Console) -> None:
    title = f"Weights: {found.expression} {found.probability:.2f} by {found.model_id}"
    _print_heading(title, console)
    names = ("modality", "events", "attention", "without it", "effect", "moved")
    grid = _grid(*names, "valence", "arousal")
    for row in found.without:
        _add(
            grid,
            row.modality,
            row.events,
            row.attention,
            row.expression or "abstains",
            f"{row.effect:+.2f}",
            row.moved,
            f"{row.valence:+.2f}",
            f"{row.arousal:+.2f}",
        )
    console.print(grid)
    console.print(
        Text(
            f"effect: how far {found.expression} falls without the modality; moved: how far all "
            f"probabilities do. Made again, scores are {found.difference:.3f} from what landed.",
            style="dim",
        )
    )


def _print_sources(sources: list[Source], console: Console) -> None:
    _print_heading("Sources, and what in them moved the estimate", console)
    by_modality = defaultdict(list)
    for source in sources:
        by_modality[source.modality].append(source)
    for name in MODALITIES:
        own = by_modality[name]
        for source in own[:_SINGLE]:
            _print_source(source, console, parts=len(own) <= _SINGLE)
        if len(own) > _SINGLE:
            more = ", ".join(f"{s.topic}/{s.partition}/{s.offset}" for s in own[_SINGLE:])
            console.print(safe_text(f"{name}  {more}"))
            console.print(f"  mean over {len(own)} events:")
            _print_parts(_mean_parts(own), console)
    console.print(
        Text("figures: how far the probability falls without the part (occlusion)", style="dim")
    )


def _print_source(source: Source, console: Console, *, parts: bool) -> None:
    place = f"{source.topic}/{source.partition}/{source.offset}"
    odd = f" ({source.note})" if source.note else ""
    known = source.attribution
    said = f"  {known.probability:.2f}" if known else "  not attributed"
    line = f"{source.modality}  {place}  event {shorten_id(source.event_id)}{said}{odd}"
    console.print(safe_text(line))
    if parts and known is not None:
        _print_parts(known.parts, console)


def _mean_parts(sources: Iterable[Source]) -> list[Part]:
    effects = defaultdict(list)
    for source in sources:
        for part in source.attribution.parts if source.attribution else ():
            effects[part.name].append(part.effect)
    return [Part(name, sum(found) / len(found)) for name, found in effects.items()]


def _print_parts(parts: Iterable[Part], console: Console) -> None:
    largest = sorted(parts, key=lambda part: -abs(part.effect))[:_PARTS]
    most = max((abs(part.effect) for part in largest), default=0.0)
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for part in largest:
        bar = "█" * round(_BAR * abs(part.effect) / most) if most else ""
        style = "green" if part.effect > 0 else "red"
        name = safe_text(part.name)
        name.truncate(40, overflow="ellipsis")
        grid.add_row(name, f"{part.effect:+.3f}", Text(bar, style=style))
    console.print(grid)


def _print_rule(decision: Row, console: Console) -> None:
    _print_heading("Rule", console)
    names = ("rule_id", "reason", "reasons", "action", "reply_id", "policy_version")
    facts = [(name, decision[name]) for name in names if decision.get(name) not in (None, [])]
    if decision.get("needs_person"):
        facts.append(("needs_person", "yes: a person looks first, nothing acts alone"))
    _print_facts(facts, console)


def _print_reviews(rows: list[Row], console: Console) -> None:
    if not rows:
        return
    _print_heading("Reviews", console)
    grid = _grid("reason", "said", "by", "at")
    for row in rows:
        _add(
            grid,
            row["reason"],
            row.get("reviewer_decision") or "open",
            row.get("reviewed_by") or "–",
            row.get("reviewed_at"),
        )
    console.print(grid)


def _print_heading(title: str, console: Console) -> None:
    console.print()
    console.print(Text.assemble(safe_text(title), style="bold"))


def _print_facts(facts: Iterable[tuple[str, Any]], console: Console) -> None:
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts:
        grid.add_row(Text(name, style="cyan"), Text(cell_text(value)))
    console.print(grid)


def _grid(*names: str) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for name in names:
        grid.add_column(name, overflow="fold")
    return grid


def _add(grid: Table, *cells: Any) -> None:
    grid.add_row(*(Text(_cell(cell)) for cell in cells))


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else cell_text(value)


def _known(row: Row, *names: str) -> Iterator[str]:
    return (str(row[name]) for name in names if row.get(name))


def _estimate(row: Row, how: str) -> str | None:
    if row.get("confidence") is None:
        return None
    named = row.get("expression") or "no expression"
    return f"{named} {row['confidence']:.2f}, {how}"
