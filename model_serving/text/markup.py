"""Markup around words: tags of HTML, of bulletin boards and of platforms, and Markdown's signs.

A tag that carries a face in its alternative text, as web clients send emoji, becomes that face.
"""

import re
from typing import Final

from model_serving.text.visible_text import PLACEHOLDERS

MAYBE_MARKUP: Final = (
    r"[<@＠*~`|]|\[(?:CQ:|mirai:|/?(?i:b|i|u|s|url|img|color|size|font|center|spoiler|code)[=\]])"
)
"""Matches, in RE2, every text in which there may be markup."""
_NAMED = "|".join(PLACEHOLDERS)
_TAGS = (
    "p|div|br|hr|span|b|i|u|s|em|strong|small|big|del|ins|strike|at|a|img|font|code|pre|li|ul|ol|dl|dt|dd|h[1-6]"
    "|table|thead|tbody|tr|td|th|center|label|section|article|header|footer|main|nav|figure|figcaption|picture"
    "|video|audio|source|iframe|svg|sub|sup|q|cite|mark|kbd|tt|abbr|button|input|form|html|head|body|meta|title"
    "|emoji|g-emoji|tg-emoji|tg-spoiler|mx-reply|blockquote|o:p|wbr|nobr|time|details|summary|bdi|bdo|ruby|rt"
)
_ATTRIBUTES = rf"(?:\s(?:[^<>]|<(?:{_NAMED})>){{0,400}})?"
_FACE = (
    r"(?:[^\w\s\"'<>=]{1,12}|\[[^\[\]\"'<>]{1,12}\]|:[A-Za-z0-9_+\-]{2,40}:"
    r"|[(/][A-Za-z\u4e00-\u9fff]{1,10}\)?)"
)
_WITH_FACE = re.compile(
    rf"<(?:img|emoji|span|i|picture|g-emoji|em|svg)\s(?:[^<>]|<(?:{_NAMED})>){{0,200}}?"
    rf"(?:alt|title|aria-label|data-emoji|data-alt)\s*=\s*[\"']?({_FACE})[\"']?(?=[\s/>])"
    rf"(?:[^<>]|<(?:{_NAMED})>){{0,400}}>",
    re.IGNORECASE,
)
_NOT_SHOWN = re.compile(
    r"<!--.{0,2000}?-->|<(script|style|head|title)\b[^<>]{0,200}>.{0,4000}?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(rf"</?(?:{_TAGS}){_ATTRIBUTES}/?>", re.IGNORECASE)
_OF_PLATFORMS = re.compile(
    rf"<(?:{_NAMED})>"
    r"|<[@#!/][^<>\s]{1,80}>|<t:[0-9]{1,12}(?::[tTdDfFR])?>"
    r"|\[(?:CQ|mirai):(?!face)[^\[\]]{0,400}\]"
    r"|\[/?(?:b|i|u|s|url|img|color|size|font|center|spoiler|code)(?:=[^\[\]]{0,200})?\]"
    r"|(?<![\w.])[@＠](?:everyone|here|channel|all|全体成员|所有人|全員)(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_MARKS = re.compile(r"(?<![\w*])\*+|\*+(?![\w*])|~~|\|\||`+")  # the star of f*ck is a letter


def drop_markup(text: str) -> str:
    """Return the text without markup, mentions and placeholders."""
    if "<" in text:
        text = _TAG.sub(" ", _WITH_FACE.sub(r" \1 ", _NOT_SHOWN.sub(" ", text)))
    return _OF_PLATFORMS.sub(" ", text)


def drop_marks(text: str) -> str:
    """Return the text without Markdown's signs of bold, struck out, hidden and code."""
    return _MARKS.sub(" ", text)
