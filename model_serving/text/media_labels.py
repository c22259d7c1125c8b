"""What a client writes where there are no words: for pictures and voices, and for nothing at all.

``[图片]``, ``<Media omitted>`` and ``This message was deleted`` are the client's words, the name of
a missing value (``null``) is a program's: there is nothing in them that a recogniser could judge.
"""

import re
from typing import Final

_KINDS = (
    "图片|照片|相片|表情|动画表情|表情包|语音|视频|短视频|小视频|文件|位置|链接|名片|个人名片|红包|微信红包|转账"
    "|音乐|语音通话|视频通话|语音消息|视频消息|聊天记录|小程序|拍一拍|闪照|分享|收藏|签到|戳一戳|群公告|投票|直播"
    "|圖片|動態貼圖|貼圖|語音訊息|影片|檔案|位置訊息|聯絡資訊|不支持的消息|暂不支持的消息类型|该消息类型暂不能展示"
    "|photos?|images?|pictures?|pics?|stickers?|animated stickers?|videos?|video messages?|video "
    "notes?"
    "|voices?|voice messages?|voice notes?|audios?|audio messages?|gifs?|files?|documents?"
    "|attachments?"
    "|location|live location|contacts?|contact cards?|media|medias?|albums?|music|links?|polls?"
    "|unsupported message|unsupported content|emoji|custom emoji|embed|memes?|screenshots?"
    "|inline image"
)
_LENGTH = r"(?:\s?[0-9]{1,3}(?::[0-9]{2})?\s?(?:秒|″|”|\"|''|s\b|sec\b)?)?"
_LABEL = re.compile(
    rf"\[(?:{_KINDS})\]{_LENGTH}|【(?:{_KINDS})】{_LENGTH}|<(?:{_KINDS})>"
    r"|<(?:media|image|video|audio|photo|sticker|gif|document|attachment)s? (?:omitted|removed)>"
    r"|<(?:已忽略|省略)[^<>]{0,8}>|<attached:(?:[^<>]|<link>){0,200}>"
    r"|\[(?:image|img|photo|video|file|audio|voice|sticker|pic|attachment|gif|图片|文件|视频|语音)"
    r"[:：][^\[\]]{0,200}\]",
    re.IGNORECASE,
)
_FILE = r"[^\n]{1,100}\.(?:jpe?g|png|gif|webp|heic|mp4|mov|opus|ogg|m4a|mp3|aac|pdf|vcf|3gp|docx?)"
_NOTICE = re.compile(
    r"^[ \t\"“]*(?:"
    r"(?:image|video|audio|sticker|gif|document|media|photo|contact card|voice message|video note"
    r"|location|file|attachment)s? (?:omitted|unavailable|not available|removed|expired)"
    r"|(?:图片|视频|语音|音频|文件|贴图|圖片|影片|貼圖|語音)(?:已?忽略|已?省略|已过期|已失效)"
    r"|(?:this|the) (?:message|post|comment|tweet) (?:was|has been) "
    r"(?:deleted|removed|unsent|retracted|withdrawn)(?: by (?:the )?\w{1,20})?"
    r"|(?:you|<handle>) (?:deleted|unsent|recalled|removed|retracted) (?:this|a) message"
    r"|message (?:deleted|removed|unsent|recalled|unavailable|not available)"
    r"|\[(?:deleted|removed|message deleted|redacted|empty|no text|no content|encrypted message)\]"
    r"|waiting for this message\. this may take a while"
    r"|(?:missed|incoming|outgoing|cancell?ed) (?:voice|video|group|audio) call(?:,? at .{1,20})?"
    r"|you (?:sent|shared) (?:an?|[0-9]+) "
    r"(?:photo|picture|image|video|attachment|sticker|gif|link|voice message|file|location)s?"
    r"|unable to decrypt(?: message)?|\** ?unable to decrypt:?.{0,80}\**"
    r"|.{0,40}撤回了(?:一条|一則|一个)消息|.{0,20}撤回了?一則訊息|.{0,40}已收回訊息"
    r"|(?:此|该|这条|本条)?(?:消息|微博|评论|内容|条微博)(?:已|已经|已被)(?:被)?(?:作者|用户|原作者|对方)?(?:撤回|删除)"
    rf"|{_FILE} ?(?:\(file attached\)|\(文件已附加\)|\(檔案已附加\))?"
    r")[ \t\"”.。!]*$",
    re.MULTILINE | re.IGNORECASE,
)
_NO_VALUE = re.compile(
    r"\s*(?:\{\}|\[\]|[\[({<\"']?(?:undefined|null|nan|nil|None|NULL|NaN|N/A|n/a|no value"
    r"|object [A-Z]\w{1,20}"
    r"|System\.[\w.]{1,40})[\])}>\"']?)\s*"
)
_UNREADABLE = re.compile("[\ue000-\uf8ff\ufffc\ufffd]+")  # also icons of a font of one's own

MAYBE_LABEL: Final = (
    r"[\[【<](?:[^A-Za-z\[\]【】<>]{1,12}|(?i:ph|im|pi|st|an|vi|vo|au|gi|fi|do|at|lo|li|co|cu|me|al|mu|po|un|em|sc|in"
    r"|de|re|no|en)[^\[\]【】<>]{0,24})[\]】>:：]|[\x{E000}-\x{F8FF}\x{FFFC}\x{FFFD}]|<attached:|撤回|收回|删除|忽略|省略|过期|失效"
    r"|(?i:omitted|available|removed|expired|deleted|unsent|retracted|withdrawn|recalled|decrypt"
    r"|waiting for this|(?:voice|video|group|audio) call|^\W{0,3}you (?:sent|shared)"
    r"|\.(?:jpe?g|png|gif|webp|heic|mp4|mov|opus|ogg|m4a|mp3|aac|pdf|vcf|3gp|docx?)\b)"
    r"|^\s*.?(?:undefined|null|nan|nil|None|NULL|NaN|N/A|n/a|no value|object|System|\{\}|\[\])"
)
"""Matches, in RE2, every text in which ``drop_labels`` may find something."""


def drop_labels(text: str) -> str:
    """Return the text without labels, notices and names of no value."""
    if _NO_VALUE.fullmatch(text):
        return ""
    return _NOTICE.sub("", _LABEL.sub(" ", _UNREADABLE.sub("", text)))
