"""A question names declared columns and values only, and means the same however it is written."""

from typing import Any

import pytest

from schemas.errors import AffectstreamError
from tests.pipelines.aggregate.world import question


def test_the_same_question_is_equal_however_it_is_written() -> None:
    one = question(
        by=("scene_id", "hour"),
        where=("region=EU", "scenario=game", "region=CN", "purpose=recommendation"),
        since="2026-11-30T10:00+08:00",
        measures=("valence", "windows", "valence"),
    )
    other = question(
        by=("hour", "scene_id", "hour"),
        where=("purpose=recommendation", "scenario=game", "region=CN", "region=EU", "region=EU"),
        since="2026-11-30T02:00",
        measures=("windows", "valence"),
    )
    assert one == other
    assert question() == question(measures=tuple(reversed(question().measures)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": ("subject_ref",)}, "--by subject_ref is not known"),
        ({"by": ("hour; DROP TABLE x",)}, "is not known: name one of age_band, day"),
        ({"by": ("scene",)}, "did you mean `scene_id`?"),
        ({"by": ("",)}, "--by  is not known"),
        ({"measures": ("valence FROM observations --",)}, "--measure valence FROM"),
        ({"where": ("1=1 OR purpose=recommendation",)}, "--where 1 is not known"),
        ({"where": ("subject_ref=00ff",)}, "--where subject_ref is not known"),
        ({"where": ("hour=3",)}, "--where hour is not known"),
        ({"where": ("scenario",)}, "--where scenario is no condition: write one"),
        ({"where": ("scenario=",)}, "is no condition"),
        ({"where": ("scene_id=\udc80",)}, "is no condition"),
        ({"where": ("scene_id=a\0b",)}, "is no condition"),
        ({"where": ("scenario=gmae",)}, "no scenario of the policy: did you mean `game`?"),
        ({"where": ("region=EU' OR '1'='1",)}, "no region of the policy"),
        ({"where": ("age_band=ADULT",)}, "no age_band of the policy: name one of adult"),
        ({"where": ("purpose=safety", "purpose=research")}, "is two windows: choose one"),
        ({"since": "yesterday"}, "--since yesterday is no time"),
        ({"since": "0001-01-01T00:00+14:00"}, "is no time"),
        ({"until": "9999-12-31T23:00"}, "lies outside of 1970 to 2261"),
        ({"since": "2026-02-30"}, "is no time"),
        ({"since": "2026-03-02", "until": "2026-03-02"}, "is not before --until"),
    ],
)
def test_what_is_not_declared_is_refused_in_one_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(AffectstreamError) as refused:
        question(**given)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_windows_of_several_purposes_are_never_counted_together() -> None:
    assert question(by=("purpose",)).where == ()
    with pytest.raises(AffectstreamError, match="is two windows"):
        question(where=("purpose=safety", "purpose=recommendation"))
