"""Modalities: one row each, which everything else that treats modalities follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from schemas.arkit import BLENDSHAPES, HEAD_POSE

Columns = tuple[tuple[str, pa.DataType], ...]

MOTION_FEATURES = (*BLENDSHAPES, *HEAD_POSE)

MEDIA_COLUMNS: Columns = (
    ("media", pa.binary()),
    ("media_format", pa.string()),
    ("media_bytes", pa.int64()),
    ("media_ref", pa.string()),
)
"""Payload columns of media.

``media_format`` is told by the first bytes: a name in ``schemas.media.formats``.
``media_ref`` is the CloudEvents ``dataref`` of an event that names its media instead of carrying
them; the other three are null until they have been fetched.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """Everything that is known of one modality outside its recogniser.

    ``columns`` are the payload columns of its EVENT batches. Without ``media`` the payload is a
    JSON object; fields of one scalar each are read from it under the columns' names. A
    ``biometric`` modality is about the body: policies say ``biometric: true`` for all of these.
    """

    name: str
    topic: str
    columns: Columns
    biometric: bool
    media: bool = False


MODALITIES: Mapping[str, Modality] = MappingProxyType(
    {
        modality.name: modality
        for modality in (
            Modality(
                name="text",
                topic="session.text",
                columns=(("text", pa.string()), ("lang", pa.string())),
                biometric=False,
            ),
            Modality(
                name="voice",
                topic="session.voice",
                columns=MEDIA_COLUMNS,
                biometric=True,
                media=True,
            ),
            Modality(
                name="face",
                topic="session.face",
                columns=MEDIA_COLUMNS,
                biometric=True,
                media=True,
            ),
            Modality(
                name="motion",
                topic="session.motion",
                columns=(
                    ("weights", pa.list_(pa.float32(), len(MOTION_FEATURES))),
                    ("weights_given", pa.int32()),
                    ("weight_min", pa.float32()),
                    ("weight_max", pa.float32()),
                    ("pose_max", pa.float32()),
                ),
                biometric=True,
            ),
        )
    }
)
"""Name → modality, in the order of every per-modality vector.

Motion's ``weights`` hold the 52 blendshapes in [0, 1] and pitch, yaw, roll in radians, absent ones
0; ``weight_min``, ``weight_max`` and ``pose_max`` (largest absolute angle) are what its
expectations look at.
"""
