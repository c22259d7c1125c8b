"""What models call the expressions: names of labels in several languages, for drafts and hints.

A name proposes what a person then writes on the card; nothing is loaded by a proposal. Names that
lie between two expressions, or beside all of them (love, contempt, calm, positive), propose none.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from schemas.vocabularies import VALUES

GENERIC: Final = re.compile(r"(label|class|output)?[ _-]*\d+")
"""Names that say nothing, as transformers gives them: ``LABEL_0``."""

_NAMES: Final[Mapping[str, str]] = {
    "anger": """
        angry ang mad rage fury furious annoyance irritated 愤怒 生气 憤怒 生氣 怒 怒り
        분노 화남 wut ärger wütend colère enojo enfado ira rabia raiva rabbia гнев злость
        😠 😡
    """,
    "disgust": """
        disgusted dis disg 厌恶 恶心 厭惡 噁心 嫌悪 혐오 ekel dégoût asco disgusto nojo
        отвращение 🤢 🤮
    """,
    "fear": """
        fearful fea afraid scared scare 恐惧 害怕 恐懼 恐怖 恐れ 공포 두려움 angst furcht
        peur miedo medo paura страх 😨 😱
    """,
    "joy": """
        happy hap happiness joyful joyous 开心 高兴 快乐 喜悦 喜 開心 高興 快樂 喜び 기쁨
        행복 freude glücklich joie heureux alegría alegria feliz felicidad gioia felicità
        радость счастье 😀 😂 😊
    """,
    "sadness": """
        sad sadly sorrow unhappy 悲伤 难过 伤心 悲傷 難過 傷心 哀 悲しみ 슬픔 traurig
        trauer traurigkeit tristesse triste tristeza tristezza грусть печаль 😢 😭
    """,
    "surprise": """
        surprised sur surp 惊讶 惊奇 吃惊 驚訝 驚奇 驚き 놀람 überraschung surpris sorpresa
        surpresa удивление 😮 😲
    """,
    "neutral": """
        neu neut neutrality noemotion no_emotion 中性 中立 平静 平靜 중립 neutre neutro
        neutrale нейтрально нейтральный 😐
    """,
    "valence": """
        valenz valencia
    """,
    "arousal": """
        activation erregung
    """,
}
_NUMBERED: Final = re.compile(r"^\d+[ ._:)-]+|[ ._:(-]+\d+\)?$")
_AFFIX: Final = re.compile(r"^(emotion|expression|label|class|feeling|emo|em|lbl)[ ._:/-]+")


def fold_name(name: str) -> str:
    """Return a label's name without what says nothing: case, white space around, wide letters."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


_EXPRESSION_OF: Final = {
    fold_name(word): expression
    for expression, words in _NAMES.items()
    for word in (expression, *words.split())
}


def propose(name: str) -> str | None:
    """Return the expression, or value, that a label's name stands for; None where it tells none.

    A number or a word such as ``emotion_`` before the name is passed over.
    """
    key = fold_name(name)
    for plain in (key, _AFFIX.sub("", _NUMBERED.sub("", key)).strip("\"'[]() ")):
        if plain in _EXPRESSION_OF:
            return _EXPRESSION_OF[plain]
    return None


def propose_labels(names: Sequence[str]) -> dict[str, str | None]:
    """Return the ``labels`` of a card as the names propose them; a value is given once at most."""
    found = {name: propose(name) for name in names}
    for value in VALUES:
        places = [name for name, target in found.items() if target == value]
        found |= dict.fromkeys(places[1:])
    return found
