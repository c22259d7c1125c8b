"""What the stable codes mean, in both languages; the English stands with the codes themselves."""

from collections.abc import Mapping
from types import MappingProxyType

from pipelines.serve.dashboard.texts import Language
from schemas.errors import DeadLetterCode, QualityCode, RefusalCode
from schemas.media.formats import FormatCode

_ENGLISH: Mapping[str, str] = MappingProxyType(
    {
        str(code): code.meaning
        for codes in (DeadLetterCode, FormatCode, RefusalCode, QualityCode)
        for code in codes
    }
)

CHINESE: Mapping[str, str] = MappingProxyType(
    {
        # dead letters
        "unknown_topic": "记录的主题不属于任何一种事件。",
        "unknown_event_type": "CloudEvents 的 type 与主题不符。",
        "governance_unreadable": "同意或删除记录未指明任何人，或可能指明了更多无法读出的人。",
        "consent_unclear": "同意记录未明确说明授权或撤回；按撤回处理。",
        "grant_unknown_name": "授权列出了未知的目的或模态；其余部分有效。",
        "grant_needs_guardian": "儿童自行作出的授权不生效，须由监护人授权。",
        "signature_missing": "授权没有签名，而配置要求签名。",
        "signature_unknown_key": "授权的签名密钥不属于其 source。",
        "signature_invalid": "授权的签名格式有误，或与属性和负载不符。",
        "prohibition_unsigned": "撤回或删除请求没有可靠的签名：只暂停处理，不删除任何内容。",
        "key_shredded": "事件所属时段的密钥已被 affectstream keys shred 移除。",
        "erased": "主体已被删除且此后未再同意；该行不指明是谁。",
        "id_reused": "事件的 id 在同一主体、同一分钟内已用于其他内容。",
        "null_value": "记录没有值。",
        "bad_headers": "id 或 source 缺失或为空，或属性不是 UTF-8，或重复且取值不同。",
        "bad_time": "time 不是带时区的 RFC 3339 时间，或年份超出 1000 至 8999。",
        "clock_ahead": "事件时间比其 Kafka 记录时间超前 60 秒以上。",
        "clock_behind": "事件时间落后于其 Kafka 记录时间，超出 clocks.behind_s。",
        "batched_events": "一条记录包含多个事件；请逐条发送。",
        "compressed_value": "值以不支持的方式压缩，或其 gzip 已损坏或解压后超过 64 KiB。",
        "schema_registry_format": "值带有模式注册表的编号，其后不是 JSON，而是 Avro 或 Protobuf。",
        "format_unsupported": "事件或其数据不是 JSON，例如 Avro、Protobuf 或 XML。",
        "specversion_unknown": "specversion 不是 1.0。",
        "dataschema_unknown": "dataschema 指明的主版本不是 1。",
        "late": "事件到达时，其窗口与允许的迟到时间均已过去。",
        "too_many_events": "该主体在同一窗口内的事件超过上限；超出部分未被识别。",
        "bad_json": "负载不是单个 JSON 对象，或授权中的成员重复。",
        "wrong_type": "负载中某字段的类型与 JSON Schema 不符。",
        "unknown_shapes": "weights 中没有任何名称属于可读取的面部形状词表。",
        "unknown_unit": "动作权重不在 0 至 1 之间，或全为整数，而 unit 未说明相符的单位。",
        "expectation_failed": "某个值超出该类事件的预期范围。",
        "media_place_refused": "dataref 指向不被允许的位置。",
        "media_unreachable": "无法取得 dataref 指向的媒体。",
        "media_too_large": "dataref 指向的媒体超过 media.max_bytes。",
        "audio_undecodable": "音频已损坏、被截断、编码不常见，或超过 8 声道。",
        "audio_too_long": "音频超过 15 秒，或各声道合计超过。",
        "image_undecodable": "图像无法读取，或声称的尺寸过大。",
        "decoder_missing": "此安装无法读取该媒体格式：请安装 affectstream[media]。",
        "recogniser_failed": "识别器没有得到负载，或没有给出有限的分数。",
        "poison": "该记录使某阶段报错，或使工作进程崩溃。",
        # what was found in place of media
        "found_wav": "应为媒体之处是 WAV 音频。",
        "found_flac": "应为媒体之处是 FLAC 音频。",
        "found_ogg": "应为媒体之处是 Ogg 文件。",
        "found_mp3": "应为媒体之处是 MP3 音频。",
        "found_aiff": "应为媒体之处是 AIFF 音频。",
        "found_webm": "应为媒体之处是 WebM 或 Matroska 文件。",
        "found_mp4": "应为媒体之处是 MP4、M4A、3GP 或 QuickTime 文件。",
        "found_aac": "应为媒体之处是 AAC 音频流。",
        "found_jpeg": "应为媒体之处是 JPEG 图片。",
        "found_png": "应为媒体之处是 PNG 图片。",
        "found_webp": "应为媒体之处是 WebP 图片。",
        "found_gif": "应为媒体之处是 GIF 图片。",
        "found_avif": "应为媒体之处是 AVIF 图片。",
        "found_heic": "应为媒体之处是 HEIC 图片。",
        "found_amr": "应为媒体之处是 AMR 音频。",
        "found_caf": "应为媒体之处是 CAF 音频。",
        "found_au": "应为媒体之处是 AU 音频。",
        "found_asf": "应为媒体之处是 WMA、WMV 或 ASF 文件。",
        "found_silk": "应为媒体之处是 SILK 语音消息。",
        "found_w64": "应为媒体之处是 Wave64 音频。",
        "found_midi": "应为媒体之处是 MIDI 文件。",
        "found_avi": "应为媒体之处是 AVI 影片。",
        "found_flv": "应为媒体之处是 FLV 影片。",
        "found_mpeg": "应为媒体之处是 MPEG 传输流或节目流。",
        "found_webm_chunk": "应为媒体之处是缺少文件头的 WebM 片段。",
        "found_mp4_fragment": "应为媒体之处是缺少文件头的 MP4 片段。",
        "found_ogg_chunk": "应为媒体之处是缺少文件头的 Ogg 片段。",
        "found_bmp": "应为媒体之处是 BMP 图片。",
        "found_tiff": "应为媒体之处是 TIFF 或相机原始图片。",
        "found_svg": "应为媒体之处是 SVG 图形。",
        "found_jxl": "应为媒体之处是 JPEG XL 图片。",
        "found_jp2": "应为媒体之处是 JPEG 2000 图片。",
        "found_ico": "应为媒体之处是图标文件。",
        "found_psd": "应为媒体之处是 Photoshop 文件。",
        "found_pdf": "应为媒体之处是 PDF 文件。",
        "found_zip": "应为媒体之处是 ZIP 压缩包。",
        "found_gzip": "应为媒体之处是 gzip 压缩数据。",
        "found_numpy": "应为媒体之处是 NumPy 数组或 pickle。",
        "found_multipart": "应为媒体之处是多部分 HTTP 请求正文。",
        "found_html": "应为媒体之处是 HTML 或 XML 页面。",
        "found_json": "应为媒体之处是 JSON。",
        "found_url": "应为媒体之处是网址。",
        "found_blob_url": "应为媒体之处是浏览器的 blob: 地址。",
        "found_object_name": "应为媒体之处是对象的打印名称。",
        "found_mangled": "应为媒体之处是经过文本编码而损坏的文件。",
        "found_base64": "应为媒体之处是不含已知媒体的 Base64 或十六进制文本。",
        "found_text": "应为媒体之处是纯文本。",
        "found_zeros": "应为媒体之处是全零字节。",
        "found_unknown": "应为媒体之处是未知格式的数据。",
        # refusals
        "notice_missing": "事件未说明主体看到了哪份告知。",
        "purpose_unknown": "策略中没有关于该目的或该情形的规则。",
        "region_unknown": "策略未列出主体所在的地区。",
        "scenario_unknown": "策略未列出该情境。",
        "age_band_unknown": "策略未列出该年龄段。",
        "modality_unknown": "策略未列出该模态。",
        "purpose_prohibited": "法律禁止此用途；article 列出所依据的法律。",
        "minor_biometric": "主体是或可能是未成年人，而事件为语音、面部或动作数据。",
        "consent_insufficient": "已有同意，但不符合所列条款的要求（监护人、单独告知或逐项指明）。",
        "evidence_missing": "法律仅在有依据备案时才允许此用途，而备案缺失；所列条款说明了依据。",
        "consent_unknown": "没有该主体对此目的与模态的同意记录。",
        "consent_withdrawn": "主体已撤回同意或请求删除。",
        # quality
        "no_speech": "音频中没有人说话。",
        "too_short": "音频过短，无法判断。",
        "empty": "文本中没有本人的话：只有空白、链接、提及或引用。",
        "clipped": "语音削波。",
        "noisy": "噪声掩盖了语音。",
        "hum": "语音下有持续的嗡嗡声或单音。",
        "coarse": "采样值过少，量化误差掩盖了语音。",
        "background": "语音之后有房间混响、音乐或他人的声音。",
        "several_voices": "音频各声道是不同人的语音；判断的是最清晰的一个。",
        "narrow_band": "语音缺少高频，如同电话音质。",
        "no_face": "没有找到面部。",
        "small_face": "面部过小。",
        "blurred": "面部模糊。",
        "turned": "面部转向一侧。",
        "badly_lit": "图像过暗或过曝。",
        "several_faces": "图像中不止一张面部，无法判断属于谁。",
        "covered": "口部或眼部被遮挡，例如口罩或头显。",
        "rotated": "面部横置或倒置，已被转正。",
        "other_language": "文本所用语言不在模型卡所列之中。",
        "none_of_these": "模型认为其他答案或无答案比所有表情合计更可能。",
        "too_long": "文本一半以上位于所读取的 64 个词元之后。",
        "few_shapes": "区分表情所需的面部形状没有被跟踪。",
        "opposed_shapes": "互相排斥的面部形状同时活动：单位有误，或面部被遮挡。",
    }
)
"""Code → what it means, in Chinese."""


def meaning(code: object, language: Language) -> str:
    """Return what a code means, nothing where it is none of ours."""
    known = CHINESE if language == "zh" else _ENGLISH
    return known.get(str(code), "")
