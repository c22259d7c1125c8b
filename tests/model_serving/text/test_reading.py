"""A recogniser reads the writer's own words, and signs as what they mean."""

from time import process_time

import pyarrow as pa
import pytest

from model_serving.text.emoticons import say_faces
from model_serving.text.reading import text_for_model
from model_serving.text.spelling import respell


def read(text: str) -> str:
    return text_for_model(pa.array([text]))[0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<handle> <handle> I hate this", "I hate this"),
        ("so <link>!", "so !"),
        ("#happy ＃开心# day", "happy 开心 day"),
        ("#SoHappyToday #so_sad", "So Happy Today so sad"),
        ("<id><phone> <email>", ""),
        ("[b]so[/b] [url=x]sad[/url]", "so sad"),
        ("a*b f*ck *sighs*", "a*b f*ck sighs"),
        ("a < b <them>", "a < b <them>"),
        ("<p>so <b>sad</b></p>", "so sad"),
        ("so **very** ~~bad~~ `good`", "so very bad good"),
        ("<@123456789> <!here> <t:1618953630:R> now", "now"),
        ("[CQ:reply,id=12]ok[CQ:image,file=a.jpg]", "ok"),
    ],
)
def test_placeholders_and_markup_are_not_read(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("> you are bad\nno", "no"),
        (">you are bad\n>> and mad\nno", "no"),
        ("> you are bad", "> you are bad"),
        ("「小明：好」\n- - - - - - - -\n不好", "不好"),
        ("yes\nOn Mon, Nov 30, 2026 at 6:00 PM Bob <email> wrote:\n> no", "yes"),
        ("yes\n-----Original Message-----\nno", "yes"),
        ("<mx-reply><blockquote>bad</blockquote></mx-reply>good", "good"),
        ("[quote=bob]bad[/quote]good", "good"),
        ("RT <handle>: so sad", "so sad"),
        ("回复<handle>：真好", "真好"),
        ("1 > 2 is wrong", "1 > 2 is wrong"),
        ("真气人，好生气//@小明: 好开心", "真气人，好生气"),
        ("so sad RT @bob: so happy", "so sad"),
        ("转发//@小明: 好开心", "转发//@小明: 好开心"),
        ("//@小明: 好开心", "//@小明: 好开心"),
        ("bad\n-- \nJoy Ltd", "bad"),
        ("bad\n____________\nFrom: Bob\nso happy", "bad"),
        ("a\n>>> b\nc", "a"),
        ("Loved “so bad”", "❤"),
        ("Laughed at a movie", "Laughed at a movie"),
        ("他在信里写道：我很难过", "他在信里写道：我很难过"),
    ],
)
def test_words_of_others_are_not_read(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("emoji", "written"),
    [
        ("😊", ["(^_^)", "(◕‿◕)", "ヽ(✿ﾟ▽ﾟ)ノ", "(*^▽^*)", "≧▽≦", "(´∀｀)", "(・ω・)", "(ᵔᴥᵔ)"]),
        ("😂", [":joy:"]),
        ("😭", ["(T_T)", "(╥﹏╥)", "(；ω；)", "(ಥ﹏ಥ)", "ㅠㅠ", ":sob:", "(´；ω；`)", "(｡•́︿•̀｡)"]),
        ("😡", ["(╯°□°)╯︵ ┻━┻", "ಠ益ಠ", "(╬ಠ益ಠ)", "(｀Д´)", "(ノ`Д´)ノ", "(╯‵□′)╯︵┻━┻"]),
        ("😡", [":rage:", "[CQ:face,id=11]"]),
        ("😲", ["(⊙_⊙)", "(O_O)", "Σ(ﾟДﾟ)"]),
        ("😭", ["(；′⌒`)", "( ´･ω･)", "(｡ŏ﹏ŏ)", "o(╥﹏╥)o"]),
        ("😊", ["(๑•̀ㅂ•́)و✧", "＼(＾▽＾)／"]),
        ("🤷", ["¯\\_(ツ)_/¯"]),
        ("😱", ["(((( ;ﾟДﾟ)))", ":scream:", "[CQ:face,id=26]"]),
        ("❤", [":heart:"]),
        ("😒", ["(-_-)", "(￣ヘ￣)"]),
    ],
)
def test_faces_are_read_as_what_they_mean(emoji: str, written: list[str]) -> None:
    assert {each: read(each) for each in written} == dict.fromkeys(written, emoji)
    assert read(f"oh {written[0]} well") == f"oh {emoji} well"


