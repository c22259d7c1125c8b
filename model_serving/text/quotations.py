"""Somebody else's words around a writer's own: quotations, reposts, reactions and signatures.

A repost or a reply shows what its writer says; what is quoted below, above or behind was said by
another one, often in the opposite mood.
"""

import re
from typing import Final

MAYBE_QUOTED: Final = (
    r"<(?i:mx-reply|blockquote)|(?m:^[ \t]*[>＞「])|\[[Qq]|[/／]{2} ?[<@＠]|(?m:^--|^_{5}"
    r"|^ ?[*]?(?:From|Von|De|发件人|寄件者|寄件人)[*]?[:：])"
    r"|wrote:|schrieb|a écrit|escribió:|写道[:：]|写道︰|\b(?:RT|QT|MT|Re)\b|^\s*(?:回复|回覆"
    r"|Replying)"
    r"|^\s*(?:Loved|Liked|Disliked|Laughed|Emphasi|Question|Reacted|Removed|对)| to [“\"]"
    r"|Sent from|Get Outlook|发自|來自我的"
)
"""Matches, in RE2, every text that may hold words of another one."""

_BLOCK = re.compile(
    r"<(mx-reply|blockquote)\b[^<>]*>.*?</\1>|\[quote[^\[\]]{0,80}\].*?\[/quote\]",
    re.DOTALL | re.IGNORECASE,
)
_LINE = re.compile(
    r"^[ \t]*[>＞](?![:;=][\-']?[()\[\]|/@3cC<]|[_.\-wox]{0,2}[<＜]).*$", re.MULTILINE
)
_REST_QUOTED = re.compile(r"^>>> .*", re.MULTILINE | re.DOTALL)  # Discord: all that follows
_SIGNS_OF_LINES = re.compile(r"[\s>＞]*")
_ABOVE = re.compile(r"\A「[^」]*」\s*\n(?:[ \t]*[\-–—]){4,}[ \t]*\n")
_SENDER = r"\*?(?:From|Von|De|发件人|寄件者|寄件人)\*?[ \t]*[:：]"
_HEAD = (
    r"\*?(?:Sent|Date|To|Subject|Gesendet|Datum|An|Envoyé|À|发送时间|日期|收件人|主题)"
    r"\*?[ \t]*[:：]"
)
_BELOW = re.compile(
    r"^(?:On .{4,120} wrote:|Am .{4,120} schrieb(?: .{1,80})?:"
    r"|Le .{4,120} a écrit ?:|El .{4,120} escribió:|.{2,60}写道[:：]"
    r"|-{2,} ?(?:Original Message|Forwarded message|原始邮件|转发的邮件) ?-{2,})[ \t]*$.*"
    rf"|^_{{5,}}[ \t]*\n\s*{_SENDER}.*"
    rf"|^[ \t]*{_SENDER}.{{1,120}}\n[ \t]*{_HEAD}.*",
    re.MULTILINE | re.DOTALL,
)
_SIGNATURE = re.compile(
    r"\n--[ \t]*\n.*|\n[ \t]*(?:Sent from my|Sent from Mail|Get Outlook for|发自我的|發自我的"
    r"|來自我的).{0,60}\Z",
    re.DOTALL,
)
_NAME = r"(?:<handle>|[@＠][\w.\-]{1,40})"
_REPOSTED = re.compile(
    rf"(?:(?<![:：])[/／]{{2}} ?{_NAME}|\|\| ?{_NAME}[ \t]*[:：]|(?<=\s)(?:RT|QT"
    rf"|MT):?[ \t]*{_NAME}[ \t]*[:：])"
)
_MOOD = re.compile(
    r"气死|生气|好气|气人|愤怒|怒|恨|讨厌|恶心|烦死|好烦|滚|过分|妈的|傻逼|垃圾|难过|伤心|痛苦|心痛|难受|失望|郁闷|孤独"
    r"|哭|泪|呜呜|崩溃|绝望|糟糕|倒霉|开心|高兴|快乐|太好了|太棒|真棒|好棒|喜欢|爱|哈哈|嘻嘻|嘿嘿|幸福|羡慕|感动|激动"
    r"|害怕|吓|可怕|恐怖|震惊|天哪|天啊|居然|竟然|惊喜|[\U0001F600-\U0001F64F\U0001F910-\U0001F97A❤💔]"
    r"|\b(?:hate|angry|mad|furious|fuck\w*|shit|disgusting|gross|sad|cry\w*|heartbroken|lonely|happy|love|glad"
    r"|great|awesome|amazing|excited|lol|lmao|haha\w*|yay|scared|terrified|afraid|wow|omg)\b",
    re.IGNORECASE,
)
"""Words that name a mood. Annotators of SMP2020 judge a repost as a whole: if all 1,185 among 3,000
are cut, 3.8 points are lost; with one of these before the cut, 0.1."""
_REPLY_TO = re.compile(rf"^\s*(?:RT|QT|MT|回复|回覆|Replying to|Re)[ \t]*{_NAME}[ \t]*[:：]?")

_REACTIONS: Final = {
    "loved": "❤", "liked": "👍", "disliked": "👎", "laughed at": "😂",
    "表示喜爱": "❤", "表示赞": "👍", "表示不喜欢": "👎", "表示大笑": "😂",
    "添加了爱心": "❤", "点了赞": "👍", "点了踩": "👎", "大笑": "😂",
}  # fmt: skip
"""How phones without the sign tell what somebody added to another one's message."""
_REACTION = re.compile(
    r"\s*(?:(Loved|Liked|Disliked|Laughed at|Emphasi[sz]ed|Questioned"
    r"|Reacted (?P<sign>[^\w\s]{1,8}) (?:to|with)|(?P<added>[^\w\s]{1,8}) to"
    r"|Removed an? [a-z ]{2,30} from)"
    r"(?: an? (?:image|photo|picture|video|sticker|attachment|voice message"
    r"|audio message|location|link)\.?|\s+[“\"].*[”\"])"
    r"|对\s?[“「\"].*[”」\"]\s?(?P<chinese>表示\w{1,3}|添加了爱心|点了赞|点了踩|大笑|强调|提出疑问))\s*",
    re.DOTALL,
)


def own_words(text: str) -> str:
    """Return the writer's own words; a text that is nothing but a quotation stays whole.

    So does a repost whose writer adds no word of a mood.

    A reaction to a message becomes its sign, or nothing where it shows no expression.
    """
    if _SIGNS_OF_LINES.fullmatch(text):
        return ""
    if (reaction := _REACTION.fullmatch(text)) is not None:
        return _sign_of(reaction)
    own = _BELOW.sub("", _ABOVE.sub("", _BLOCK.sub(" ", text)))
    own = _REST_QUOTED.sub("", _SIGNATURE.sub("", own))
    own = _LINE.sub("", own)
    if (repost := _REPOSTED.search(own)) and _MOOD.search(own, 0, repost.start()):
        own = own[: repost.start()]
    return _REPLY_TO.sub("", own if own.strip() else text)


def _sign_of(reaction: re.Match[str]) -> str:
    sign = reaction["sign"] or reaction["added"]
    return sign or _REACTIONS.get((reaction[1] or reaction["chinese"] or "").lower(), "")
