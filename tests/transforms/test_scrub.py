import itertools
import re
import unicodedata

import apache_beam as beam
import phonenumbers
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import assume, example, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType
from stdnum import iban, luhn
from stdnum.cn import ric

from schemas.events import event_schema
from schemas.stages import MAIN
from tests.support.properties import examples
from transforms import scrub as scrub_module
from transforms.scrub import ScrubText, scrub


def scrubbed(*texts: str | None) -> list[str | None]:
    return scrub(pa.array(texts, pa.string())).to_pylist()


FOUND = [
    ("mail jo.doe+x@example.co.uk please", "mail <email> please"),
    ("邮箱是abc123@qq.com谢谢", "邮箱是<email>谢谢"),
    ("ａｂｃ＠ｑｑ．ｃｏｍ", "<email>"),
    ("jo[at]example.com", "<email>"),
    ("看https://example.com/a?b=c吧", "看<link>吧"),
    ("go to www.example.com/x.", "go to <link>."),
    ("join discord.gg/abc123 now", "join <link> now"),
    ("www.I am", "<link> am"),
    ("now (4000000000000002", "now (<id>"),
    ("see example.org, ok", "see <link>, ok"),
    ("@john_doe and @小明同学 哈哈", "<handle> and <handle> 哈哈"),
    ("bob@work", "bob<handle>"),
    ("call 555-1234 now", "call <phone> now"),
    ("+1 415-555-2671", "<phone>"),
    ("(415) 555-2671", "<phone>"),
    ("it is 4155552671", "it is <phone>"),
    ("020 7946 0958", "<phone>"),
    ("07911 123456", "<phone>"),
    ("030/1234567", "<phone>"),
    ("0171 2345678", "<phone>"),
    ("我的电话13812345678记得打", "我的电话<phone>记得打"),
    ("138-1234-5678", "<phone>"),
    ("（010）62345678", "<phone>"),
    ("０１０－６２３４５６７８", "<phone>"),
    ("13812345678,13912345678,13712345678", "<phone>,<phone>,<phone>"),
    ("tel13812345678abc", "tel<phone>abc"),
    ("身份证11010519491231002X", "身份证<id>"),
    ("130503670401001", "<id>"),
    ("078-05-1120", "<id>"),
    ("4111 1111 1111 1111", "<id>"),
    ("4111111111111111", "<id>"),
    ("378282246310005", "<id>"),
    ("DE89 3704 0044 0532 0130 00 thanks", "<id> thanks"),
    ("iban gb82west12345698765432.", "iban <id>."),
    ("passport E12345678", "passport <id>"),
    ("加我微信 abc123", "加我微信 <id>"),
    ("加vx: hello_world9", "加vx: <id>"),
    ("微信号是helloworld", "微信号是<id>"),
    ("QQ：12345678", "QQ:<id>"),
    ("qq号是10001呀", "qq号是<id>呀"),
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_personal_data_becomes_a_placeholder(text: str, expected: str) -> None:
    assert scrubbed(text) == [expected]


NORMAL = [
    "I scored 1200 points in 2026",
    "3.14",
    "pi is 3.14159265358979",
    "第１２关，第③次……",
    "第12关",
    "see you at 10:30 on 2026-09-01",
    "2026-09-01 10:00:00",
    "from 01/09/2026 to 05/09/2026",
    "2025年12月31日12点30分",
    "1,234,567 gold, 1.234.567,89 silver, 1000000 wood",
    "23333333333333",
    "66666666666666666",
    "88888888",
    "5201314",
    "+1000000 exp",
    "hp 12000/35000 mp 400/900",
    "we are @ 5 or 3 pm",
    "wechat because it is cool",
    "wait...what",
    "QQ is fun",
    "",
]


@pytest.mark.parametrize("text", NORMAL)
def test_normal_text_and_numbers_survive_byte_for_byte(text: str) -> None:
    assert scrubbed(text) == [text]


def test_nulls_and_slices_keep_their_place() -> None:
    column = pa.array(["x", None, "a@b.com", "y", "13812345678", None])
    assert scrub(column).to_pylist() == ["x", None, "<email>", "y", "<phone>", None]
    assert scrub(column.slice(2, 3)).to_pylist() == ["<email>", "y", "<phone>"]
    assert scrub(column.slice(0, 0)).to_pylist() == []


BEFORE = st.sampled_from(["", "hi, ", "please call ", "给你：", "我的是", "now (", "12 monsters, "])
AFTER = st.sampled_from(["", " ok?", "，谢谢", "谢谢", ") bye", "! lol", "\n"])

FORMATS = (PhoneNumberFormat.NATIONAL, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.E164)


@st.composite
def phone_numbers(draw: st.DrawFn) -> str:
    region = draw(st.sampled_from(["US", "GB", "DE", "CN"]))
    kind = draw(st.sampled_from([PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE]))
    number = phonenumbers.example_number_for_type(region, kind)
    assert number is not None
    head = str(number.national_number)[:-4]
    number.national_number = int(f"{head}{draw(st.integers(0, 9999)):04}")
    assume(phonenumbers.is_valid_number(number))
    return phonenumbers.format_number(number, draw(st.sampled_from(FORMATS)))


def digits_of(text: str) -> str:
    return re.sub(r"\D", "", unicodedata.normalize("NFKC", text))


@examples(120)
@given(before=BEFORE, number=phone_numbers(), after=AFTER, wide=st.booleans())
def test_no_phone_number_survives(before: str, number: str, after: str, wide: bool) -> None:
    written = number.translate({48 + d: 0xFF10 + d for d in range(10)}) if wide else number
    (left,) = scrubbed(f"{before}{written}{after}")
    assert left is not None
    assert digits_of(left) == digits_of(before), left


@examples(100)
@given(
    before=BEFORE, address=st.emails(), after=st.sampled_from(["", " ok", "，谢谢", "谢谢", "!"])
)
@example(before="", address="0@AWWW.COM", after="")
def test_no_address_survives(before: str, address: str, after: str) -> None:
    (left,) = scrubbed(f"{before}{address}{after}")
    assert left is not None
    assert "@" not in left
    assert "<email>" in left


def with_check(kind: str, digits: str) -> str:
    if kind == "card":
        return "4" + digits[:14] + luhn.calc_check_digit("4" + digits[:14])
    if kind == "iban":
        body = "37040044" + digits[:10]
        return "DE" + iban.calc_check_digits("DE00" + body) + body
    body = "110105" + "19491231" + digits[:3]
    return body + ric.calc_check_digit(body + "0")


@examples(100)
@given(
    before=BEFORE,
    kind=st.sampled_from(["card", "iban", "resident"]),
    digits=st.text("0123456789", min_size=14, max_size=14),
    grouped=st.booleans(),
    after=AFTER,
)
def test_no_identity_number_survives(
    before: str, kind: str, digits: str, grouped: bool, after: str
) -> None:
    number = with_check(kind, digits)
    if grouped and kind != "resident":
        number = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    (left,) = scrubbed(f"{before}{number}{after}")
    assert left is not None
    assert digits_of(left) == digits_of(before), left


def test_no_address_is_cut_by_another_pattern() -> None:
    found = {
        "0@AWWW.COM": "<email>",
        "@awww.foo": "<handle>",
        "@john.com": "<handle>",
        "x www.a.com@b.com": "x <link>",
        "E12345678@discord.gg/abc123": "<email>",
        "me@example.com/private?token=1": "<link>",
        "abc@qq.com谢谢@bob": "<email>谢谢<handle>",
        "ok99 DE89 3704 0044 0532 0130 00": "ok99 <id>",
        "in 2026 4111 1111 1111 1111": "in <id>",
        "+1 415-555-2671(415) 555-2671": "<phone>",
    }
    assert dict(zip(found, scrubbed(*found), strict=True)) == found


SECRETS = [
    "jo.doe@example.co.uk", "0@AWWW.COM", "https://example.com/a?b=c", "www.example.com/x",
    "discord.gg/abc123", "@john_doe", "@小明同学", "+1 415-555-2671", "4155552671",
    "020 7946 0958", "13812345678", "（010）62345678", "4111 1111 1111 1111", "4111111111111111",
    "11010519491231002X", "078-05-1120",
]  # fmt: skip


@pytest.mark.parametrize("between", ["", " ", ",", "，", ".", "/", "-", "、和", "@", "_", ":"])
def test_of_two_secrets_side_by_side_no_piece_is_left(between: str) -> None:
    pairs = [
        (a, b)
        for a, b in itertools.product(SECRETS, repeat=2)
        if between in {" ", ",", "，", "、和", "@", ":"} or not (a[-1].isalnum() and b[0].isdigit())
    ]
    for pair, left in zip(pairs, scrubbed(*(between.join(pair) for pair in pairs)), strict=True):
        rest = re.sub("<[a-z]+>", "\0", left or "")
        for secret in pair:
            plain = unicodedata.normalize("NFKC", secret)
            assert not any(plain[i : i + 3] in rest for i in range(len(plain) - 2)), (pair, left)


HIDING = [
    "\u00ad", "\u034f", "\u115f", "\u1160", "\u17b4", "\u180e", "\u200b", "\u200d", "\u200f",
    "\u202e", "\u2060", "\u2063", "\u2066", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ufffa",
    "\U000e0041", "\U000e0100", "\U0001d173", "\0", "\b", "\u0301", "\u0336", "\u20e3", "\u0e34",
]  # fmt: skip


@given(
    secret=st.sampled_from(
        ["13812345678", "+1 415-555-2671", "jo@example.com", "4111111111111111", "@john_doe"]
    ),
    hiding=st.lists(st.tuples(st.integers(0, 16), st.sampled_from(HIDING)), max_size=6),
)
@example(secret="jo@example.com", hiding=[(2, "\u0301"), (2, "\u0301")])
def test_nothing_hides_in_what_cannot_be_seen(secret: str, hiding: list[tuple[int, str]]) -> None:
    written = secret
    for place, char in hiding:
        written = written[:place] + char + written[place:]
    (left,) = scrubbed(f"to {written} now")
    assert left in {f"to {found} now" for found in ("<phone>", "<email>", "<id>", "<handle>")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("𝗱𝗶𝘀𝗰𝗼𝗿𝗱.𝗴𝗴/abc", "<link>"),
        ("discord．gg", "<link>"),
        ("café.com", "<link>"),
        ("⑬⑱⑫⑬⑭⑤", "<phone>"),
        ("1️⃣3️⃣8️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣", "<phone>"),
        ("j̶o̶e̶@̶x̶.̶c̶o̶m̶", "<email>"),
    ],
)
def test_styled_letters_and_digits_are_read(text: str, expected: str) -> None:
    assert scrubbed(text) == [expected]


