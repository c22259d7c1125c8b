"""Attribution of text: which words the estimate rests on."""

import re
from typing import Final

import pyarrow as pa

from model_serving.attribution.occlusion import Attribution, Place, attribution, probabilities
from model_serving.recogniser import Recogniser

_CJK: Final = "\u3400-\u9fff"
_SPAN: Final = re.compile(rf"<[a-z]+>|[{_CJK}]|[^\W{_CJK}]+(?:['’][^\W{_CJK}]+)*|[^\w\s]+")
"""A placeholder, a Chinese character, a word, or signs in a row."""
MOST_SPANS: Final = 64
"""A recogniser reads 64 tokens, and none is shorter than a span."""


def attribute_text(
    recogniser: Recogniser, event: pa.RecordBatch, expression: int
) -> Attribution | None:
    """Return the attribution of one text event, scrubbed as it was recognised."""
    text = event["text"][0].as_py()
    places = [Place(m[0], m.start(), m.end()) for m in _SPAN.finditer(text)][:MOST_SPANS]
    without = [text[: int(p.start or 0)] + text[int(p.end or 0) :] for p in places]
    found = probabilities(recogniser, "text", pa.array([text, *without]), expression)
    return attribution(places, found[0], found[1:], "characters", "nothing")
