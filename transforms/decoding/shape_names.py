"""Names of shapes as rigs and exporters spell them, and names that can't be of a face."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_BETWEEN: Final = re.compile(r"[\W_]+")
_SIDE: Final = re.compile(r"(?<=.)(l|r)(?:eft|ight)$")
_SIDE_FIRST: Final = re.compile(r"^(l|r)(?:eft|ight)(.+)$")
_PATH: Final = re.compile(r"^.*[/.](?!(?:left|right)$)(?=\w{3})")

_AROUND: Final = (
    r"(?:(?:bs|bshp|shp|fbs|facs|arkit|blend_?shapes?|shapes?|shape_?keys?|keys?|morphs?|"
    r"morph_?targets?|face|facial|head|mesh|avatar|expressions?|ctrl|geo|weights?|m)\d*|\d+)"
)
_BEFORE: Final = re.compile(rf"^(?:{_AROUND}[\W_]++)++(?=.{{5}})", re.IGNORECASE)
_AFTER: Final = re.compile(rf"(?:(?:[\W_]++(?i:{_AROUND}))++|Shape\d*)$")
_SHORT_SIDE_FIRST: Final = re.compile(r"^(l|r)(?:ft|gt|eft|ight)?[\W_]+(.+)$", re.IGNORECASE)
_SHORT_SIDE: Final = re.compile(r"(?:[\W_]+(l|r)|[\W_]*(l|r)(?:ft|gt))$", re.IGNORECASE)
_LONGEST_END: Final = 20  # characters that are searched for it
_SIDES: Final = {"l": "_Left", "r": "_Right"}

_TOKEN: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_OF_A_FACE: Final = re.compile(
    r"eye|brow|lid|lash|pupil|gaze|mouth|lip|smil|frown|jaw|chin|cheek|nose|sneer|tongue|teeth|"
    r"face|facial|blink|squint|emot|expr|^au$",
)
_OF_NONE: Final = frozenset(
    {
        *("head", "neck", "tail", "ear", "ears", "horn", "horns", "antenna", "wing", "wings"),
        *("hair", "bangs", "ponytail", "beard", "hat", "hood", "cap", "glasses", "earring"),
        *("cape", "cloth", "clothes", "dress", "skirt", "shirt", "sleeve", "shoe", "ribbon"),
        *("accessory", "weapon", "hand", "hands", "finger", "thumb", "wrist", "palm", "arm"),
        *("arms", "elbow", "shoulder", "chest", "breast", "breath", "spine", "hip", "hips"),
        *("belly", "body", "leg", "legs", "knee", "foot", "feet", "toe", "toes", "paw", "fur"),
        *("bone", "time", "frame", "fps", "index", "count", "id", "version", "confidence"),
        *("visible", "tracked", "camera", "light"),
    }
)
"""Words of a body, of what it wears, and of what is told of a frame."""
_LONG_ONES: Final = tuple(word for word in _OF_NONE if len(word) > 3)


def fold(name: str, strip: tuple[str, ...] = ()) -> str:
    """Return a name without case, separators, path and what is stripped; a side as ``l`` or ``r``.

    ``/avatar/v2/EyeClosedLeft``, ``leftEyeClosed``, ``eye_closed_L``, ``Face.EyeClosed.L`` are one.
    """
    folded = _without_signs(name)
    for pattern in strip:
        folded = re.sub(pattern, "", folded)
    return _SIDE.sub(r"\1", _SIDE_FIRST.sub(r"\2\1", folded))


@lru_cache(maxsize=8)  # each vocabulary asks for the same name in turn
def _without_signs(name: str) -> str:
    return _BETWEEN.sub("", _PATH.sub("", unicodedata.normalize("NFKC", name).casefold()))


def spellings(name: str) -> Iterator[str]:
    """Yield what a name may be, the likeliest first: without what rigs and exporters put around it.

    ``bs_mouthSmileLeft``, ``0_mouthSmileLeft``, ``mouthSmileLeft.001``, ``mouthSmileLeftShape``,
    ``L_mouthSmile``, ``mouthSmile_lft`` and ``mouth.smile.left`` are ``mouthSmileLeft``.
    Dots stand between words before they stand after a path: ``brow.down.left`` is no ``down.left``.
    """
    if "." in name:
        yield name.replace(".", "_")
    yield name
    bare = _BEFORE.sub("", name)
    if after := _AFTER.search(bare, max(0, len(bare) - _LONGEST_END)):
        bare = bare[: after.start()]
    if side := _SHORT_SIDE_FIRST.match(bare):
        bare = side[2] + _SIDES[side[1].casefold()]
    elif side := _SHORT_SIDE.search(bare, max(0, len(bare) - _LONGEST_END)):
        bare = bare[: side.start()] + _SIDES[(side[1] or side[2]).casefold()]
    if bare != name:
        yield bare
    if "." in bare:
        yield bare.replace(".", "_")


def may_be_of_a_face(name: str) -> bool:
    """Return whether an unknown name may be that of a shape of a face: ``TailWag`` can't be."""
    words = [word.casefold() for word in _TOKEN.findall(name)]
    if not any(word in _OF_NONE or word.startswith(_LONG_ONES) for word in words):
        return True
    return any(map(_OF_A_FACE.search, words))
