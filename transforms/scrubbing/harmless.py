"""What looks personal and is not: amounts, scores, counting, versions, and @ for a letter.

A rule's find that begins inside of such a stretch is dropped. What a stretch may be is narrow: an
amount has its unit, a score its name, a thing with digits is on a list. All else is protected.
"""

import re
from collections.abc import Iterator
from typing import Final

from model_serving.text.masked_words import is_masked
from transforms.scrubbing.numbers import is_counting
from transforms.scrubbing.spans import Stretch

_UNITS = (
    r"(?: ?(?:million |billion |thousand )?(?:coins?|gold|silver|gems?|diamonds?|tokens?|credits"
    r"|robux|v-?bucks"
    r"|points?|pts|xp|exp|hp|mp|dmg|damage|dps|people|persons?|humans|users?|followers?|subs|subscribers?|members?"
    r"|fans|players?|viewers?|views?|likes?|hearts|votes?|downloads|plays|streams|copies|kills?|deaths|wins|steps"
    r"|times|days?|hours?|hrs|minutes?|mins?|seconds?|secs|years?|yrs|months|weeks|km|kilometers?|miles?|meters?"
    r"|metres?|feet|ft|kg|kilos?|lbs?|pounds?|tons?|dollars?|bucks|euros?|usd|eur|gbp|rupiah|rupees?|yen|won|rubles?"
    r"|pesos?|bytes?|bits|[kmg]b|hz|watts|volts|rpm|calories|kcal|items|pieces|words|lines|pages|rows|cars|soldiers)\b"
    r"| ?(?:人(?![在呢吗不很都呀啊好])|步|粉丝?(?!我)|赞(?!我)|播放|次|块|元|万|亿|票|金币|钻石"
    r"|点券|经验|积分|战力"
    r"|阅读|公里|千米|公斤|吨|美元|美金|日元|韩元|人民币|卢比))"
)
_AMOUNT = re.compile(rf"(?<![0-9A-Za-z.+\-])[0-9]{{5,10}}(?={_UNITS})", re.IGNORECASE)
_ROUND = re.compile(r"(?<![0-9])[1-9][0-9]{0,4}0{5,}(?![0-9])")
_MONEY = re.compile(
    r"(?:[$€£¥₹₩]|\b(?:usd|eur|gbp|rmb|cny|jpy|idr|krw|inr|rp)) ?[0-9]{5,}", re.IGNORECASE
)
_LARGEST = re.compile(
    r"(?<![0-9])(?:214748364[78]|429496729[56]|9223372036854775807|18446744073709551615)(?![0-9])"
)
"""The largest numbers of 32 and 64 bits, which games show when something overflows."""
_DECIMAL = re.compile(r"(?<![0-9.])[02-9]\.[0-9]{5,}(?![0-9]|[ .\-][0-9])")
_BINARY = re.compile(r"(?<![0-9])[01]{8}(?:[ ,]?[01]{8})*(?![0-9])")
_SCORE = re.compile(
    r"(?:\b(?:elo|mmr|hp|mp|sr|cp|bp|gs|ilvl|atk|def|dps|dmg|damage|attack|defen[cs]e|armou?r|mana|health|power|bid"
    r"|score|scores|stats?|points?|rank|rating|trophies|level|lvl|exp|xp|gold|coins|cost|costs|price|prices"
    r"|priced|worth|budget|between|range|ranges|rolled|fps|ping|seed|coords?|position|pos|steps|views|ratio"
    r"|resolution|size|timestamp|epoch|build|year|years)"
    r"|血量|蓝量|战力|攻击力?|防御力?|伤害|分数|得分|评分|积分|坐标|经验|金币|价格|售价|出价|段位|排位|天梯)"
    r"[^0-9A-Za-z\n<]{0,3}(?:(?:is|are|was|of|from|at|to|now)[ :]{1,2})?"
    r"([0-9]{3,6}(?: ?[/\-~–] ?|[ ,]{1,2}|到| to )[0-9]{3,6})(?![0-9]|[ .\-][0-9])",
    re.IGNORECASE,
)
_PAPERS_OF_THINGS = re.compile(
    r"(?:\b(?:flight|error|err|code|order|part|model|serial|sku|ticket|bug|case|item|product|version|build|train|bus"
    r"|room|gate|batch|lot)|航班|车次|错误码?|报错|订单号?|型号|序列号|编号|批次)"
    r"(?: ?(?:code|no\.?|number|id|号|代码))?[ :：#是]{0,3}([A-Z]{1,2}[0-9]{7,8})(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z])([A-Z]{1,2}[0-9]{7,8})(?= (?:error|flight|is the flight|bug|exception)\b"
    r"|航班|报错|错误)",
    re.IGNORECASE,
)
_COUNTING = re.compile(r"(?<![0-9.])[0-9]{1,4}(?:([ ,\-:/、])[0-9]{1,4})(?:\1[0-9]{1,4})+(?![0-9])")

