"""The columns of a decision that move an avatar."""

from typing import Final

import pyarrow as pa

from schemas.arkit import BLENDSHAPES
from schemas.avatar.vrm import PRESETS, TARGETS
from schemas.table import column

_WEIGHTS = "ARKit-52 weights, 0-1, in Apple's order"
_PRESET = "VRM preset that the face moves towards; this and the rest null where the row moves none"
_PRESET_WEIGHTS = f"weights of the VRM 1.0 presets {', '.join(PRESETS)}; sum 1, at rest neutral 1"
_OVERRIDE = "what the presets do to the client's own weights of {}: none, blend or block"
_MASK = "52 digits in Apple's order: 1 where the ARKit weight yields to lip sync"
_SHARE = "the mouth's share of the movement, 0-1: by how much the presets yield to lip sync"

AVATAR_COLUMNS: Final = (
    column("avatar_weights", pa.list_(pa.float32(), len(BLENDSHAPES)), _WEIGHTS, range="0 to 1"),
    column("avatar_preset", pa.string(), _PRESET, 3),
    column(
        "preset_weights", pa.list_(pa.float32(), len(PRESETS)), _PRESET_WEIGHTS, 3, range="0 to 1"
    ),
    *(column(f"override_{each}", pa.string(), _OVERRIDE.format(each), 3) for each in TARGETS),
    column("lip_sync_mask", pa.string(), _MASK, 3),
    column("mouth_share", pa.float32(), _SHARE, 3),
)
