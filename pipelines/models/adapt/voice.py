"""``affectstream adapt voice``: the centre of a voice model moved to that of a recorded log.

What a clip's statistics are on average depends on microphones, rooms and language. The perceptron
takes a centre off them before it judges; here that becomes the deployment's own, without labels. A
running mean inside a worker would make answers depend on the order of events: a folder does not.
"""

import copy
import datetime as dt
import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console

from model_serving.card import Adaptation, ModelCard
from model_serving.recogniser import NetRecogniser
from model_serving.training.common import save_model
from model_serving.training.voice.data import build_extractor
from model_serving.voice.net import Perceptron
from pipelines.config import Config
from pipelines.models.adapt.centre import find_centre
from pipelines.models.adapt.clips import Clips, hear_clips, load_voice_model
from pipelines.models.adapt.folder import check_enough, check_place, number, unmeasured
from pipelines.run.replay import fingerprint
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS

LEAST_CLIPS: Final = 50
LEAST_SPEAKERS: Final = 5
"""Six draws of 50 clips of 5 speakers brought a model of RAVDESS alone .03 in recall on EMO-DB, .01
at least; to one of EMO-DB alone they cost .01 on RAVDESS, .04 at most. Five clips of one speaker
cost up to .02 and .04.
"""

MOST_OF_ONE: Final = 0.75
"""The share of a log's clips that may be judged to show the same expression."""

LEAST_KEPT: Final = 0.7
"""What has to stay of the mean confidence when the centre moves, where most clips are judged alike.

What all clips have in common goes with the centre; where that is an expression, confidence goes
too. Of the dev speakers' anger alone, of which 83 % is found, 0.67 stays, of neutral alone, of
which all is found, 0.42; of all expressions behind a hum, which makes 71 % of the answers alike,
0.89.
"""


def adapt_voice(config: Config, out: Path, console: Console) -> ModelCard:
    """Write ``out``, the voice model of the configuration with the centre of its log.

    Raises:
        AffectstreamError: the model cannot be adapted, or the log has too few clips, speakers or
            expressions to tell what a deployment sounds like.
    """
    source = config.models.voice.model
    model = load_voice_model(source)
    check_place(model.card, Path(source), out)
    clips = hear_clips(config, source)
    _check_clips(clips)
    net = copy.deepcopy(model.net)
    shipped = net.perceptron.centre.double().numpy()
    centre, share = find_centre(clips.statistics, clips.speakers, shipped)
    before = _scores(model, net.perceptron, clips.statistics)
    net.perceptron.centre.copy_(torch.from_numpy(centre.astype(np.float16)))
    after = _scores(model, net.perceptron, clips.statistics)
    _check_expressions(before, after)
    adapted = Adaptation(
        base=model.model_id,
        log=fingerprint(config.recorded),
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        clips=len(clips.speakers),
        speakers=len(set(clips.speakers)),
        share=round(share, 3),
        changed=round(float((before.argmax(axis=1) != after.argmax(axis=1)).mean()), 4),
        moved=round(float(np.abs(after - before).sum(axis=1).mean() / 2), 4),
    )
    card = save_model(out, net, build_extractor(), _card(model.card, adapted, centre))
    _report(card, adapted, clips, out, console)
    return card


def _check_clips(clips: Clips) -> None:
    """Refuse a log that tells too little of what a deployment sounds like."""
    check_enough(
        (len(clips.speakers), len(set(clips.speakers))),
        (LEAST_CLIPS, LEAST_SPEAKERS),
        ("voice clip", "speaker"),
        refused=clips.refused,
        left_out=f"without one clear voice: {clips.unusable}",
    )


def _check_expressions(before: np.ndarray, after: np.ndarray) -> None:
    """Refuse a log of one expression: its centre would take that expression off every clip."""
    found = np.bincount(before.argmax(axis=1), minlength=len(EXPRESSIONS)) / len(before)
    kept = after.max(axis=1).mean() / before.max(axis=1).mean()
    if found.max() > MOST_OF_ONE and kept < LEAST_KEPT:
        most = EXPRESSIONS[int(found.argmax())]
        message = (
            f"{found.max():.0%} of the log's clips seem to show {most}, and at most "
            f"{MOST_OF_ONE:.0%} may (around a centre of their own {kept:.0%} of the mean "
            f"confidence stays, and {LEAST_KEPT:.0%} would have to): record a log with more kinds "
            "of scenes"
        )
        raise AffectstreamError(message)


def _scores(model: NetRecogniser, perceptron: Perceptron, statistics: np.ndarray) -> np.ndarray:
    """Return the scores (n, 7) of statistics, as clips without any harm get them."""
    with torch.inference_mode():
        logits = perceptron.eval()(torch.from_numpy(statistics)).logits.numpy()
    return model.expressions(logits)


def _card(card: ModelCard, adapted: Adaptation, centre: np.ndarray) -> ModelCard:
    """Return the card of the adapted model, with the figures of the model that it came from."""
    digest = hashlib.blake2b(centre.astype(np.float16).tobytes(), digest_size=4).hexdigest()
    return card.model_copy(
        update={
            "version": f"{card.version}+{digest}",
            "figures": unmeasured(card.figures),
            "adapted": adapted,
            "command": "affectstream adapt voice --log LOG --out FOLDER",
        }
    )


def _report(
    card: ModelCard, adapted: Adaptation, clips: Clips, out: Path, console: Console
) -> None:
    console.print(
        f"{out} holds {card.model_id}: its centre went {adapted.share:.0%} of the way to that of "
        f"{number(adapted.clips, 'clip')} of {number(adapted.speakers, 'speaker')}; "
        f"{adapted.changed:.0%} of the clips are judged to show another expression"
    )
    console.print(
        f"left out: {clips.refused} refused by policy, {clips.unusable} without one clear voice"
    )
    console.print(
        "Use it as `models.voice.model`, with an exception as `models.exceptions.voice`: how it "
        "serves groups of people was not measured again."
    )
