"""ScrubText: personal data in utterances → placeholders, in English and Chinese.

RE2 does the bulk, on columns; rows that still hold an undecided number go through libraries that
know checksums (python-stdnum) and national numbering plans (phonenumbers). Every rule looks at the
same text, and what they find is replaced at once, so that none cuts what another one finds. A row
in which nothing is found keeps its bytes, less what cannot be seen; any other row is
NFKC-normalised, since full-width digits and signs hide numbers and addresses from every pattern.

The cost of a row is bounded by its length: a round is linear in it, and there are at most four.
"""

from collections.abc import Callable, Iterable
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_serving.text.canonical import canonical
from model_serving.text.visible_text import DIACRITICS, NOT_PLAIN, PLACEHOLDERS, strip_invisible
from schemas.arrow import match_any, match_rows, replace_rows
from schemas.stages import MAIN, Stage, Tagged, kind_of
from transforms.scrubbing.harmless import (
    COUNTS,
    NO_NAMES,
    QUANTITIES,
    SENTENCES,
    counts,
    no_names,
    quantities,
    sentence_ends,
)
from transforms.scrubbing.numbers import (
    DISGUISED,
    Phones,
    cards,
    disguised_phones,
    ibans,
    short_phones,
)
from transforms.scrubbing.rules import (
    ACCOUNTS,
    BLANK,
    DASHES,
    DIGITS,
    DOMAINS,
    EMAILS,
    HANDLES,
    IBANS,
    LETTER,
    LINKS,
    MAYBE_SHAPE,
    MAYBE_SITE,
    MAYBE_WORD,
    MENTIONS,
    NUMBERS,
    UNSETTLED,
    WALLETS,
    Rule,
    Rules,
)
from transforms.scrubbing.spans import (
    NOTHING,
    Spans,
    Stretch,
    blank_spans,
    find_spans,
    join_spans,
    mark,
    merge_spans,
    move_spans,
    replace_spans,
    rows_of,
    spans_of_marks,
    starting_outside,
)
from transforms.scrubbing.spelt import (
    INTERNET_ADDRESSES,
    NUMERALS,
    OTHER_DIGITS,
    SPELT_ADDRESSES,
    TAGS,
    ascii_digits,
    internet_addresses,
    spelt_addresses,
    spelt_numbers,
    tags,
)
from transforms.stage import Outputs, run_stage

ROUNDS: Final = 4
"""After so many rounds what may still hold personal data is replaced word by word. A second round
finds something in numbers that dots join, and in none of 165,441 texts of the corpora."""

MAYBE: Final = (
    f"{MAYBE_SHAPE}|{SPELT_ADDRESSES}|{INTERNET_ADDRESSES}",
    f"{MAYBE_WORD}|{NUMERALS}|{DISGUISED}|{OTHER_DIGITS}",
    MAYBE_SITE,
)
"""One of them matches every row that any rule can change. Three, since each pass over a batch costs
as much as the others, while the automaton of all in one outgrows RE2's memory."""
_WRITTEN = [f"<{kind}>".encode() for kind in PLACEHOLDERS]
_MARKED_LETTER = rf"([{LETTER}]){DIACRITICS}+"  # one such mark hides an address from the rules


class ScrubText(beam.PTransform):
    """EVENT batches → the same, personal data in ``text`` has become placeholders; dead letters."""

    def expand(self, pcoll: beam.PCollection) -> Outputs:
        return run_stage(pcoll, Stage.SCRUB, lambda: scrub_events)


def scrub_events(batch: pa.RecordBatch) -> Tagged:
    """Scrub the text of a text batch; batches of other kinds pass through."""
    if kind_of(batch) != "text":
        return [(MAIN, batch)]
    column = batch.schema.get_field_index("text")
    return [(MAIN, batch.set_column(column, batch.schema.field(column), scrub(batch["text"])))]


def scrub(text: pa.Array) -> pa.Array:
    """Replace personal data by ``<email>``, ``<link>``, ``<handle>``, ``<phone>`` or ``<id>``.

    Idempotent: a row is worked on until a round finds nothing in it, or is replaced.
    """
    text = canonical(text)
    rows = match_any(text, MAYBE)
    if not len(rows):
        return text
    before = text.take(pa.array(rows))
    after = _scrub_rows(before)
    return text if after.equals(before) else replace_rows(text, rows, after)


def _scrub_rows(text: pa.Array) -> pa.Array:
    rows, phones = np.arange(len(text)), Phones()
    for _ in range(ROUNDS):
        after, found = _round(text.take(pa.array(rows)), phones)
        after, rows = after.take(pa.array(found)), rows[found]
        text = replace_rows(text, rows, after)
        rows = rows[match_any(after, MAYBE)]
        if not len(rows):
            return text
    return replace_rows(text, rows, _replace_remaining(text.take(pa.array(rows)), phones))


