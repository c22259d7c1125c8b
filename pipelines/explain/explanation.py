"""The explanation of a decision: what landed of it, what its weights are worth, what moved it."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from model_serving.attribution.occlusion import METHOD
from model_serving.fusion import load_fusion
from pipelines.access.audit import AuditLog, Entry, user_name
from pipelines.access.restricted import Reader
from pipelines.access.roles import read_roles
from pipelines.backfill.rebuild import COUNTS
from pipelines.config import Config
from pipelines.explain.ablation import Ablation, ablate
from pipelines.explain.chain import Chain, Row, read_chain
from pipelines.explain.sources import Source, find_sources
from pipelines.show.escapes import escape_in_json
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known of a decision.

    ``sources`` are the records of its observations, None where no log was given. ``notes`` say what
    could not be explained, and why.
    """

    chain: Chain
    ablation: Ablation | None
    sources: list[Source] | None
    notes: list[str]


def explain(
    config: Config, decision_id: str, *, log: Path | None = None, role: str | None = None
) -> Explanation:
    """Explain a decision from the tables, and with a log also what in its events moved it.

    Attribution is of the window's most probable expression. With a ``role`` the tables are read as
    that role, and the reading is a line of the audit log. What is explained is written nowhere.

    Raises:
        AffectstreamError: there is no such decision or role, the tables or a model cannot be used,
            or the log is none or holds nothing of the decision.
    """
    chain = _read_logged(config, decision_id, role)
    notes = list(chain.missing)
    ablation = _ablation(config, chain, notes)
    sources = None
    if log is not None:
        if not chain.observations:
            message = f"no observation of decision {decision_id} can be read: leave out --log"
            raise AffectstreamError(message)
        sources = find_sources(config, log, chain.observations, _explained(chain))
        if len(sources) < len(chain.observations):
            lacking = len(chain.observations) - len(sources)
            notes.append(f"{log} lacks the records of {lacking} observations")
    return Explanation(chain, ablation, sources, notes)


def to_json(explanation: Explanation) -> str:
    """Return an explanation as a JSON object; times are ISO 8601, and no character acts."""
    chain = dataclasses.asdict(explanation.chain)
    del chain["missing"]
    weighed, sources = explanation.ablation, explanation.sources
    whole: dict[str, Any] = chain | {
        "ablation": None if weighed is None else dataclasses.asdict(weighed),
        "attribution_method": METHOD,
        "sources": None if sources is None else [dataclasses.asdict(each) for each in sources],
        "notes": explanation.notes,
    }
    return escape_in_json(json.dumps(whole, default=_plain, ensure_ascii=False, indent=2))


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _read_logged(config: Config, decision_id: str, role: str | None) -> Chain:
    if role is None:
        return read_chain(config.tables, decision_id)
    reader = Reader(role, read_roles(config.access.roles).named(role))
    log = AuditLog(config.access.audit_folder(config.tables), config.access.audit_days)
    entry = Entry(datetime.now(UTC), user_name(), role, "explain", f"decision {decision_id}")
    try:
        chain = read_chain(config.tables, decision_id, reader)
    except AffectstreamError:
        log.append([entry._replace(outcome="refused")])
        raise
    whose = [ref for ref in [chain.decision.get("subject_ref")] if ref]
    rows = 1 + len(chain.observations) + len(chain.reviews) + (chain.window is not None)
    log.append([entry._replace(subjects=whose, rows=rows)])
    return chain


def _ablation(config: Config, chain: Chain, notes: list[str]) -> Ablation | None:
    if chain.window is None:
        return None
    hidden = {*_lacking([chain.window], ("scores", "attention", *COUNTS))}
    hidden |= {*_lacking(chain.observations, ("scores", "modality", "event_id"))}
    if hidden:
        notes.append(f"the role hides {', '.join(sorted(hidden))}, so that nothing is weighed")
        return None
    fusion = load_fusion(config.models.fusion, config.models.gaps)
    found = ablate(chain.window, chain.observations, fusion)
    if isinstance(found, str):
        notes.append(found)
        return None
    if found.model_id != chain.window.get("model_id"):
        notes.append(
            f"{found.model_id} weighs now, and {chain.window.get('model_id')} fused then: name "
            "that model as `models.fusion`"
        )
    return found


def _lacking(rows: Iterable[Row], names: Iterable[str]) -> set[str]:
    return {name for name in names for row in rows if name not in row}


def _explained(chain: Chain) -> str:
    """Return the most probable expression of the window, or else that of the decision."""
    scores = chain.window and chain.window.get("scores")
    if scores:
        return EXPRESSIONS[max(range(len(EXPRESSIONS)), key=scores.__getitem__)]
    return str(chain.decision.get("expression") or "neutral")