_THING = re.compile(
    r"(?<![A-Za-z0-9_.\-])(?:r2d2|c3po|bb8|covid19|h1n1|h5n1|fifa\d{2}|fc2[4-9]|nba2k\d{2}|madden\d{2}|wwe2k\d{2}"
    r"|pes\d{2,4}|f1|gt[ax]\d{0,4}[a-z]{0,6}|rtx\d{3,4}(?:ti)?|gtx\d{3,4}(?:ti)?|rx\d{3,4}(?:xt)?|ps[1-5]|ps[1-5]pro"
    r"|xbox360|n64|gba?\d?|cs2(?:go)?|csgo\d?|cod\d{0,2}|mw[1-4]|bo[1-6]|bf[1-9]\d{0,3}|halo\d|diablo\d|fallout\d{1,2}"
    r"|skyrim\d?|witcher\d|doom\d{1,4}|portal\d|overwatch\d|ow2|dota2|lol\d?|l4d2|tf2|sims\d|gta\d(?:online)?"
    r"|minecraft\d?|terraria\d?|osu\d?|roblox\d?|ark\d?|rust\d?|ff\d{1,2}|re\d|mk\d{1,2}|mario\d{0,2}|zelda\d?|botw2?"
    r"|windows\d{1,4}|win\d{1,4}|ios\d{1,2}|android\d{1,2}|iphone\d{1,2}[a-z]*|ipad\d?|galaxys?\d{1,2}|s2\d(?:ultra)?"
    r"|pixel\d[a-z]?|mp[34]|h26[45]|x26[45]|usb[23]|wifi[567]|gpt\d[a-z]?|chatgpt\d?|web[123]|y2k|g20|g7|area51|b2b"
    r"|catch22|blink182|sum41|maroon5|u2|top\d{1,3}|day\d{1,3}|level\d{1,3}|lvl\d{1,3}|part\d{1,2}|ep\d{1,3}|season\d{1,2}"
    r"|chapter\d{1,3}|v\d{1,3}|vol\d{1,3}|2020|cyberpunk2077|class(?:of)?\d{2,4}|euro20\d{2}|worldcup20\d{2}|year\d{4}"
    r"|ces20\d{2}|e320\d{2}|expo20\d{2}|olympics20\d{2}|summer\d{2,4}|winter\d{2,4}|xmas\d{2,4}|christmas\d{2,4})"
    r"(?![A-Za-z0-9_]|[.\-][A-Za-z0-9])",
    re.IGNORECASE,
)
"""Games, devices and the like that everybody names with digits: as an account they name nobody."""

_NUMBERED = re.compile(r"(?<![A-Za-z0-9_.\-#])([A-Za-z]+)#([0-9]{4,6})(?![0-9])")
_THINGS_WITH_NUMBERS = re.compile(
    r"room|issue|pr|gh|bug|ticket|task|case|no|number|item|order|page|ep|episode|track|lot|top|player|players|rank"
    r"|team|level|lvl|user|guest|anime|wave|round|season|chapter|day|week|part|vol|volume|map|seed|num|stage|quest"
    r"|boss|server|world|channel|gate|floor|batch|build|game|match|lobby|party|squad|raid|group|class|version|update"
    r"|patch|post|thread|comment|photo|pic|video|song|movie|manga|meme|art|stream|clip|goal|winner|member|visitor"
    r"|customer|invoice|flight|bus|train|seat|table|house|apt|unit|block|lap|race|year|top|hit|step|rule|tip|fact"
)
_YEAR = re.compile(r"(?:19[5-9]|20[0-4])[0-9]|[1-9]000")
_TAG_CUE = re.compile(
    r"(?:discord|disc|dc|battle|btag|bnet|blizzard|riot|valorant|add|dm|hmu|name|tag|user|加|我是|账号|昵称)"
    r"[^\n]{0,16}\Z",
    re.IGNORECASE,
)
_CUE_WIDTH = 32  # characters before

_AT_WORD = re.compile(r"@[A-Za-z]+(?:@[A-Za-z]+)*(?![\w@\-]|\.\w)")
_HEAD = re.compile(r"(?<![\w.@])[A-Za-z]*\Z")
_LONGEST_HEAD = 12  # letters of a word before its sign
_NOBODY = re.compile(
    r"@(?:(?:noon|midnight|night|nite|lunch|dinner|breakfast|sunset|sunrise|dawn|dusk|once|least|last|first|you"
    r"|u|him|her|them|me|us|it|this|that|these|those|the|a|an|my|your|our|their|his|everyone|everybody|anyone"
    r"|someone|here|there|channel|all|what|which|random|scale|peace|war|risk|heart|best|worst|ease"
    r"|[0-9]{1,2}(?::[0-9]{2})? ?(?:am|pm|ish|h|hrs|uhr|o'?clock))(?![\w.@\-])|全体成员|所有人)",
    re.IGNORECASE,
)

