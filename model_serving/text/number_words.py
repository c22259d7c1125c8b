"""Digits that are read aloud for what they sound like in Chinese: 555 weeps, 233 laughs."""

import re
from typing import Final

MAYBE_NUMBER_WORD: Final = r"555|233|52[01]|1314|7456"
"""Matches, in RE2, every text in which ``say_number_words`` may find something."""

_LETTER = re.compile("[A-Za-z]{2}")
_CODE = re.compile("[码碼号號]|验证|驗證|口令|房间|房間")
_NO_AMOUNT = (
    r"(?![0-9.]*[0-9A-Za-z%℃°$€¥]"
    r"|[个块元次人年月日天分秒点岁米斤名位度号级万千百亿粉票张条楼路章集页])"
)
_START = r"(?<![0-9A-Za-z.,:：#$€¥+\-=第共约近达花到满])"
_WEEPING = re.compile(
    rf"{_START}(?:5{{4,}}|(?:(?<=[哭呜惨累苦痛])|(?<![\w])){_START}555){_NO_AMOUNT}"
)
_LAUGHING = re.compile(
    rf"{_START}23{{3,}}{_NO_AMOUNT}|(?<!\w){_START}233{_NO_AMOUNT}|(?<=[笑哈死])233{_NO_AMOUNT}"
)
_SAID: Final = {
    "520": "我爱你", "521": "我爱你", "5201314": "我爱你一生一世", "1314520": "一生一世我爱你",
    "7456": "气死我了",
}  # fmt: skip
_ALONE = re.compile(
    rf"(?<!\w){_START}(?:{'|'.join(sorted(_SAID, key=len, reverse=True))})(?!\w){_NO_AMOUNT}"
)


def say_number_words(text: str) -> str:
    """Return the text with such numbers in words.

    In a text with English words they are numbers, and beside a word for a code or a room they may
    be one: what lands of it would tell 5555 from all other codes.
    """
    if _LETTER.search(text) or _CODE.search(text):
        return text
    text = _WEEPING.sub("呜呜呜", text)
    text = _LAUGHING.sub("哈哈哈", text)
    return _ALONE.sub(lambda found: _SAID[found[0]], text)