def test_the_quick_mask_knows_what_normalisation_does() -> None:
    """A half-width voicing mark between digits, which goes with what stands on none, hid them."""
    changed = [
        char
        for char in map(chr, range(0x80, 0x110000))
        if not "\ud800" <= char <= "\udfff" and unicodedata.normalize("NFKC", char) != char
    ]
    assert len(changed) > 4000
    for text in (
        "138{0}12345678",
        "{0}{0}{0}{0}{0}{0}{0}",
        "discord{0}gg",
        "jo{0}example.com",
        "x{0}",
    ):
        texts = pa.array([text.format(char) for char in changed])
        quick = scrub(texts)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scrub_module, "MAYBE", [""])
            assert scrub(texts).equals(quick)


PIECES = st.lists(
    st.sampled_from(
        [
            *(text for text, _ in FOUND),
            *NORMAL,
            *(
                "@",
                "1",
                "0",
                "23",
                "415",
                "-",
                " ",
                ".",
                "+",
                "(",
                ")",
                "/",
                "www.",
                "://",
                "a",
                "é",
            ),
            *(
                "微信",
                "QQ",
                "号",
                "：",
                "，",
                "\u0338",
                "１",
                "Ａ",
                "😀",
                "call ",
                "DE",
                "\n",
                "<id>",
            ),
        ]
    ),
    max_size=8,
).map("".join)


