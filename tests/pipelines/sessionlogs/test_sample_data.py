"""The sample's own material: utterances, voice clips and rendered faces."""

import io
import re
from collections import Counter

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.sessionlogs import faces
from pipelines.sessionlogs.sample import SUBJECTS
from pipelines.sessionlogs.sample_data import (
    DATA,
    FACE,
    HEADS,
    MANIFEST,
    SIDE,
    VARIANTS,
    VOICE,
    clips,
    head,
    utterances,
)
from schemas.vocabularies import EXPRESSIONS


def test_utterances_cover_every_language_scenario_and_expression():
    cells = Counter((u.lang, u.scenario, u.expression) for u in utterances())
    assert len(cells) == 2 * 4 * len(EXPRESSIONS)
    assert min(cells.values()) >= 2
    assert len(utterances()) >= 115
    assert len({u.text for u in utterances()}) == len(utterances())


def test_addresses_and_links_in_utterances_are_reserved_ones():
    texts = " ".join(u.text for u in utterances() if u.personal)
    hosts = re.findall(r"(?:@|://)((?:[\w-]+\.)+[a-z]+)", texts)
    assert len(hosts) >= 5
    assert all(re.search(r"(^|\.)example\.(com|net|org|cn)$", host) for host in hosts)


def test_clips_decode_and_match_the_manifest():
    files = {path.name for path in (DATA / VOICE).iterdir()} - {MANIFEST}
    assert files == {clip.name for clip in clips()}
    for clip in clips():
        samples, rate = soundfile.read(io.BytesIO(clip.media))
        assert len(samples) / rate == pytest.approx(clip.seconds, abs=0.05)
        assert np.abs(samples).max() > 0.05
    assert sum(len(clip.media) for clip in clips()) < 600_000


def test_clips_cover_both_languages_and_every_expression():
    cells = Counter((clip.lang, clip.expression) for clip in clips())
    assert set(cells) == {(lang, e) for lang in ("en", "zh") for e in EXPRESSIONS}
    assert {clip.content_type for clip in clips()} == {"audio/ogg", "audio/flac", "audio/wav"}


@pytest.mark.parametrize("container", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("colour", [True, False])
def test_a_photograph_is_a_picture_of_the_camera(container, colour):
    camera = faces.Camera(56, colour, container)
    media = faces.photograph(3, EXPRESSIONS.index("joy"), 2, camera)
    assert camera.content_type == f"image/{container}"
    with Image.open(io.BytesIO(media)) as picture:
        assert picture.format == container.upper()
        assert picture.size == (56, 56)
        assert (np.ptp(np.asarray(picture.convert("RGB")), axis=2).max() > 20) == colour


def test_there_is_a_sheet_a_subject_and_no_picture_twice():
    files = {path.name for path in (DATA / FACE).iterdir()}
    assert files == {f"head-{number:02}.webp" for number in range(len(SUBJECTS))}
    assert sum(path.stat().st_size for path in (DATA / FACE).iterdir()) < 1_000_000
    pictures = [head(number).reshape(-1, SIDE, SIDE, 3) for number in range(HEADS)]
    cells = {picture.tobytes() for sheet in pictures for picture in sheet}
    assert len(cells) == HEADS * len(EXPRESSIONS) * VARIANTS


def test_heads_show_each_expression_otherwise_than_neutral():
    neutral = EXPRESSIONS.index("neutral")
    for number in range(HEADS):
        mean = head(number).astype(float).mean(axis=(1, 4))
        moved = np.abs(mean - mean[neutral]).max(axis=(1, 2))
        assert np.delete(moved, neutral).min() > 15
