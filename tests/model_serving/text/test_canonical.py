"""The canonical form: what scrubber and recognisers both read."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_serving.text.canonical import canonical


def form(text: str) -> str:
    return canonical(pa.array([text], pa.string()))[0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ｉ ｈａｔｅ", "I hate"),
        ("𝓘 𝗵𝗮𝘁𝗲 𝕪𝕠𝕦", "I hate you"),
        ("ɪ ʜᴀᴛᴇ", "i hate"),
        ("🅸 🅷🅰️🆃🅴", "I HATE"),
        ("ⓗⓐⓣⓔ ʰᵃᵗᵉ", "hate hate"),
        ("І hаtе yоu", "I hate you"),
        ("αngry", "angry"),
        ("I&#39;m &lt;3 &amp;amp; &#x1F621;", "I'm <3 & 😡"),
        ("h&#8203;ate", "hate"),
        ("<:pepe:123456789012345678><a:x:12345>", ":pepe::x:"),
        ("h\u200ba\u00adte", "hate"),
    ],
)
def test_one_form_of_many(text: str, expected: str) -> None:
    assert form(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Я злюсь", "Δοκιμή", "μm and Ω", "第１２关，第③次……", "R&D; a&b", "5 < 6 & 7",
        "<b>", "😡❤️👨‍👩‍👧",
        "ｶﾞ", "½", "это моё", "naïve café", "<:not an emoji:>",
    ],
)  # fmt: skip
def test_what_is_written_so_on_purpose_stays(text: str) -> None:
    assert form(text) == text


@given(
    st.text(
        st.one_of(
            st.sampled_from("aIо&;#38ampltx<:>1🅰️\u200bΑ\u0336ｈ𝗮"), st.characters(codec="utf-8")
        )
    )
)
def test_the_form_of_the_form_is_the_same(text: str) -> None:
    once = form(text)
    assert form(once) == once


def test_nulls_and_rows_keep_their_place() -> None:
    column = pa.array([None, "ｈi", "b", None, "&amp;"])
    assert canonical(column.slice(1, 4)).to_pylist() == ["hi", "b", None, "&"]
