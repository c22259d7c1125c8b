"""Texts in other languages or too long can't be judged; emoji are read, and so is a mix."""

import numpy as np
import pyarrow as pa
import pytest

from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser
from model_serving.text.language import language_share, name_emoji
from pipelines.config import WEIGHTS
from schemas.errors import QualityCode
from schemas.vocabularies import EXPRESSIONS

BOTH = ("en", "zh")
OURS = [
    "ok", "lol!!!", "123 :)", "😂😂", "", "我今天很 happy", "I love 北京 so much", "我の猫很可爱",
    "Die hard is the best", "That's the café where we met", "𝓽𝓱𝓮 𝓼𝓮𝓪 is calm", "[NAME] said yes",
    "Ben! Ben! Ben!", "C'mon up.", "hahahahahahaha", "noooooooo", "aaaaaargh", "gg wp", "Chandler!",
    "brb", "我要去 La Rochelle", "omg 😂😂",
]  # fmt: skip
OTHERS = [
    "Ich bin heute sehr traurig", "Je suis très heureux aujourd'hui", "estoy muy feliz hoy",
    "Сегодня мне очень грустно", "今日はとても悲しい", "오늘 너무 슬퍼",
    "Non sono contento di questo",
    "Eu não gosto disso", "مرحبا كيف حالك", "Ik ben heel boos", "saya sangat sedih", "हम खुश हैं",
    "das will sie am Mittwoch abgeben", "Tôi rất vui", "bu gün çok mutluyum",
    "Wo hast du das gehört?", "¿Por qué?", "Non lo so", "Je klinkt als Yoda.", "Det är bra",
    "nie wiem", "Ich bin müde 😂",
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> NetRecogniser:
    found = load_recogniser("text", str(WEIGHTS / "text-compact"), None, "cpu")
    assert isinstance(found, NetRecogniser)
    return found


def _of(model: NetRecogniser, texts: list[str]):
    return model.estimate(pa.record_batch({"text": pa.array(texts, pa.string())}))


@pytest.mark.parametrize("text", OURS)
def test_english_chinese_and_their_mix_are_ours(text: str) -> None:
    assert language_share(text, BOTH) == 1


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_told(text: str) -> None:
    assert language_share(text, BOTH) == 0


def test_a_text_of_two_languages_is_ours_in_part() -> None:
    assert language_share("I love you Сегодня", BOTH) == pytest.approx(8 / 15)
    assert language_share("我今天很 happy", ("en",)) == pytest.approx(5 / 9)
    assert language_share("我今天很 happy", ("zh",)) == pytest.approx(4 / 9)


def test_emoji_without_a_piece_become_their_names() -> None:
    found = name_emoji("so sick 🤢👍🏽", {"🤢"})
    assert found == "so sick  nauseated face 👍"
    assert name_emoji("so sick 👍🏽", set()) == "so sick 👍🏽"


def test_what_the_model_did_not_learn_is_abstained_on_with_a_code(model: NetRecogniser) -> None:
    found = _of(model, ["Ich bin glücklich und froh", "I am so happy!", "好开心，so happy", "ok"])
    assert found.codes == (QualityCode.OTHER_LANGUAGE, None, None, None)
    assert found.scores[0] == pytest.approx(1 / 7)
    assert model.threshold > 1 / 7
    assert [EXPRESSIONS[i] for i in found.scores[1:3].argmax(axis=1)] == ["joy", "joy"]


def test_a_book_is_abstained_on_and_a_page_is_not(model: NetRecogniser) -> None:
    line = "I am so happy that we won today! "
    texts = [line, line * 8, line * 24, line * 300, "开心" * 5000, "ab" * 5000]
    found = _of(model, texts)
    long = QualityCode.TOO_LONG
    assert found.codes == (None, None, long, long, long, long)
    sure = found.scores.max(axis=1)
    assert sure[1] > 0.5
    assert (np.diff(sure[1:4]) < 0).all()
    assert (sure[3:] < model.threshold).all()


def test_an_unknown_emoji_speaks(model: NetRecogniser) -> None:
    tokens = model.front_end.prepare(pa.array(["🤢", "nauseated face", "🥺"])).collate(np.arange(3))
    ids = tokens["input_ids"].numpy()
    assert not (ids == model.front_end._tokenizer.unk_token_id).any()
    padding = {model.front_end._tokenizer.pad_token_id}
    assert set(ids[1].tolist()) - padding <= set(ids[0].tolist())


def test_placeholders_hashes_and_what_is_not_seen_change_nothing(model: NetRecogniser) -> None:
    plain = ["I hate this", "so angry at you", "so angry now"]
    written = [
        "<handle> <handle> I hate this", "so ang\u200bry a\u00adt you <link>", "so #angry now <id>",
    ]  # fmt: skip
    read, spoilt = _of(model, plain), _of(model, written)
    assert [EXPRESSIONS[i] for i in read.scores.argmax(axis=1)] == ["anger"] * 3
    assert spoilt.scores == pytest.approx(read.scores, abs=1e-5)


def test_a_text_of_placeholders_alone_cannot_be_judged(model: NetRecogniser) -> None:
    nothing = ["<handle>", "<link> <link>", "<handle>: <id>, <phone>", "\u200b", "#", ""]
    found = _of(model, [*nothing, "<handle> wow", "!!!", "\U0001f622 <link>"])
    assert found.codes == (QualityCode.EMPTY,) * len(nothing) + (None,) * 3
    assert found.scores[: len(nothing)] == pytest.approx(1 / 7)


def test_language_and_length_are_those_of_what_is_read(model: NetRecogniser) -> None:
    texts = ["Сегодня <handle><link><email>", "I am so happy! " + "<handle> " * 300]
    foreign, own = _of(model, texts).codes
    assert (foreign, own) == (QualityCode.OTHER_LANGUAGE, None)
