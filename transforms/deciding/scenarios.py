"""The scenario policy: what follows in a scenario when an expression has been shown for a while."""

from pathlib import Path

from schemas.errors import AffectstreamError
from schemas.strict import Frozen, read_yaml
from schemas.vocabularies import EXPRESSIONS


class Rule(Frozen):
    """What follows when an expression was held for ``after`` windows in a row.

    ``at_once_after`` is a game result that makes it follow in the first window.
    """

    action: str
    after: int
    reply: str | None = None
    at_once_after: str | None = None


class ScenarioPolicy(Frozen):
    """Scenario → expression → rule; in high-stakes scenarios a person looks at weak estimates."""

    version: str
    high_stakes: frozenset[str]
    scenarios: dict[str, dict[str, Rule]]


def read_scenarios(path: Path) -> ScenarioPolicy:
    """Read and check a scenario policy."""
    policy = read_yaml(path, ScenarioPolicy, "a scenario policy")
    unknown = {e for rules in policy.scenarios.values() for e in rules} - set(EXPRESSIONS)
    if unknown:
        message = f"{path} has rules for {sorted(unknown)}, which are no expressions"
        raise AffectstreamError(message)
    return policy
