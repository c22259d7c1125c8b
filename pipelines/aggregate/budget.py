"""What each audience has spent of its budget, for the report."""

from collections.abc import Iterator

from pipelines.aggregate.ledger import open_ledger
from pipelines.aggregate.report import budget_sentence
from pipelines.aggregate.settings import Aggregates
from schemas.table import Root


def budget_sentences(root: Root, settings: Aggregates) -> Iterator[str]:
    """Yield a sentence for each audience.

    Raises:
        AffectstreamError: the ledger cannot be used.
    """
    for audience in settings.audiences:
        with open_ledger(root, settings, audience) as ledger:
            spent = ledger.spent()
        yield budget_sentence(spent, audience, settings)
