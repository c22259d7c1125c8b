"""The view of the consents: many rows at once, and few that come later, give the same answers."""

import datetime as dt
import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.tables import CONSENT_LEDGER
from tests.support.properties import examples
from tests.transforms.gating.test_consent import QUESTIONS, WORDS, asked, ledger
from transforms.gating import words as words_module
from transforms.gating.consent import GRANTED, UNKNOWN, WITHDRAWN, Consents
from transforms.gating.governance import ANY
from transforms.gating.words import Word, Words

START = dt.datetime(2026, 9, 1, 10, tzinfo=dt.UTC)


@examples(150)
@given(
    st.lists(WORDS, max_size=9),
    st.lists(st.integers(0, 9), max_size=3),
    st.lists(QUESTIONS, min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_rows_that_stay_in_arrow_answer_as_rows_that_were_taken_out(
    words: list[dict[str, Any]], cuts: list[int], questions: list[tuple[Any, ...]], bulk: int
) -> None:
    """Wherever the rows are cut, and whether or not somebody was asked for between."""
    plain = Consents([ledger(words)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "_BULK", bulk)
        lazy = Consents()
        places = [0, *sorted(cuts), len(words)]
        for start, stop in itertools.pairwise(places):
            if words[start:stop]:
                lazy.add(ledger(words[start:stop]))
            lazy.ask(asked(questions), "text")
        for modality in ("text", "face"):
            found = lazy.ask(asked(questions), modality).tolist()
            assert found == plain.ask(asked(questions), modality).tolist()


def grant(person: int, second: int = 0) -> dict[str, Any]:
    when = START + dt.timedelta(seconds=second)
    return {
        "person_ref": f"p{person}", "purpose": "research", "modality": ANY, "action": "granted",
        "event_time": when, "recorded_at": when,
    }  # fmt: skip


def test_what_is_added_costs_what_it_is_and_not_what_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted in words that are made, since time is not to be trusted."""
    made = 0

    def counted(*values: Any) -> Word:
        nonlocal made
        made += 1
        return Word(*values)

    monkeypatch.setattr(words_module, "Word", counted)
    people = 3 * words_module._BULK
    consents = Consents([ledger([grant(person) for person in range(people)])])
    assert made == 0, "nobody was asked for"
    assert consents.ask(asked([("p7", "research", 0)]), "text").tolist() == [GRANTED]
    assert made == 1
    consents.add(ledger([grant(7, 1) | {"action": "withdrawn"}]))
    assert consents.ask(asked([("p7", "research", 2)]), "text").tolist() == [WITHDRAWN]
    assert consents.ask(asked([("p8", "research", 2), ("x", "research", 2)]), "text").tolist() == [
        GRANTED, UNKNOWN,
    ]  # fmt: skip
    assert made == 3


def test_a_new_word_of_somebody_changes_only_their_answers() -> None:
    consents = Consents([ledger([grant(1), grant(2)])])
    questions = asked([("p1", "research", 2), ("p2", "research", 2)])
    assert consents.ask(questions, "text").tolist() == [GRANTED, GRANTED]
    kept = dict(consents._answers)
    consents.add(ledger([grant(2, 1) | {"action": "withdrawn"}]))
    assert set(kept) - set(consents._answers) == {("p2", "research", "text", 0)}
    assert consents.ask(questions, "text").tolist() == [GRANTED, WITHDRAWN]


def test_many_rows_at_once_are_heard_by_those_who_were_asked_for_before() -> None:
    consents = Consents([ledger([grant(1)])])
    question = asked([("p1", "research", 9)])
    assert consents.ask(question, "text").tolist() == [GRANTED]
    many = [grant(person, 1) | {"action": "withdrawn"} for person in range(words_module._BULK)]
    consents.add(ledger(many))
    assert consents.ask(question, "text").tolist() == [WITHDRAWN]


def test_no_rows_at_all() -> None:
    empty = pa.RecordBatch.from_pylist([], schema=CONSENT_LEDGER)
    consents = Consents([empty])
    consents.add()
    consents.add(empty)
    assert consents.ask(asked([("p1", "research", 0)]), "text").tolist() == [UNKNOWN]
    words = Words()
    assert list(words.add(empty)) == []