@examples(60)
@given(texts=st.lists(st.one_of(PIECES, st.text(max_size=40)), min_size=1, max_size=30))
@example(texts=["0@AWWW.COM"])
def test_scrubbing_twice_changes_nothing_more(texts: list[str]) -> None:
    once = scrub(pa.array(texts))
    assert scrub(once).equals(once)


@examples(40)
@given(texts=st.lists(PIECES, min_size=1, max_size=30))
@example(texts=["2026ﾟ078-05-1"])
def test_the_quick_mask_hides_no_row_from_the_rules(texts: list[str]) -> None:
    quick = scrub(pa.array(texts)).to_pylist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrub_module, "MAYBE", [""])
        patch.setattr(scrub_module, "NOT_PLAIN", "")
        slow = scrub(pa.array(texts)).to_pylist()
    assert quick == slow


@examples(40)
@given(
    moments=st.lists(st.datetimes(), min_size=1, max_size=20),
    form=st.sampled_from(["%Y-%m-%d %H:%M", "%d/%m/%Y", "%Y年%m月%d日", "%Y-%m-%dT%H:%M:%S"]),
    points=st.integers(0, 999_999),
)
def test_dates_times_and_scores_survive(moments: list, form: str, points: int) -> None:
    texts = [f"won {points} points on {moment.strftime(form)}, yes" for moment in moments]
    assert scrubbed(*texts) == texts


def batch(kind: str, **columns: object) -> pa.RecordBatch:
    row = {"topic": f"session.{kind}", "partition": 0, "offset": 1, **columns}
    return pa.RecordBatch.from_pylist([row], schema=event_schema(kind))


def test_the_stage_changes_only_the_text_of_text_events() -> None:
    text = batch("text", text="mail a@b.com", lang="en", subject="a@b.com")
    context = batch("context", scene="a@b.com")
    with beam.Pipeline(runner=FnApiRunner()) as p:
        scrubbed = p | beam.Create([text, context]) | ScrubText()
        rows = scrubbed[MAIN] | beam.FlatMap(pa.RecordBatch.to_pylist)
        seen = rows | beam.Map(
            lambda r: (r.get("text"), r.get("lang"), r["subject"], r.get("scene"))
        )
        assert_that(
            seen,
            equal_to([("mail <email>", "en", "a@b.com", None), (None, None, None, "a@b.com")]),
        )
