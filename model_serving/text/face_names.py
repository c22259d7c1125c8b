"""Faces by the names that clients write for those who cannot show them: ``[Angry]``, ``(cry)``.

WeChat and QQ export names in brackets, Skype in parentheses, Twitch's emotes are words. Names that
a model reads right as words, such as ``[流泪]``, are left to it.
"""

import re
from typing import Final

_BRACKETED: Final = {
    name: emoji
    for emoji, names in {
        "😡": "angry rage mad wrath furious scold swear cursing cursed hammer toasted 抓狂 暴怒",
        "😭": "cry sob tear tears tearingup crying weep wail whimper",
        "😢": "sad frown letdown shrunken hurt wronged disappointed upset 泪奔",
        "💔": "broken brokenheart heartbreak heartbroken wilt",
        "😂": "lol laugh laughing rofl joyful facepalm laughcry 笑cry",
        "😊": "smile happy grin chuckle blush shy slight smirk cute 呲牙 憨笑 耶",
        "❤": "heart love inlove lovely drool hearteyes",
        "😘": "kiss hug rose blowkiss",
        "👍": "thumbsup clap yeah yeah! strong like respect applause",
        "🎉": "party celebrate fireworks firecracker packet gift",
        "😲": "surprise surprised shocked astonished wow amazed flushed omg",
        "😱": "terror scream panic scared fear afraid frightened horror",
        "🤮": "puke sick vomit disgust 吐 呕 嘔吐 呕吐",
        "😒": "scowl speechless pooh-pooh grimace duh bah disdain contempt annoyed boredom bored "
        "sigh",
    }.items()
    for name in names.split()
}
_SPOKEN: Final = frozenset(
    [
        "angry",
        "rage",
        "cry",
        "crying",
        "sob",
        "happy",
        "smile",
        "laugh",
        "rofl",
        "lol",
        "chuckle",
        "surprised",
        "wow",
        "puke",
        "heart",
        "kiss",
        "hug",
        "sad",
        "inlove",
        "party",
        "blush",
        "scared",
    ]
)
"""What Skype and its heirs put in parentheses."""
_EMOTES: Final = {
    name: emoji
    for emoji, names in {
        "😭": "BibleThump PepeHands peepoCry PepeCry FeelsCryMan",
        "😢": "Sadge FeelsBadMan peepoSad FeelsRainMan FeelsBad sadKEK widepeepoSad",
        "😂": "LUL LULW KEKW OMEGALUL PepeLaugh EleGiggle KEKL ICANT",
        "😊": "FeelsGoodMan peepoHappy widepeepoHappy FeelsOkayMan VoHiYo HeyGuys FeelsAmazingMan "
        "SeemsGood BloodTrail catJAM pepeJAM HYPERS",
        "😲": "PogChamp POGGERS Pog POGGIES PogU",
        "😡": "SwiftRage PepeRage Madge MADGE FeelsAngryMan peepoMad peepoAngry",
        "😱": "WutFace monkaS monkaW monkaGIGA monkaX",
        "🤮": "DansGame",
        "😒": "NotLikeThis ResidentSleeper FailFish WeirdChamp",
    }.items()
    for name in names.split()
}
_OF_CHINESE = "|".join(name for name in _BRACKETED if not name.isascii())
_IN_BRACKETS = re.compile(rf"\[([A-Za-z][A-Za-z!\-]{{1,15}}|{_OF_CHINESE})\]")
_IN_PARENTHESES = re.compile(r"\(([a-z]{3,10})\)(?=\s*(?:\Z|[(.,!?\n]))")
_EMOTE = re.compile(rf"(?<![\w@#])(?:{'|'.join(_EMOTES)})(?!\w)")

_STARTS = "|".join(sorted({name[:2] for name in _BRACKETED if name.isascii()}))
MAYBE_NAMED: Final = (
    rf"\[(?i:{_STARTS})[A-Za-z!\-]*\]|\[(?:{_OF_CHINESE})\]|\((?:{'|'.join(sorted(_SPOKEN))})\)"
    rf"|\b(?:{'|'.join(_EMOTES)})\b"
)
"""Matches, in RE2, every text in which ``show_named_faces`` may find something."""


def show_named_faces(text: str) -> str:
    """Replace names of faces by the emoji that mean the same."""
    text = _IN_BRACKETS.sub(_in_brackets, text)
    text = _IN_PARENTHESES.sub(_in_parentheses, text)
    return _EMOTE.sub(lambda found: f" {_EMOTES[found[0]]} ", text)


def _in_brackets(found: re.Match[str]) -> str:
    emoji = _BRACKETED.get(found[1].lower())
    return f" {emoji} " if emoji else found[0]


def _in_parentheses(found: re.Match[str]) -> str:
    return f" {_BRACKETED[found[1]]} " if found[1] in _SPOKEN else found[0]
