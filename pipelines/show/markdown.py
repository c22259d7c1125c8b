"""Tables of the pages under docs/, in Markdown."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as it is given, not padded: a line changes only where a figure of it does."""
    return tabulate(list(rows), head, "github", stralign=None, disable_numparse=True)
