"""What the page says, in English and Chinese: one row for each text."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Language = Literal["en", "zh"]
LANGUAGES: Mapping[Language, str] = MappingProxyType({"en": "English", "zh": "中文"})


class Text(NamedTuple):
    """One text in each language; ``{name}`` stands for a value."""

    en: str
    zh: str


TEXTS: Mapping[str, Text] = MappingProxyType(
    {
        # every view
        "notice": Text(
            "Shown, estimated: a machine estimates what was shown, not what is felt. Never the "
            "only reason for a decision that matters to a person. Times are UTC.",
            "所显，为估计：机器估计的是所显示的表情，而非内心感受；"
            "不得作为对个人有重大影响的决定的唯一依据。时间为协调世界时（UTC）。",
        ),
        "language": Text("Language / 语言", "语言 / Language"),
        "audit_away": Text(
            "The log of who reads what cannot be written in {folder}, so nothing is shown: make "
            "room, or name another folder as `access.audit`.",
            "无法在 {folder} 写入读取记录，因此不显示任何内容："
            "请腾出空间，或在 `access.audit` 指定其他文件夹。",
        ),
        "nothing": Text("No row in this span yet.", "此时段内尚无数据。"),
        "as_table": Text("As a table", "以表格显示"),
        "version": Text("{table}, version {version}", "{table}，版本 {version}"),
        "all": Text("All", "全部"),
        "none": Text("none", "无"),
        "unknown": Text("unknown", "未知"),
        "day": Text("Day", "日期"),
        "span": Text("Span", "时段"),
        "span_5": Text("5 minutes", "5 分钟"),
        "span_15": Text("15 minutes", "15 分钟"),
        "span_60": Text("1 hour", "1 小时"),
        "span_1440": Text("24 hours", "24 小时"),
        "scene": Text("Scene", "场景"),
        "session": Text("Session", "会话"),
        "subject": Text("Subject", "主体"),
        "time": Text("Time", "时间"),
        "windows": Text("Windows", "窗口数"),
        "events": Text("Events", "事件数"),
        "expression": Text("Shown (estimate)", "所显表情（估计）"),
        "held": Text("Held over windows (estimate)", "跨窗口保持的表情（估计）"),
        "confidence": Text("Confidence", "置信度"),
        "abstained": Text("Abstained", "弃权"),
        "valence": Text("Valence", "效价"),
        "arousal": Text("Arousal", "唤醒度"),
        "modality": Text("Modality", "模态"),
        "action": Text("Action", "动作"),
        "reason": Text("Reason", "理由"),
        "code": Text("Code", "代码"),
        "meaning": Text("What it means", "含义"),
        "stage": Text("Stage", "阶段"),
        "article": Text("Article", "法律依据"),
        "state": Text("State", "状态"),
        # names of values
        "text": Text("text", "文本"),
        "voice": Text("voice", "语音"),
        "face": Text("face", "面部"),
        "motion": Text("motion", "动作"),
        "fused": Text("all, fused", "融合"),
        "anger": Text("anger", "愤怒"),
        "disgust": Text("disgust", "厌恶"),
        "fear": Text("fear", "恐惧"),
        "joy": Text("joy", "喜悦"),
        "sadness": Text("sadness", "悲伤"),
        "surprise": Text("surprise", "惊讶"),
        "neutral": Text("neutral", "中性"),
        # live
        "live": Text("Live", "实时"),
        "newest_window": Text("Newest window ended", "最新窗口结束于"),
        "valence_arousal": Text("Valence and arousal", "效价与唤醒度"),
        "valence_arousal_alt": Text(
            "Lines of valence and arousal over time, from -1 to 1. The table below has the values.",
            "效价与唤醒度随时间变化的折线，范围 -1 到 1；数值见下方表格。",
        ),
        "valence_arousal_note": Text(
            "Means of the windows that the model did not abstain from.",
            "模型未弃权的窗口的平均值。",
        ),
        "timeline": Text("Expression timeline", "表情时间线"),
        "timeline_alt": Text(
            "The surest expression of each modality over time. The table below has the values.",
            "各模态随时间变化的最有把握的表情；数值见下方表格。",
        ),
        "timeline_note": Text(
            "The thicker, the surer. The letter is the expression; grey and – where all abstained.",
            "越粗表示置信度越高；字为表情的简称；灰色与 – 表示全部弃权。",
        ),
        # scenes
        "scenes": Text("Scene mood", "场景情绪"),
        "scenes_alt": Text(
            "Scenes by mean valence and arousal. The table below has the values.",
            "各场景的平均效价与唤醒度；数值见下方表格。",
        ),
        "scenes_note": Text(
            "The {count} scenes with the most windows; the larger, the more windows.",
            "窗口最多的 {count} 个场景；点越大，窗口越多。",
        ),
        "most_shown": Text("Most often shown (estimate)", "最常显示的表情（估计）"),
        # stream health
        "health": Text("Stream health", "数据流健康"),
        "behind_clock": Text("Newest window behind the clock", "最新窗口落后时钟"),
        "since_commit": Text("Since the last commit", "距上次提交"),
        "throughput": Text("Observations per second", "每秒观测数"),
        "throughput_over_time": Text("Observations over time", "观测数随时间变化"),
        "throughput_alt": Text(
            "Observations of each modality over the span. The table below has the values.",
            "时段内各模态的观测数；数值见下方表格。",
        ),
        "watermark_delay": Text("Watermark delay", "水位线延迟"),
        "lag": Text("Kafka lag", "Kafka 积压"),
        "job": Text("Job", "作业"),
        "running": Text("running", "运行中"),
        "stopped": Text("not running", "未运行"),
        "no_metrics": Text(
            "No supervisor of a live job answers at {url}: lag and watermark delay are not known; "
            "all else is from the tables.",
            "{url} 处没有实时作业的监督进程应答：积压与水位线延迟未知，其余数据来自各表。",
        ),
        "dead_letters": Text("Dead letters by cause", "死信（按原因）"),
        "refusals": Text("Refusals by article", "拒绝（按法律依据）"),
        "newest_days": Text("Of the newest {count} days.", "最近 {count} 天。"),
        "tables": Text("Tables", "各表"),
        "table": Text("Table", "表"),
        "rows": Text("Rows", "行数"),
        "table_version": Text("Version", "版本"),
        # decisions and their explanation
        "decisions": Text("Decisions", "决策"),
        "choose_decision": Text("Decision to explain", "要解释的决策"),
        "explanation": Text("Why this decision", "决策说明"),
        "decision_gone": Text(
            "This decision is not in the tables: it was erased, or is older than they are kept.",
            "表中没有此决策：已被删除，或已超过保留期限。",
        ),
        "features_gone": Text(
            "The feature row of this decision is not in the tables any more.",
            "此决策的特征行已不在表中。",
        ),
        "window": Text("Window", "窗口"),
        "revision": Text("Events in the window", "窗口内事件数"),
        "reply": Text("Reply template", "回复模板"),
        "intensity": Text("Intensity of the avatar", "虚拟形象强度"),
        "expires": Text("Expires", "失效时间"),
        "purpose": Text("Purpose", "目的"),
        "scenario": Text("Scenario", "情境"),
        "region": Text("Region", "地区"),
        "age_band": Text("Age band", "年龄段"),
        "policy_version": Text("Policy and version", "策略与版本"),
        "model": Text("Model and version", "模型与版本"),
        "context": Text("Context told", "上下文"),
        "quality": Text("Quality code", "质量代码"),
        "observed": Text("Observed in the window, by modality", "窗口内的观测（按模态）"),
        "attention": Text("Attention on each modality", "各模态的注意力"),
        "attention_alt": Text(
            "Bars of attention on each modality, from 0 to 1. The table below has the values.",
            "各模态注意力的条形图，范围 0 到 1；数值见下方表格。",
        ),
        "fact": Text("Fact", "项目"),
        "value": Text("Value", "值"),
        "reason_default": Text(
            "The scenario has no rule for this expression: the subject's own avatar mirrors it, "
            "and for other purposes it is only observed.",
            "该情境没有针对此表情的规则：主体自己的虚拟形象加以模仿，其他目的仅作观察。",
        ),
        "reason_settling": Text(
            "The scenario has a rule for this expression, which was not shown for as many windows "
            "as the rule asks for yet.",
            "该情境有针对此表情的规则，但其持续的窗口数尚未达到规则要求。",
        ),
        "reason_scenario_rule": Text(
            "A rule of the scenario asks for this action: the expression was shown for as many "
            "windows as the rule says, or the context told what the rule waits for.",
            "情境规则要求此动作：该表情持续的窗口数已达到规则要求，或上下文满足了规则条件。",
        ),
        "reason_abstained": Text(
            "The model abstained, or no expression is established yet, so nothing is done.",
            "模型弃权，或尚未确定表情，因此不采取动作。",
        ),
        "reason_not_opted_in": Text(
            "The subject has not opted in to be shown to others, so that their avatar does not "
            "mirror anything.",
            "主体未选择向他人展示，因此其虚拟形象不作任何模仿。",
        ),
        "reason_usage_reminder": Text(
            "The subject has been there for so long without a pause that a law asks to remind them "
            "of it.",
            "主体已连续使用较长时间，依法须提醒其休息。",
        ),
        "reason_avatar_off": Text(
            "The mirroring of avatars is turned off (`decisions.avatar`).",
            "虚拟形象的模仿已关闭（`decisions.avatar`）。",
        ),
        # reviews
        "reviews": Text("Review queue", "复核队列"),
        "open_reviews": Text("Open", "待复核"),
        "decided_reviews": Text("Decided", "已复核"),
        "queue": Text("What to look at", "显示"),
        "queue_open": Text("Open reviews", "待复核"),
        "queue_decided": Text("Decided reviews", "已复核"),
        "queue_note": Text(
            "The newest {count}. The list stays as it is while you judge: load it again for what "
            "came since.",
            "最近 {count} 条。判断期间列表保持不变；重新载入可查看新条目。",
        ),
        "load_again": Text("Load again", "重新载入"),
        "choose_review": Text("Review", "复核条目"),
        "label": Text("Your decision", "您的判断"),
        "choose_label": Text("Choose a decision first.", "请先选择您的判断。"),
        "said": Text("Reviewer's decision", "复核判断"),
        "reviewer": Text("Your name", "您的姓名"),
        "reviewer_help": Text(
            "Stored with the decision: 1 to 64 letters, digits or . @ + - _",
            "与判断一并保存：1 至 64 个字母、数字或 . @ + - _",
        ),
        "store": Text("Store", "保存"),
        "stored": Text("Stored: {label}, by {reviewer}.", "已保存：{label}，复核人 {reviewer}。"),
        "confirmed": Text("confirmed: what the window shows is right", "确认：该窗口的判断正确"),
        "unclear": Text("unclear: nobody can tell", "不明：无法判断"),
        "instead": Text("shown instead: {expression}", "实际所显：{expression}"),
        "reviewed_by": Text("Reviewer", "复核人"),
        "reviewed_at": Text("Decided at", "复核时间"),
        "reason_low_confidence": Text(
            "low_confidence: too unsure for a scenario with high stakes",
            "low_confidence：对高风险情境而言把握不足",
        ),
        "reason_high_stakes": Text(
            "high_stakes: a rule acts in a scenario with high stakes",
            "high_stakes：规则在高风险情境中采取了动作",
        ),
        "reason_disagreement": Text(
            "disagreement: text, voice, face and motion tell different things",
            "disagreement：文本、语音、面部与动作所示不一致",
        ),
        # erasures
        "erasures": Text("Erasures", "删除"),
        "erasures_alt": Text(
            "Requests to erase and withdrawals of each day. The table below has the values.",
            "每日的删除请求与撤回；数值见下方表格。",
        ),
        "erasure_requested": Text("Erasure requested", "请求删除"),
        "withdrawn": Text("Consent withdrawn", "撤回同意"),
        "day_counts": Text("By day", "按日"),
        "requests": Text("Requests to erase, by day and state", "删除请求（按日期与状态）"),
        "erasures_note": Text(
            "Open: rows of the person from before the request still stand in some table. None "
            "left: no table has any. The newest {count} requests.",
            "未完成：仍有表含有此人请求之前的数据。已无数据：各表均不再含有。最近 {count} 条请求。",
        ),
        "proofs": Text("Carried out", "已执行的删除"),
        "proofs_note": Text(
            "Proved: every file was searched and nothing found. Open: run `affectstream erase` "
            "again. Nobody is named. The newest {count}.",
            "已证明：逐一检索全部文件，未发现残留。未完成：请再次运行 `affectstream erase`。"
            "不显示任何人的身份。最近 {count} 条。",
        ),
        "erasure_proved": Text("proved", "已证明"),
        "erasure_id": Text("Erasure", "删除编号"),
        "rows_deleted": Text("Rows", "行数"),
        "files_deleted": Text("Files", "文件数"),
        "erasure_open": Text("open", "未完成"),
        "erasure_done": Text("none left", "已无数据"),
        "count": Text("Count", "数量"),
    }
)


class Speaker:
    """Says the texts of one language."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with these values in it; a key that is not in the table is a KeyError."""
        row = TEXTS[key]
        said = row.zh if self.language == "zh" else row.en
        return said.format(**values) if values else said

    def name(self, value: object) -> str:
        """Return the name of a modality or expression; what has none stays as it is."""
        known = str(value)
        return self(known) if known in TEXTS else known


def first_language(locale: str | None) -> Language:
    """Return the language that a viewer's browser asks for, English where it is no other here."""
    return "zh" if (locale or "").lower().startswith("zh") else "en"
