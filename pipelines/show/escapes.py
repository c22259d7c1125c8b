"""Characters of others' texts that would act on a terminal, a page or a spreadsheet, made visible.

Texts of events come from anybody: an escape sequence in one may retitle, clear or rewrite the
terminal of whoever queries it, and a bidirectional control may turn a line around.
"""

import json
import unicodedata
from collections.abc import Callable

from rich.text import Text

_ACTING = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (bidirectional, zero-width), private use, half surrogates,
line and paragraph separators."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def escape_controls(text: str, keep: str = "") -> str:
    r"""Return a text with each control or format character as its escape: ``\x1b``, ``\u202e``.

    Characters in ``keep`` stay as they are.
    """
    return _replace(text, keep, lambda character: ascii(character)[1:-1])


def safe_text(text: str) -> Text:
    """Return a text for a console: nothing in it acts there, and nothing is read as markup."""
    return Text(escape_controls(text, keep="\n"))


def escape_in_json(document: str) -> str:
    r"""Return a JSON document in which such characters are ``\u`` escapes; its values stay."""
    return _replace(document, "\n", lambda character: json.dumps(character)[1:-1])


def escape_csv_cell(text: str) -> str:
    """Return a text for a csv cell: no control but the line feed, and no spreadsheet's formula.

    One that begins as formulas do gets an apostrophe before it.
    """
    shown = escape_controls(text, keep="\n")
    return f"'{shown}" if text.startswith(_FORMULA) else shown


def _replace(text: str, keep: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():  # nearly all are, and this is 50 times as fast
        return text
    return "".join(
        escape(c) if c not in keep and unicodedata.category(c) in _ACTING else c for c in text
    )
