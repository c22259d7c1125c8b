"""What personal data look like in English and Chinese utterances, as RE2 patterns.

A rule finds by itself what it is for, whatever the other rules find: none sees another's
placeholder in place of the text.
"""

from dataclasses import dataclass
from typing import Final

BLANK: Final = "\x01"
"""Stands for each byte of what was found already."""

# Boundaries of digits: RE2's own are none between a digit and a letter. A neighbour that they take
# with them is hidden from the next number, which is found when the rule looks again.
_FROM = r"(?:^|[^0-9.]|[^0-9]\.)"
_TO = r"(?:\b|[A-Za-z_])"
DASHES: Final = "[‐–−]"
"""Dashes that NFKC leaves, which become hyphens before the rules look: RE2 compiles classes of one
byte a character faster."""
_SEP = r"[ .\-]"
SEPARATORS: Final = r" ()./\-"
"""What may stand between two digits of one number, inside of a class."""
_BETWEEN = rf"[{SEPARATORS}]{{0,3}}"
# Ranges, not \p{Latin} and \p{L}, and (?i) for words alone: the others cost RE2 0.1 to 8 ms more.
LETTER: Final = r"a-zA-Z\x{C0}-\x{24F}\x{1E00}-\x{1EFF}"
"""The Latin letters, inside of a class."""
_NO_NAME = (
    r"\x00-\x2F\x3A-\x40\x5B-\x5E\x60\x7B-\xBF\x{2000}-\x{2BFF}\x{3000}-\x{303F}"
    r"\x{FE10}-\x{FE6F}\x{FF00}-\x{FFEF}\x{1F000}-\x{1FAFF}"
)
_URL = r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*[A-Za-z0-9/_=&#~%\-]"
_DOMAIN = rf"(?:[{LETTER}0-9](?:[{LETTER}0-9\-]*[{LETTER}0-9])?\.)+"
TOP_DOMAINS: Final = (
    "com|net|org|cn|de|uk|io|gg|tv|ly|app|dev|xyz|edu|gov|info|top|cc|vip|shop|club|site|online"
    "|eu|fr|es|nl|pl|ch|jp|kr|hk|tw|us|ca|ai"
)
"""Top-level domains by which a name with dots, or an address spelt out, is known."""
CHINESE_NUMERALS: Final = "〇零一二三四五六七八九幺壹贰叁肆伍陆柒捌玖"
"""The digits in Chinese, for a class: 0 twice, 1 to 9, 1 on the telephone, 1 to 9 on a bill."""
_IS = (
    r"(?i:(?: ?(?:号码|群号|号|群|账号|帐号|同号|好友代码|好友码|user ?id|id|number|no\.?"
    r"|username|user|name|handle|tag|code|#))?[吧呢啊呀]?(?: ?(?:是|为|叫|is|[:=：＝])){0,2} ?)"
)
_QQ = r"(?i:q[ .\-]?q|扣扣|秋秋|蔻蔻|抠抠|企鹅|🐧|球球|加q|\bq群|\bq号|\bq[:：])"
_MESSENGER = (
    r"(?i:[微薇威徽维][ .·_\-]?[信❤♥心芯]|v[ .·_\-]?信|wei ?xin|wechat|\bvx|\bwx"
    r"|\bw[ .·_\-]{1,3}x\b|discord"
    r"|telegram|纸飞机|电报|卫星号?|绿泡泡|insta(?:gram)?\b|snapchat|whatsapp"
    r"|[加嘉家佳] ?(?:我|个|一下|下)? ?(?:v|微|薇|威|卫星)|[+➕] ?(?:v|微|薇|威)|\bv[❤♥:：]|🛰)"
)
_PLATFORM = (
    r"(?i:\b(?:ig|tg|ins|snap|kik|psn|disc|btag|epic|skype|line id|gamertag|xbox|steam|twitch"
    r"|tiktok|kakao(?:talk)?|venmo|viber)\b|battle\.?net|steam好友|抖音|快手|小红[书薯]|b站|微博|原神|王者荣耀|吃鸡|和平精英|光遇|蛋仔派对|崩铁|星铁|第五人格"
    r"|(?:my|我的|游戏|game|user|player) ?(?:id|name)|\b(?:add|follow|snap|find) me\b)"
)
_SITE = (
    r"(?i:\b(?:twitter|facebook|fb|roblox|rblx|fortnite|minecraft|mc|riot|valorant|valo|league|lol|genshin|pubg"
    r"|bsky|bluesky|mastodon|threads|reddit|tumblr|pinterest|youtube|yt|github|soundcloud|spotify|apex|origin|uplay"
    r"|ubisoft|nintendo|switch|ign|gamer ?tag|osu|wattpad|signal|zalo|vk|onlyfans|lichess"
    r"|brawl ?stars|clash)\b)"
)
"""Of these much else is said: an account follows a colon, ``is``, ``user`` and the like alone."""
_ACCOUNT_IS = (
    r"(?i:(?: ?(?:user ?name|user|name|id|ign|handle|tag|acc(?:ount)?))+(?: ?(?:is|[:=：]))?"
    r"| ?[:=：]| is) ?"
)
_NUMBER_OF = r"(?i: ?(?:号码|号|账号|帐号|好友代码|好友码|id|[:=])(?: ?(?:是|为|is|[:=]))? ?)"
_ACCOUNT = rf"(?:{_MESSENGER}|{_PLATFORM})"
_NUMBERED = r"(?i:uid|\bid|我的id|游戏id|荣耀id|学号|工号|会员号|好友代码|好友码|friend code)"
_ID_AND_MORE = (
    r"(?i:uid|\bid[^A-Za-z]|我的id|游戏id|荣耀id|学号|工号|会员号|好友代码|好友码|friend code)"
)
_PAYMENT = r"(?i:银行卡|卡号|信用卡|储蓄卡|(?:card|account) (?:number|no\.?)|支付宝|alipay)"
_PAPER = r"(?i:身份证|护照|passport|\bssn|social security|\bid card)"
# No word of it may be that of a placeholder: <phone> would make a phone of the next number.
_CALL = (
    r"(?i:电话|手机|座机|致电|📞|☎|📱|whatsapp"
    r"|(?:^|[^<0-9A-Za-z_])(?:call|phone|tel|mobile|cell|ring|text|num[:：]"
    r"|(?:my|his|her|your|their|our|mom's|new) (?:new |old )?(?:number|num|digits)(?:'?s)?))"
)
_MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is personal, and what must stand before and after it; none of it has a group."""

    kind: str
    what: str
    before: str = ""
    after: str = ""

    @property
    def pattern(self) -> str:
        """The pattern with three groups, of which the second is the personal one."""
        return f"({self.before})({self.what})({self.after})"


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for the rows that ``where`` matches: to compile an unused set takes 0.1 to 3 ms.

    ``where`` may look at the text with what other rules found blanked; the rules never do.
    """

    where: str
    rules: tuple[Rule, ...]


def _number(kind: str, what: str) -> Rule:
    return Rule(kind, what, _FROM, _TO)


LINKS: Final = Rules(
    r"://|(?i:www)\.",
    (Rule("link", rf"(?:[A-Za-z][A-Za-z0-9+.\-]{{1,15}}://|(?i:www)\.){_URL}"),),
)
EMAILS: Final = Rules(
    r"@|[\[(]at[\])]",
    (
        Rule(
            "email",
            rf"@?[{LETTER}0-9.!#$%&'*+/=?^_`{{|}}~\-]+ ?(?:@|[\[(]at[\])]) ?{_DOMAIN}"
            rf"(?:xn--[a-z0-9\-]+|[{LETTER}]{{2,}})",
        ),
        Rule(  # names in other letters; Chinese ones, that no space sets off, have four at most
            "email",
            rf"(?:[\x{{370}}-\x{{1CFF}}\x{{AC00}}-\x{{D7A3}}]+|[\x{{3040}}-\x{{30FF}}\x{{4E00}}-\x{{9FFF}}]{{1,4}})"
            rf"@{_DOMAIN}[A-Za-z]{{2,}}",
        ),
    ),
)
DOMAINS: Final = Rules(  # links and e-mail addresses are blanked: what is left, or goes beyond one
    rf"[{LETTER}0-9]\.[A-Za-z]{{2}}|{BLANK}{_URL}|[{LETTER}0-9.\-]{BLANK}",
    (
        Rule("link", rf"{_DOMAIN}[A-Za-z]{{2,}}/{_URL}"),
        Rule("link", rf"{_DOMAIN}(?i:{TOP_DOMAINS})", after=rf"[^{LETTER}0-9\-]|$"),
    ),
)
HANDLES: Final = Rules(  # all addresses are blanked: the @ of one is not that of a handle
    "@",
    (
        Rule("handle", rf"@[0-9_]*[^0-9{_NO_NAME}](?:[.\-]?[^{_NO_NAME}])*"),
        Rule("handle", r"@[0-9]{5,20}", after=_TO),
    ),
)
_FRIEND_CODE = r"(?i:(?:friend|trainer|switch|好友)(?:'s)? ?(?:code|代码|码)|\bfc\b|\b3ds\b)"
_SIGNS = r"[^A-Za-z0-9<.!?;。！？；\n\x01\x{3400}-\x{9FFF}]*"
_NAME_AND_DIGITS = (
    r"(?:live:)?[A-Za-z][A-Za-z.\-][A-Za-z.\-]+[0-9_][A-Za-z0-9_.\-]*"
    r"|[A-Za-z][A-Za-z]?[0-9_][A-Za-z0-9_][A-Za-z0-9_]+"
)
_NUMERAL = rf"[0-9{CHINESE_NUMERALS}]"
ACCOUNTS: Final = (
    Rules(
        rf"{_QQ}{_IS}{_NUMERAL}",
        (
            Rule("id", r"[1-9][0-9]{4,11}", _QQ + _IS, _TO),
            Rule("id", rf"{_NUMERAL}(?:[ .\-]?{_NUMERAL}){{4,11}}", _QQ + _IS),
        ),
    ),
    Rules(
        rf"{_SITE}{_ACCOUNT_IS}|(?i:cash ?(?:app|tag))",
        (
            Rule("id", _NAME_AND_DIGITS, _SITE + _ACCOUNT_IS + r"@?"),
            Rule("id", r"[^\s#<>@]{2,16}#[A-Za-z0-9]{3,5}", _SITE + _ACCOUNT_IS, r"\b"),
            Rule(
                "id",
                r"\$[A-Za-z][A-Za-z0-9_\-]{2,30}",
                r"(?i:cash ?(?:app|tag))[^0-9A-Za-z$<]{0,4}(?i:is )?",
            ),
        ),
    ),
    Rules(
        rf"{_FRIEND_CODE}[^0-9<{BLANK}]{{0,8}}[0-9]{{4}}",
        (
            Rule(
                "id",
                rf"[0-9]{{4}}{_SEP}?[0-9]{{4}}{_SEP}?[0-9]{{4}}",
                rf"{_FRIEND_CODE}[^0-9<{BLANK}]{{0,8}}",
                _TO,
            ),
        ),
    ),
    Rules(
        rf"{_ACCOUNT}(?:(?s:.)*[0-9_]|{_NUMBER_OF}[A-Za-z])|wxid_",
        (
            Rule("id", _NAME_AND_DIGITS, _ACCOUNT + _IS + _SIGNS),
            Rule("id", r"[0-9]{6,11}", _MESSENGER + _IS),
            Rule(
                "id",
                r"[A-Za-z][A-Za-z0-9_.\-]{4}[A-Za-z0-9_.\-]*[A-Za-z0-9_]|[0-9]{5}[0-9]*",
                _ACCOUNT + _NUMBER_OF,
            ),
            Rule("id", r"[0-9]{8,11}", rf"{_PLATFORM} ?", _TO),
            Rule("id", r"wxid_[a-z0-9]+"),
        ),
    ),
    Rules(rf"{_NUMBERED}{_IS}[0-9]", (Rule("id", r"[0-9]{6,20}", _NUMBERED + _IS, _TO),)),
    Rules(
        rf"{_PAYMENT}{_IS}[0-9]",
        (Rule("id", r"[0-9](?:[ \-]?[0-9]){7,22}", _PAYMENT + _IS, _TO),),
    ),
    Rules(
        rf"{_PAPER}{_IS}[A-Za-z0-9]",
        (Rule("id", r"[A-Za-z]{0,3}[0-9][A-Za-z0-9 \-]{4,20}[A-Za-z0-9]", _PAPER + _IS),),
    ),
)
MENTIONS: Final = Rules(
    r"<[@#!]|(?i:<at\b)|\[(?:CQ|mirai):|(?:^|[^A-Za-z0-9_/.])/?u/",
    (
        Rule("handle", r"<[@#][!&]?[A-Za-z0-9]{5}[A-Za-z0-9]*(?:\|[^<>|]*)?>"),
        Rule("handle", r"<!subteam\^[A-Za-z0-9]+(?:\|[^<>|]*)?>"),
        Rule("handle", r"(?i:<at\b)[^<>]*>[^<>]+(?i:</at>)"),
        Rule("handle", r"\[(?:CQ|mirai):at[:,][^\[\]]*\]"),
        Rule("link", r"\[(?:CQ|mirai):(?:[b-eg-z]|a[^t\[\]]|f[^a\[\]])[^\[\]]*\]"),
        Rule("handle", r"/?u/[A-Za-z0-9_\-]{3}[A-Za-z0-9_\-]*", r"^|[^A-Za-z0-9_/.]"),
    ),
)
DIGITS: Final = rf"[0-9](?:{_BETWEEN}[0-9]){{6}}"
_UNDERLINED = r"[0-9]{4}_[0-9]{4,6}_[0-9]{4}"
NUMBERS: Final = Rules(
    rf"{DIGITS}|{_UNDERLINED}",
    (
        # resident id: district, birthday, order, check digit; before 1999 two-digit years
        _number("id", rf"[1-9][0-9]{{5}} ?(?:18|19|20)[0-9]{{2}}{_MONTH_DAY} ?[0-9]{{3}}[0-9Xx]"),
        _number("id", rf"[1-9][0-9]{{7}}{_MONTH_DAY}[0-9]{{3}}"),
        # cards: 4-4-4-4 and 4-6-5
        _number("id", r"[0-9]{4}(?:[ ._\-][0-9]{4}){3,}(?:[ ._\-][0-9]{1,3})?"),
        _number("id", r"[3-6][0-9]{3}[ ._\-][0-9]{6}[ ._\-][0-9]{5}"),
        # social security number, and passports of one or two letters
        _number("id", r"[0-9]{3}[ \-][0-9]{2}[ \-][0-9]{4}"),
        Rule("id", r"[A-Z]{1,2}[0-9]{7,8}", r"\b|_", _TO),
        # +CC or 00CC
        Rule("phone", r"(?:\+|\b00)[1-9][0-9]{9,14}", after=_TO),
        Rule(
            "phone",
            rf"(?:\+|\b00)[1-9][0-9]{{0,2}}[{SEPARATORS}]{{1,3}}"
            rf"(?:[0-9]{_BETWEEN}){{5,12}}[0-9]",
            after=_TO,
        ),
        # Chinese mobile
        _number("phone", rf"(?:86{_SEP}?)?1[3-9][0-9]{_SEP}?[0-9]{{4}}{_SEP}?[0-9]{{4}}"),
        # American, grouped
        _number(
            "phone",
            rf"(?:1{_SEP})?(?:\([2-9][0-9]{{2}}\){_SEP}?|[2-9][0-9]{{2}}{_SEP})"
            rf"[2-9][0-9]{{2}}{_SEP}[0-9]{{4}}",
        ),
        # British, German, Chinese landline: a trunk 0 and at least seven digits more
        _number(
            "phone",
            rf"\(?0[1-9][0-9]{{1,4}}\)?[ ./\-]{{0,3}}(?:[0-9]{{5,8}}"
            rf"|[0-9]{{3,4}}{_SEP}[0-9]{{3,5}}|[0-9]{{2}}(?:{_SEP}[0-9]{{2}}){{2,3}})",
        ),
        Rule(
            "phone",
            rf"[0-9]{{3,4}}{_SEP}[0-9]{{4}}|[0-9]{{7,11}}|[0-9](?:{_SEP}[0-9]){{6,10}}",
            rf"{_CALL}[^0-9<{BLANK}]{{0,12}}",
            _TO,
        ),
        Rule(
            "phone",
            rf"[0-9]{{4}}{_SEP}[0-9]{{4}}|[0-9]{{7,11}}",
            _FROM,
            r",? ?(?i:is|是)? ?(?i:my|我的?)? ?(?i:phone|cell|mobile|whatsapp|number|手机|电话)",
        ),
        Rule("id", r"STEAM_[0-9]:[0-9]:[0-9]+"),
        # Indian mobile: 5-5
        _number("phone", rf"(?:91{_SEP}?)?[6-9][0-9]{{4}}[ \-][0-9]{{5}}"),
        Rule("id", r"(?i:sw)-[0-9]{4}-[0-9]{4}-[0-9]{4}", after=_TO),
    ),
)

WALLETS: Final = Rules(
    r"0x[0-9A-Fa-f]{40}|(?:bc1|ltc1)[0-9a-z]{25}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}",
    (
        Rule("id", r"0x[0-9A-Fa-f]{40}[0-9A-Fa-f]*|(?:bc1|ltc1)[0-9a-z]{25}[0-9a-z]*"),
        # a network card as Cisco writes it, with a letter among the digits
        Rule(
            "id",
            r"[0-9A-Fa-f]{3}[A-Fa-f]\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{0,3}[A-Fa-f]"
            r"[0-9A-Fa-f]{0,3}\.[0-9A-Fa-f]{4}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[A-Fa-f][0-9A-Fa-f]{3}",
            r"^|[^0-9A-Za-z.]",
            r"[^0-9A-Za-z.]|\.[^0-9A-Za-z]|\.?$",
        ),
    ),
)
"""Addresses of cryptocurrencies and of network cards."""

IBANS: Final = r"(?:\b|_)[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11}"
"""Matches every row in which the checksum of an IBAN is worth a look."""

_COMPATIBLE = (
    r"\x{A8}\x{AF}\x{B2}-\x{B4}\x{B8}\x{B9}\x{BC}-\x{BE}\x{2B0}-\x{2B8}\x{2D8}-\x{2DD}"
    r"\x{2E1}-\x{2E3}\x{37A}\x{384}\x{385}\x{1D2C}-\x{1DBF}\x{2017}\x{203E}\x{2024}\x{2025}"
    r"\x{2070}-\x{209C}\x{20A8}\x{2100}-\x{218F}\x{2460}-\x{24FF}"
    r"\x{2A74}\x{2C7C}\x{2C7D}\x{309B}\x{309C}\x{3250}-\x{325F}\x{32B1}-\x{32CF}\x{3358}-\x{33FF}"
    r"\x{A7F2}-\x{A7F4}\x{FB00}-\x{FB06}\x{FE13}\x{FE19}\x{FE49}-\x{FE4C}\x{FE52}\x{FE55}\x{FE6B}\x{FF0E}-\x{FF19}"
    r"\x{FF20}-\x{FF3A}\x{FF41}-\x{FF5A}\x{FF9E}\x{FF9F}\x{FFE3}\x{107A5}\x{1D400}-\x{1D7FF}\x{1F100}-\x{1F190}"
    r"\x{1FBF0}-\x{1FBF9}"
)
"""What NFKC makes an ASCII letter, digit, @, dot or slash of (styled, circled, raised, wide), or a
space and a mark."""
_RAW_SPACE = r"\x{A0}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
MAYBE_SHAPE: Final = (
    rf"[@{_COMPATIBLE}]|[:：]/|[\[(]at[\])]|[{LETTER}0-9]\.[A-Za-z]{{2}}|(?i:www)\."
    rf"|[0-9](?:[ {_RAW_SPACE}()./（）－﹣‑‐–−\-]{{0,3}}[0-9]){{6}}|#[0-9０-９]{{4}}"
    rf"|{MENTIONS.where}|{_UNDERLINED}|{WALLETS.where}"
)
MAYBE_WORD: Final = rf"{_QQ}|{_MESSENGER}|wxid_|{_FRIEND_CODE}|{_PAPER}|{_ID_AND_MORE}"
MAYBE_SITE: Final = rf"{_PLATFORM}|{_SITE}{_ACCOUNT_IS}|(?i:cash ?(?:app|tag))"
"""One of the three matches every row that a rule of this module can change. After the words of a
payment a rule wants eight digits, which have the shape of a number."""

UNSETTLED: Final = r"[^\s<>]*(?:[0-9@]|[.:][^\s<>.,:;!?])[^\s<>]*"
"""Matches each word that may hold personal data: what is replaced where time is up."""
