"""Attribution of an event of any modality."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import pyarrow as pa

from model_serving.attribution.face import attribute_face
from model_serving.attribution.motion import attribute_motion
from model_serving.attribution.occlusion import Attribution
from model_serving.attribution.text import attribute_text
from model_serving.attribution.voice import attribute_voice
from model_serving.recogniser import Recogniser

_BY_MODALITY: Mapping[str, Callable[[Recogniser, pa.RecordBatch, int], Attribution | None]] = (
    MappingProxyType(
        {
            "text": attribute_text,
            "voice": attribute_voice,
            "face": attribute_face,
            "motion": attribute_motion,
        }
    )
)


def attribute(
    modality: str, recogniser: Recogniser, event: pa.RecordBatch, expression: int
) -> Attribution | None:
    """Return what each part of an event did to the probability of an expression.

    ``event`` is one row of an EVENT batch as the recogniser sees it, ``expression`` an index into
    EXPRESSIONS. None where the event cannot be judged, or the modality has no parts that are known.
    """
    find = _BY_MODALITY.get(modality)
    return None if find is None else find(recogniser, event, expression)
