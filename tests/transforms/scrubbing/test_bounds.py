"""What a text costs the scrubber is bounded by its length, whatever stands in it."""

from time import process_time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.properties import examples
from transforms import scrub as scrub_module
from transforms.scrub import ROUNDS, scrub
from transforms.scrubbing.numbers import MOST_ASKED, Phones

LONGEST = 4000
"""Characters of the largest text that validation lets through."""


def repeated(piece: str, first: str = "") -> str:
    return (first + piece * LONGEST)[:LONGEST]


ORDINARY = repeated(
    "I scored 1200 points, mail jo@example.com or call 415-555-2671 now! 你好，我很开心。 "
)
HOSTILE = [
    repeated("1234567 ", "13812345678 "),  # each placeholder made a phone of the next number
    repeated("13812345678."),  # each number is one only when the one before is gone
    repeated("13812345678,"),
    repeated("2025550123x"),
    repeated("0012345678901 "),
    repeated("020 1234 9999 x "),
    repeated("(0123)"),
    repeated("1 "),
    repeated("1-"),
    repeated("AB12 "),
    repeated("AB12C"),
    repeated("a@b.com"),
    repeated("@a"),
    repeated("a."),
    repeated("www."),
    repeated("a-", "@"),
    repeated("wechat:"),
    repeated("ssn 1"),
    repeated("call "),
    repeated("\u0301", "a"),
    repeated("e\u0301\u0327\u0336"),
    repeated("\u200b1"),
    repeated("❤\ufe0f\u200d"),
    repeated("a at b ", "x dot "),
    repeated("jo dot "),
    repeated("加v"),
    repeated("wechat"),
    repeated("add me a"),
    repeated("<@12345"),
    repeated("[CQ:at,"),
    repeated("<at "),
    repeated("一"),
    repeated("一2"),
    repeated("one two "),
    repeated("u/abc "),
    repeated("a#1234"),
    repeated("&amp;"),
    repeated("&#38;#38;"),
    repeated("1.2.3."),
    repeated("ab:"),
    repeated("аb"),
    repeated("a@h"),
    repeated("@a "),
    repeated("a.gg "),
    repeated("1 2 3 "),
    repeated("12345678 x"),
    repeated("a at b."),
    repeated("a @ b . "),
    repeated("1.2.3[.]"),
    repeated("O1"),
    repeated("fb: a"),
    repeated("%20a"),
    repeated("\\u0041"),
    repeated("Ã©"),
]


def cost(text: str) -> float:
    column, spent = pa.array([text]), []
    for _ in range(3):
        started = process_time()
        scrub(column)
        spent.append(process_time() - started)
    return min(spent)


def test_no_long_text_costs_much_more_than_an_ordinary_one() -> None:
    """They took up to 1,700 times as long; now the worst known takes 3 times."""
    ordinary = cost(ORDINARY)
    dear = {text[:24]: cost(text) / ordinary for text in HOSTILE}
    assert max(dear.values()) < 40, dear


def test_cost_grows_no_faster_than_the_text() -> None:
    for text in HOSTILE:
        whole, quarter = cost(text * 4), cost(text)
        assert whole < 12 * quarter, text[:24]


UNITS = st.lists(
    st.sampled_from(
        ["13812345678", "1234567", "2025550123", "020", "1", "0", "+", "(", ")", "-", ".", " ", "/",
         "@", "a", "b.com", "www.", "微信", "QQ", "call ", "DE89", "AB12", "：", "<phone>", "号"]
    ),
    min_size=1, max_size=5,
).map("".join)  # fmt: skip


@examples(40)
@given(unit=UNITS, first=UNITS)
def test_rounds_and_questions_are_bounded(unit: str, first: str) -> None:
    rounds, phones = [], []
    with pytest.MonkeyPatch.context() as patch:
        real = scrub_module._round

        def counted(text: pa.Array, asked: Phones) -> tuple:
            rounds.append(text)
            phones.append(asked)
            return real(text, asked)

        patch.setattr(scrub_module, "_round", counted)
        once = scrub(pa.array([repeated(unit, first)]))
    assert len(rounds) <= ROUNDS + 1
    assert all(asked.asked <= MOST_ASKED * (ROUNDS + 1) for asked in phones)
    assert scrub(once).equals(once)


def test_what_is_left_undecided_is_replaced() -> None:
    dotted = ".".join(["13812345678"] * 300)
    (left,) = scrub(pa.array([f"so: {dotted} good bye"])).to_pylist()
    assert left.startswith("so: <phone>")
    assert left.endswith(" good bye")
    assert not any(char.isdigit() for char in left)


def test_numbers_too_many_to_be_asked_about_are_taken_for_phone_numbers() -> None:
    """None of these is in any numbering plan."""
    few, many = (" ; ".join(f"12000{i:05}" for i in range(1, n + 1)) for n in (MOST_ASKED, 200))
    assert scrub(pa.array([few])).to_pylist() == [few]
    (left,) = scrub(pa.array([many])).to_pylist()
    assert left.count("<phone>") == 200 - MOST_ASKED
    assert left.startswith(few)