def _replace_remaining(text: pa.Array, phones: Phones) -> pa.Array:
    """Replace every word that may hold personal data, and a row that still has some altogether."""
    text = pc.replace_substring_regex(text, UNSETTLED, "<id>")
    _, found = _round(text, phones)
    return replace_rows(text, found, pa.array(["<id>"] * len(found), pa.string()))


def _round(original: pa.Array, phones: Phones) -> tuple[pa.Array, np.ndarray]:
    """Return the rows with what is found in them replaced, and the positions of those that had."""
    text = canonical(pc.utf8_normalize(original, form="NFKC"))
    text = ascii_digits(pc.replace_substring_regex(text, DASHES, "-"))
    plain = not len(match_rows(text, NOT_PLAIN))
    if not plain:
        text = pc.replace_substring_regex(strip_invisible(text), _MARKED_LETTER, r"\1")
    found = _find(text, phones)
    if not len(found):
        return text, np.zeros(0, np.int64)
    after = replace_spans(text, merge_spans(found), _WRITTEN)
    return after if plain else strip_invisible(after), rows_of(text, found)


def _find(text: pa.Array, phones: Phones) -> Spans:
    """Return what the rules find, each by itself; then what is left to the libraries."""
    found = [*_match_rules(text, LINKS), *_match_rules(text, EMAILS)]
    found += [_check_found(text, SPELT_ADDRESSES, spelt_addresses, "email")]
    found += _match_rules(text, MENTIONS)
    ends = _check_found(text, SENTENCES, sentence_ends)
    domains = _match_rules(text, DOMAINS, _without_found(text, found))
    found += [starting_outside(spans, ends) for spans in domains]
    no_handles = join_spans([*found, _check_found(text, NO_NAMES, no_names)])
    handles = _match_rules(text, HANDLES, _without_found(text, found))
    found += [starting_outside(spans, no_handles) for spans in handles]
    amounts = _check_found(text, QUANTITIES, quantities)
    found.append(starting_outside(_check_found(text, TAGS, tags, "handle"), amounts))
    for rules in ACCOUNTS:
        found += [starting_outside(spans, amounts) for spans in _match_rules(text, rules)]
    found += _match_rules(text, WALLETS)
    found.append(_check_found(text, IBANS, ibans, "id"))
    found.append(_check_found(text, INTERNET_ADDRESSES, internet_addresses, "id"))
    found.append(_check_found(text, NUMERALS, spelt_numbers, "phone"))
    found.append(_check_found(text, DISGUISED, disguised_phones, "phone"))
    no_numbers = join_spans([amounts, _check_found(text, COUNTS, counts)])
    found += [starting_outside(spans, no_numbers) for spans in _match_rules(text, NUMBERS)]
    for find, kind in ((cards, "id"), (short_phones, "phone"), (phones.find, "phone")):
        left = _without_found(text, [*found, no_numbers])
        found.append(_check_found(left, DIGITS, find, kind))
    return join_spans(found)


def _without_found(text: pa.Array, found: list[Spans]) -> pa.Array:
    return blank_spans(text, join_spans(found), BLANK)


def _match_rules(text: pa.Array, rules: Rules, left: pa.Array | None = None) -> list[Spans]:
    """Return what these rules match in the rows that they are for; nothing is an empty list."""
    rows = match_rows(text if left is None else left, rules.where)
    if not len(rows):
        return []
    part = text.take(pa.array(rows))
    found = [spans for rule in rules.rules for spans in _looked(part, rule, rules.where)]
    return [move_spans(join_spans(found), text, rows)] if found else []


def _looked(text: pa.Array, rule: Rule, where: str) -> list[Spans]:
    """Look twice: at first, what one find has before it may have been taken by the one before."""
    left, found = text, list[Spans]()
    while not found or (len(found) == 1 and rule.before and len(match_rows(left, where))):
        spans = find_spans(left, rule.pattern, PLACEHOLDERS.index(rule.kind))
        if not len(spans):
            break
        found.append(spans)
        left = _without_found(text, found)
    return found


def _check_found(
    text: pa.Array,
    where: str,
    find: Callable[[str], Iterable[Stretch]],
    kind: str = PLACEHOLDERS[0],
) -> Spans:
    """Return what code finds in the rows that match; what is harmless has no kind of its own."""
    rows = match_rows(text, where)
    if not len(rows):
        return NOTHING
    part = text.take(pa.array(rows)).to_pylist()
    marked = pa.array([mark(value, find(value)) for value in part], pa.string())
    return move_spans(spans_of_marks(marked, PLACEHOLDERS.index(kind)), text, rows)