_WORDY_DOMAIN = re.compile(
    r"(?<![A-Za-z0-9.\-_/@:])([A-Za-z]{2,})\.(?:gg|top|us|ca|ai|es|de|fr|tv|vip|club|shop|site|online|info|app|dev)"
    r"(?![A-Za-z0-9\-/:]|\.[A-Za-z])",
    re.IGNORECASE,
)
_HOSTS = re.compile(
    r"discord|dsc|twitch|op|fb|bit|kick|guilded|tracker|opgg|u|steam|plays|paypal|youtube|pornhub|character|poki"
    r"|openai|claude|perplexity|x|blitz|dotabuff|example|mail|my|the"
)
_DOMAIN_CUE = re.compile(
    r"(?:\b(?:visit|to|join|check|out|see|open|site|website|page|link|url|web|blog|server|from"
    r"|via|on|at|my|(?:site|page|link|server|url) is)"
    r"|来|去|看|上|进|网站|网址|链接|官网|加|搜|是|[:：=（(\"'“])\s?\Z",
    re.IGNORECASE,
)

_TWO_NUMBERS = re.compile(r"[0-9]{3}(?: ?[/\-~–] ?|[ ,]{1,2}|到| to )[0-9]{3}", re.IGNORECASE)
_PAPER = re.compile(r"[A-Za-z][0-9]{7}")

QUANTITIES: Final = r"[0-9]{5}|[0-9]{3}[ /\-~,到][ 0-9]|[A-Za-z][0-9]|#[0-9]{4}"
"""Matches, in RE2, every row that may have something for ``quantities``."""
COUNTS: Final = r"[0-9]([ ,\-:/、])?[0-9]{1,4}[ ,\-:/、][0-9]"
"""Matches, in RE2, every row that may have something for ``counts``."""
NO_NAMES: Final = r"@[A-Za-z0-9全所]"
"""Matches, in RE2, every row that may have something for ``no_names``."""
SENTENCES: Final = (
    r"[A-Za-z]\.(?i:gg|top|us|ca|ai|es|de|fr|tv|vip|club|shop|site|online|info|app|dev)"
)
"""Matches, in RE2, every row that may have something for ``sentence_ends``."""


def quantities(text: str) -> Iterator[Stretch]:
    """Yield amounts, scores, and things that are named with digits."""
    for found in (_AMOUNT, _ROUND, _MONEY, _LARGEST, _DECIMAL, _BINARY, _THING):
        for match in found.finditer(text):
            yield match.span()
    if _TWO_NUMBERS.search(text):  # the two below try many words at each letter of a text
        for match in _SCORE.finditer(text):
            yield match.span(1)
    if _PAPER.search(text):
        for match in _PAPERS_OF_THINGS.finditer(text):
            yield match.span(1) if match[1] else match.span(2)
    for match in _NUMBERED.finditer(text):
        if _THINGS_WITH_NUMBERS.fullmatch(match[1].lower()) or (
            _YEAR.fullmatch(match[2])
            and not _TAG_CUE.search(text, max(0, match.start() - _CUE_WIDTH), match.start())
        ):
            yield match.span()


def counts(text: str) -> Iterator[Stretch]:
    """Yield numbers that go on in equal steps."""
    for match in _COUNTING.finditer(text):
        if is_counting(match[0].split(match[1])):
            yield match.span()


def no_names(text: str) -> Iterator[Stretch]:
    """Yield words with @ for a letter, and @ before a time, a pronoun or all of a room."""
    for match in _AT_WORD.finditer(text):
        head = _HEAD.search(text, max(0, match.start() - _LONGEST_HEAD), match.start())
        if head and is_masked(head[0] + match[0]):
            yield head.start(), match.end()
    for match in _NOBODY.finditer(text):
        yield match.span()


def sentence_ends(text: str) -> Iterator[Stretch]:
    """Yield where a dot without a space ends a sentence: ``we lost.gg`` is no domain."""
    for match in _WORDY_DOMAIN.finditer(text):
        alone = match[0] == text.strip()
        cue = _DOMAIN_CUE.search(text, max(0, match.start() - _CUE_WIDTH), match.start())
        if not alone and not cue and not _HOSTS.fullmatch(match[1].lower()):
            yield match.span()
