"""The sample's own material: utterances, voice clips and drawn faces."""

import io
import re
from collections import Counter

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.sessionlogs import faces
from pipelines.sessionlogs.sample_data import DATA, MANIFEST, VOICE, clips, utterances
from schemas.arkit import BLENDSHAPES, EXPRESSION_WEIGHTS
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
def test_a_drawn_face_is_a_picture_of_the_size_asked(container):
    rng = np.random.default_rng(1)
    who = faces.identity(rng)
    frame = np.concatenate([EXPRESSION_WEIGHTS[3], [0, 0.2, 0]])[None]
    [picture] = faces.draw(who, frame, rng)
    media = faces.encode(picture, container)
    with Image.open(io.BytesIO(media)) as picture:
        assert picture.format == container.upper()
        assert picture.size == (who.size, who.size)


def test_faces_move_with_their_weights():
    who = faces.identity(np.random.default_rng(2))
    still = np.zeros(len(BLENDSHAPES) + 3)

    def pixels(frame):
        [picture] = faces.draw(who, frame[None], np.random.default_rng(5))
        return np.asarray(picture.convert("L"), float)

    assert np.array_equal(pixels(still), pixels(still))
    for weights in EXPRESSION_WEIGHTS[:6]:
        moved = still.copy()
        moved[: len(BLENDSHAPES)] = weights
        assert np.abs(pixels(moved) - pixels(still)).max() > 40
