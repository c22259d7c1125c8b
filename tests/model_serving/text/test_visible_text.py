"""What cannot be seen is taken out of a text; what a script or an emoji needs stays."""

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_serving.text.visible_text import NOT_PLAIN, strip_invisible
from schemas.arrow import match_rows

KEPT = [
    "Tiếng Việt rất hay", "ẹ̀kọ́", "שָׁלוֹם בְּרֵאשִׁ֖ית", "हिन्दी में क़लम", "ภาษาไทยที่นี่", "བཀྲ་ཤིས་བདེ་ལེགས",
    "မြန်မာ", "مُحَمَّدٌ", "தமிழ்", "ខ្មែរ", "한국어", "がぎぐ", "Ё й", "≠ ≮", "naïve café",
    "👨‍👩‍👧", "❤️", "🏳️‍🌈", "🧔‍♂️", "👩🏽‍🚀", "👍🏽", "🇩🇪", "©️ ☎︎",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "a\tb\r\nc", "你好，世界！",
]  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_what_scripts_and_emoji_need_stays(text: str) -> None:
    assert seen(text) == text
    apart = unicodedata.normalize("NFD", text)
    assert unicodedata.normalize("NFC", seen(apart)) == unicodedata.normalize("NFC", text)


def seen(text: str) -> str:
    return strip_invisible(pa.array([text], pa.string()))[0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I h\u200bate th\u00adis\ufeff", "I hate this"),
        ("\u202eevil\u202c \u2066bidi\u2069 \u061c", "evil bidi "),
        ("a\u3164b\u115f\u1160\uffa0c\u2800d", "abc d"),
        ("a\ufff9b\ufffac\ufffbd\u2062e", "abcde"),
        ("1\ufe0f2\ufe0e3\U000e0100", "123"),
        ("so\U000e0068\U000e0069 \U0001f3f4\U000e0068\U000e0069", "so \U0001f3f4"),
        ("x\u200dy ❤\u200d! 1️⃣ \u200d😀", "xy ❤! 1 😀"),
        ("❤\ufe0f\ufe0f\u0301", "❤\ufe0f"),
        ("a\0b\x1bc\x7f\u0085d\u2028e", "abc d e"),
        ("Z̸̡̢̛͎̗̪̓͂a̶̧̛͎l̷̛̗g̶̲̅̓o̵̢̅̓̕", "Zalgo"),
        ("h̲a̲t̲e̲ t̶h̶i̶s̶", "hate this"),
        ("我̶恨̶你̶ が̶", "我恨你 が"),
        ("5\u03381\u0301 !\u0301 \u0301", "51 ! "),
        ("a\u0e34b\u05b0", "ab"),
        ("e\u0301" * 3, "ééé"),
    ],
)
def test_what_cannot_be_seen_is_taken_out(text: str, expected: str) -> None:
    assert seen(text) == expected


def test_plain_characters_are_those_that_nothing_is_taken_out_of() -> None:
    """The quick mask, which lets rows of them alone, hides no character from the closer look."""
    chars = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    column = pa.array([f"x{char}x" for char in chars])
    plain = set(range(len(chars))) - set(match_rows(column, NOT_PLAIN).tolist())
    assert len(plain) > 80_000
    cleaned = strip_invisible(pa.array([f"\u200bx{chars[i]}x" for i in sorted(plain)])).to_pylist()
    assert cleaned == [f"x{chars[i]}x" for i in sorted(plain)]


@given(
    st.text(
        st.one_of(
            st.sampled_from(
                "ae1@.❤👩\u200d\ufe0f\u0301\u0327\u0336\u0e34\u3099か가\u1100\u1161我=\u0338"
            ),
            st.characters(codec="utf-8"),
        )
    )
)
def test_looking_twice_changes_nothing_more(text: str) -> None:
    once = seen(text)
    assert seen(once) == once
    assert len(once) <= 3 * len(text)


def test_nulls_and_rows_keep_their_place() -> None:
    column = pa.array([None, "a\u200b", "b", None, "\ufeff"])
    assert strip_invisible(column).to_pylist() == [None, "a", "b", None, ""]
    assert strip_invisible(column.slice(1, 3)).to_pylist() == ["a", "b", None]