def test_shortcodes_that_nobody_knows_are_words() -> None:
    assert read(":PepeSad: :so_angry:") == "Pepe Sad so angry"
    assert read("<a:happy_dance:597590985802907658>!") == "happy dance !"


@pytest.mark.parametrize(
    "text",
    [
        "see (this): it", "at 1:30", "http://a", "std::x", "1) one", "8) eight", "a:b:c",
        "(for now)",
        "注：（略）", "（一）开始", "f(x)", "option c: this", "C:/d", "a*b", "x_y_z", "(10%)",
        "w/o", "(?)",
        "(to do)", "that too", "I too oT", "(2)", "5:5 (or so)",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_face_stays(text: str) -> None:
    assert read(text) in {text, text.replace("*", " ")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("soooooo haaappy gooood cooool helllooo", "soooooo happy good cool hello"),
        ("I haaate thiiis looove", "I hate this love"),
        ("HAAAATE", "HATE"),
        ("xaaaay zzzzz", "xaaaay zzzzz"),
        ("I h4t3 this n00b", "I hate this noob"),
        ("I h a t e y o u", "I hate you"),
        ("H A T E it, U S A", "HATE it, U S A"),
        ("f*ck this, f**k off, sh!t, no!t", "fuck this, fuck off, shit, no!t"),
        ("covid19 mp3 ps5 3am 10k b2b 2nd", "covid19 mp3 ps5 3am 10k b2b 2nd"),
        ("哈哈哈哈", "哈哈哈哈"),
    ],
)
def test_words_drawn_out_and_in_digits_become_known_ones(text: str, expected: str) -> None:
    words = {"hate", "noob", "you", "so", "happy", "good", "cool", "hello", "this", "love"}
    assert respell(text, words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("😡", "😡 angry"),
        (":)", "😊 happy"),
        (":(((", "😭 sad"),
        ("：（", "😭 sad"),
        (">:(", "😡 angry"),
        ("T_T orz", "😭 😭 sad"),
        ("xDDD", "😂 haha"),
        ("o_O !", "😲 ! wow"),
        ("ok :)", "ok :)"),
        ("😭😭 !", "😭😭 ! sad"),
        ("👏🏽", "👏 happy"),
        ("❤️😂", "❤😂 happy haha"),
        ("ok 😂", "ok 😂"),
        ("ok 😡", "ok 😡 angry"),
        ("you again >:(", "you again >:( angry"),
        ("🐶", "🐶"),
        ("!!!", "!!!"),
        ("", ""),
    ],
)
def test_faces_alone_are_said_in_words(text: str, expected: str) -> None:
    assert say_faces(text) == expected


def test_rows_keep_their_place() -> None:
    column = pa.array([None, "#a", "b", None, "> c"])
    assert text_for_model(column.slice(1, 4)).to_pylist() == ["a", "b", None, "> c"]


def test_no_long_text_takes_long_to_read() -> None:
    """The worst known takes 5 times as long as an ordinary one."""

    def cost(piece: str, first: str = "") -> float:
        column, spent = pa.array([(first + piece * 4000)[:4000]]), []
        for _ in range(3):
            started = process_time()
            (text,) = text_for_model(column).to_pylist()
            respell(say_faces(text), {"hate"})
            spent.append(process_time() - started)
        return min(spent)

    ordinary = cost("I am so happy (really) #today :smile: 你好，我很开心。 ")
    hostile = [
        cost("!", "(^_^)"), cost("(", "(^_^)"), cost("(a"), cost(":a"), cost("::"), cost("<p "),
        cost("<blockquote>"), cost("[quote]"), cost("> "), cost("\n>"), cost("On a\n"),
        cost("「", "「"),
        cost("[CQ:"), cost("&amp;"), cost("a"), cost("ab"), cost("aaab"), cost("a4"), cost("a "),
        cost("f*"), cost("*", "a"), cost("#a"), cost("_a"), cost("<@"),
        cost("[图片]"), cost("//@a:"), cost("From: a\n"), cost("_____\n"), cost("<img alt='"),
        cost("[Cry]"), cost("(a "), cost("555"), cost("a+"), cost("#abcdef "), cost(">\n"),
        cost("RT @a: "), cost("Loved “"), cost("a.jpg\n"), cost("ㅠ"), cost("´"),
    ]  # fmt: skip
    assert max(hostile) < 40 * ordinary
