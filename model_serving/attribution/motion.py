"""Attribution of motion: which blendshapes the estimate rests on."""

import pyarrow as pa

from model_serving.attribution.occlusion import Attribution, Place, attribution, probabilities
from model_serving.recogniser import Recogniser
from schemas.modalities import MODALITIES, MOTION_FEATURES

_KIND = dict(MODALITIES["motion"].columns)["weights"]


def attribute_motion(
    recogniser: Recogniser, event: pa.RecordBatch, expression: int
) -> Attribution | None:
    """Return the attribution of one frame: of each shape and angle that is not at rest."""
    frame = event["weights"][0].as_py()
    moved = [place for place, weight in enumerate(frame) if weight]
    frames = [frame, *([*frame[:place], 0.0, *frame[place + 1 :]] for place in moved)]
    found = probabilities(recogniser, "weights", pa.array(frames, _KIND), expression)
    places = [Place(MOTION_FEATURES[place]) for place in moved]
    return attribution(places, found[0], found[1:], "weight", "rest")
