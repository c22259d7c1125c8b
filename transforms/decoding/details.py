"""What dead letters of decoding say: what is wrong in the record, or else what its code means."""

from collections.abc import Iterable

import pyarrow as pa

from schemas.errors import Code
from schemas.media.formats import FormatCode, explain


class Explained(str):
    """A code with words about one record, none of which come from it; it compares as the code."""

    words: str

    def __new__(cls, code: Code, words: str) -> "Explained":
        """Return the code with these words."""
        made = str.__new__(cls, code)
        made.words = words
        return made


def details_of(problems: Iterable[Code | Explained]) -> pa.Array:
    """Return the detail of each problem."""
    return pa.array(map(_detail, problems), pa.string())


def _detail(problem: Code | Explained) -> str:
    if isinstance(problem, Explained):
        return problem.words
    return explain(problem) if isinstance(problem, FormatCode) else problem.meaning
