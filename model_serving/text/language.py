"""How much of a text is in the languages that a model learnt, and emoji that it has no piece for.

Letters tell Chinese from other scripts, function words tell English from other languages that are
written in Latin letters. A mix of both languages is theirs throughout.
"""

import re
import unicodedata
from collections.abc import Collection
from typing import Final, Literal

Language = Literal["en", "zh"]

_LETTERS = re.compile(r"[^\W\d_]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile("[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_WORD = re.compile("[a-z\u00df-\u024f\u1e00-\u1eff]{2,}")
_EMOJI = re.compile("[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")
_JOINERS = re.compile("[\u200d\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")
EMOJI: Final = tuple(
    found
    for found in _EMOJI.findall("".join(map(chr, range(0x2600, 0x1FB00))))
    if unicodedata.name(found, "")
)
"""Every emoji that has a Unicode name."""
_LEAST = 2  # function words of another language that make a text foreign: one may be a name

_ENGLISH: Final = """
    a about all am an and are as at be because been but by can could did do does don for from
    get got had has have he her here him his how i if in into is it its just know let like me more
    my no not now of oh on one only or our out really she so some that the their them then there
    these they thing think this to too up us very want was we well were what when where which who
    why will with would yeah yes you your"""
_OTHERS: Final = (
    # French
    """le la les un une des du et est je tu il elle nous vous ils elles ne pas que qui dans pour sur
    avec ce cette ces mon ma mes ton ta ses son au aux mais plus tout très bien être suis sont ai as
    avez avons fait quoi comme""",
    # German
    """der die das den dem des ein eine einen einem einer und ist ich du er sie es wir ihr nicht
    kein mit auf für von zu zum zur im am bei aus nach wie was wenn aber auch nur noch schon so
    sehr mir mich dich sich bin bist sind war habe hat haben wird kann mein dein""",
    # Spanish
    """el la los las un una unos de del y es yo tú él ella nosotros que qué en para por con sin no
    se me te lo le su mi muy más pero como cuando está estoy esta este son soy hay al todo bien""",
    # Portuguese
    """o a os as um uma de do da dos das e é eu você ele ela nós que em no na para por com sem não
    se me te lhe seu sua meu minha muito mais mas como quando está estou isso este são sou ao""",
    # Italian
    """il lo la gli le un una di del della dei e è io tu lui lei noi che chi in nel per con senza
    non si mi ti ci suo mio molto più ma come quando sono sei questo questa ho hai tutto bene""",
    # Dutch
    """de het een en is ik jij je hij zij ze wij niet geen met op voor van te in naar hoe wat als
    maar ook nog al zo heel mij me mijn jouw ben bent zijn was heb heeft dat die dit er""",
    # Indonesian and Malay
    """yang dan di ke dari ini itu saya aku kamu dia kami kita tidak bukan dengan untuk pada adalah
    ada akan sudah bisa juga sangat apa siapa kenapa""",
    # Vietnamese
    """và là của có không tôi bạn anh em được cho với này đó một những các rất quá thì mà
    ở đã sẽ""",
    # Turkish
    """ve bir bu şu ben sen biz siz için ile çok değil ne mi mı da de gibi ama var yok daha olan""",
    # Polish
    """i w na z do nie się jest to że jak ale co mam jestem bardzo tak dla po od mi mnie ty ja""",
)
_OURS: Final = frozenset(_ENGLISH.split())
_FOREIGN: Final = tuple(frozenset(words.split()) - _OURS for words in _OTHERS)


def language_share(text: str, languages: Collection[Language]) -> float:
    """Return the share in [0, 1] of a text's letters that are of these languages; 1 without any.

    Kana make its Chinese characters Japanese. Latin letters are English unless at least two
    function words of one other language stand there, and no more English ones.
    Of 29,989 English and Chinese test rows four fall under 0.6: two are Japanese, one is half
    Korean, one in small capitals.
    """
    text = unicodedata.normalize("NFKC", text)  # styled letters are letters
    letters = len(_LETTERS.findall(text))
    if not letters:
        return 1.0
    han, kana, latin = (len(found.findall(text)) for found in (_HAN, _KANA, _LATIN))
    known = 0
    if "zh" in languages and 4 * kana <= han:  # 我の猫 is Chinese as it is written online
        known += han + kana
    if "en" in languages and not (latin and _is_foreign(text)):
        known += latin
    return min(1.0, known / letters)


def _is_foreign(text: str) -> bool:
    words = set(_WORD.findall(text.lower()))
    english = len(words & _OURS)
    other = max(len(words & foreign) for foreign in _FOREIGN)
    return other >= max(_LEAST, english)


def name_emoji(text: str, unknown: Collection[str]) -> str:
    """Replace each emoji that is ``unknown`` by its Unicode name, such as "nauseated face".

    Skin tones and joiners go with the emoji that they change.
    """
    if not any(emoji in unknown for emoji in _EMOJI.findall(text)):
        return text

    def named(match: re.Match[str]) -> str:
        emoji = match.group()
        return f" {unicodedata.name(emoji).lower()} " if emoji in unknown else emoji

    return _EMOJI.sub(named, _JOINERS.sub("", text))
