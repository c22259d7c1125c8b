"""The scrubber finds what is personal in 300 sentences that are committed, and leaves the rest."""

import pyarrow as pa
import pytest

from infra.bench.scrubbing import SENTENCES, Judged, false_alarms, judge, read_sentences, recall
from schemas.arrow import FEW
from transforms.scrub import scrub


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return judge(read_sentences(SENTENCES / "first.txt"))


def test_half_of_the_300_sentences_have_personal_data(judged: list[Judged]) -> None:
    personal = [each.sentence.language for each in judged if each.sentence.personal]
    assert (len(judged), len(personal)) == (300, 150)
    assert min(personal.count("English"), personal.count("Chinese")) >= 75


def test_nearly_all_personal_data_is_found(judged: list[Judged]) -> None:
    missed = [(each.sentence.text, each.scrubbed) for each in judged if each.left]
    assert recall(judged) >= 0.97, missed


def test_hardly_any_other_sentence_is_changed(judged: list[Judged]) -> None:
    changed = [each.scrubbed for each in judged if each.is_false_alarm]
    assert false_alarms(judged) < 0.02, changed


def test_kinds_once_wrong_are_right_in_other_sentences() -> None:
    third = judge(read_sentences(SENTENCES / "third.txt"))
    assert recall(third) >= 0.97, [each.scrubbed for each in third if each.left]
    assert false_alarms(third) < 0.02, [each.scrubbed for each in third if each.is_false_alarm]


def test_what_is_around_it_stays(judged: list[Judged]) -> None:
    """At least half of what is around personal data: a rule that took whole lines would pass."""
    for each in judged:
        around = each.sentence.text
        for personal in each.sentence.personal:
            around = around.replace(personal, " ")
        words = around.split()
        assert sum(word in each.scrubbed for word in words) * 2 >= len(words) - 1, each


def test_a_text_fares_alone_as_in_a_large_batch(judged: list[Judged]) -> None:
    """Few rows are searched by RE2 objects, many by Arrow."""
    texts = [each.sentence.text for each in judged]
    personal = [each.sentence.text for each in judged if each.sentence.personal]
    assert len(personal) > FEW
    assert scrub(pa.array(texts)).to_pylist() == [
        scrub(pa.array([text]))[0].as_py() for text in texts
    ]
