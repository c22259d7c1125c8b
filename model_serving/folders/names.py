"""What models call the expressions: names of labels in several languages, for drafts and hints.

A name proposes what a person then writes on the card; nothing is loaded by a proposal. Names that
lie between two expressions, or beside all of them (love, contempt, calm, positive), propose none.
Of several words each has to say the same.
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
        angry ang angered mad rage enraged outrage outraged fury furious annoyance annoyed
        irritated irritation 愤怒 生气 憤怒 生氣 怒 怒り 분노 화남 wut ärger wütend colère enojo
        enfado ira rabia raiva rabbia гнев злость 😠 😡
    """,
    "disgust": """
        disgusted disgusting dis disg revulsion revolted repulsed 厌恶 恶 恶心 厭惡 噁心 嫌悪
        혐오 ekel dégoût asco disgusto nojo отвращение 🤢 🤮
    """,
    "fear": """
        fearful fea afraid scared scare scary frightened fright terrified terror 恐惧 惧 害怕
        恐懼 恐怖 恐れ 공포 두려움 angst furcht peur miedo medo paura страх 😨 😱
    """,
    "joy": """
        happy hap happiness happily joyful joyous cheerful cheerfulness delighted delight glad
        gladness gleeful 开心 高兴 快乐 喜悦 喜 乐 開心 高興 快樂 喜び 기쁨 행복 freude
        glücklich joie heureux alegría alegria feliz felicidad gioia felicità радость счастье 😀
        😂 😊
    """,
    "sadness": """
        sad sadly sorrow sorrowful unhappy unhappiness mournful 悲伤 难过 伤心 悲傷 難過 傷心 哀
        悲しみ 슬픔 traurig trauer traurigkeit tristesse triste tristeza tristezza грусть печаль
        😢 😭
    """,
    "surprise": """
        surprised surprising sur surp astonished astonishment amazed amazement 惊讶 惊 惊奇 吃惊
        驚訝 驚奇 驚き 놀람 überraschung surpris sorpresa surpresa удивление 😮 😲
    """,
    "neutral": """
        neu neut neutrality noemotion no_emotion emotionless normal 中性 中立 无情绪 無情緒
        ニュートラル 중립 neutre neutro neutrale нейтрально нейтральный 😐
    """,
    "valence": """
        valenz valencia
    """,
    "arousal": """
        activation erregung
    """,
}
_SILENT_WORDS: Final = """
    b class em emo emotion emotions expression feeling i is label lbl prob probability score
    情绪 情緒 情感 表情 感情
"""
"""Words of a name that tell nothing: ``is_joy``, ``__label__joy``, ``joy_score``, ``B-joy``."""
_SILENT: Final = frozenset(_SILENT_WORDS.split())
_SUFFIX: Final = re.compile(r"(?<=\S)(情绪|情緒|情感|表情|感情)$")
_WORD: Final = re.compile(r"[^\W_]+")
_DOUBT: Final = re.compile(r"^[!~¬≠]|\?$")
_ABBREVIATED: Final = 3
"""Letters of an abbreviation beside its word: ``Happiness (H)``."""


def fold_name(name: str) -> str:
    """Return a label's name without what says nothing: case, white space around, wide letters."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


_EXPRESSION_OF: Final = {
    fold_name(word): expression
    for expression, words in _NAMES.items()
    for word in (expression, *words.split())
}
_PICTURES: Final = "".join(word for word in _EXPRESSION_OF if not word.isalpha() and len(word) == 1)


def propose(name: str) -> str | None:
    """Return the expression, or value, that a label's name stands for; None where it tells none.

    Numbers, words such as ``emotion_`` and ``_score``, and abbreviations of a word beside it are
    passed over; of what remains each word has to stand for the same.
    """
    key = fold_name(name)
    for whole in (key, _SUFFIX.sub("", key)):
        if whole in _EXPRESSION_OF:
            return _EXPRESSION_OF[whole]
    if _DOUBT.search(key):
        return None
    found = {_EXPRESSION_OF.get(word) for word in _find_words(key)}
    return found.pop() if len(found) == 1 else None


def _find_words(name: str) -> list[str]:
    """Return the words and faces of a name that may tell something."""
    faces = [face for face in _PICTURES if face in name]
    words = [_SUFFIX.sub("", word) for word in _WORD.findall(name)]
    telling = [word for word in words if word not in _SILENT and not word.isdigit()]
    return faces + [
        word for word in telling if not any(_abbreviates(word, other) for other in telling)
    ]


def _abbreviates(word: str, other: str) -> bool:
    return len(word) <= _ABBREVIATED and len(word) < len(other) and other.startswith(word)


def propose_labels(names: Sequence[str]) -> dict[str, str | None]:
    """Return the ``labels`` of a card as the names propose them; a value is given once at most."""
    found = {name: propose(name) for name in names}
    for value in VALUES:
        places = [name for name, target in found.items() if target == value]
        found |= dict.fromkeys(places[1:])
    return found
