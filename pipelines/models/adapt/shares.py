"""``affectstream adapt text`` and ``adapt face``: a bias for the shares that a log's answers tell.

The weights stay as they are; the bias on the card's calibration moves.
"""

import datetime as dt
import functools
import hashlib
import shutil
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
from rich.console import Console

from model_serving.calibration import answer_of, apply_calibration
from model_serving.card import CARD_FILE, Calibration, ModelCard, PriorShift, write_card
from model_serving.loader import load_recogniser
from model_serving.recogniser import NetRecogniser, micro_batches
from pipelines.config import Config
from pipelines.models.adapt.folder import check_enough, check_place, number, unmeasured
from pipelines.models.adapt.gather import Gathered, Judge, gather
from pipelines.models.adapt.priors import Priors, find_priors
from pipelines.run.replay import fingerprint
from schemas.errors import AffectstreamError
from schemas.vocabularies import EXPRESSIONS

LEAST_EVENTS: Final = 200
LEAST_SUBJECTS: Final = 20
"""The smallest logs that were measured (docs/benchmarks/2026-11-30-adapt.md)."""

MOST_OF_ONE: Final = 0.9
"""The share of a log's events that may be judged to show the same expression."""

LEAST_DIFFERENCE: Final = 0.12
"""Log-likelihood an event by which the answers have to differ from those of training.

The darkest and brightest fifths of FER+ differ by 0.07 to 0.10, and adapting costs up to .011.
"""

LEAST_EXPLAINED: Final = MappingProxyType({"text": 0.8, "face": 0.5})
"""How much of the difference the shares have to explain, chosen on the corpora of that page.

Texts of another corpus differ by more than their shares, which explain at most .76 there, where
adapting costs .022 of accuracy. Faces of FER+ with other shares reach .55 to .77, and 18 of 18
draws gained.
"""


def adapt_shares(config: Config, modality: str, out: Path, console: Console) -> ModelCard:
    """Write ``out``, the text or face model of the configuration with a bias for its log.

    Raises:
        AffectstreamError: the model has no answers to dev rows on its card, or the log is too
            small, shows one expression only, or differs from training by nothing, or by more than
            the shares of its expressions.
    """
    source = config.models.recogniser(modality).model
    model = load_countable_model(modality, source)
    check_place(model.card, Path(source), out)
    found = gather(config, modality, functools.partial(_judge, modality, source))
    _check_events(found, modality)
    before = apply_calibration(model.card.calibration, found.vectors)
    priors = find_priors(
        answer_of(before), found.subjects, np.array(model.card.calibration.answers)
    )
    _check_one(_shown(model, before))
    _check_priors(priors, modality)
    new = _calibration(model.card.calibration, priors)
    shift = _shift(model, new, priors, found, config)
    card = _card(model.card, new, shift)
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(CARD_FILE), dirs_exist_ok=True)
    write_card(out, card)
    _report(card, shift, found, out, console)
    return card


def load_countable_model(modality: str, folder: str) -> NetRecogniser:
    """Return a model whose card counts its answers to dev rows; AffectstreamError for others."""
    found = load_recogniser(modality, folder, None, "cpu")
    if not isinstance(found, NetRecogniser) or not Path(folder).is_dir():
        message = f"{folder} is no model folder: name one as `models.{modality}` to adapt it"
        raise AffectstreamError(message)
    size = int(found.outputs.matrix.any(axis=1).sum())
    if found.outputs.multi_label or len(found.card.calibration.answers) != size:
        message = (
            f"the card of {found.model_id} does not count its answers to dev rows "
            f"(`calibration.answers`, for each of {size} labels): name a shipped model, train one "
            "from a recipe, or for faces run `affectstream recalibrate` on it"
        )
        raise AffectstreamError(message)
    return found


def logits_of(model: NetRecogniser, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return which payloads (n,) can be judged without reserve, and their logits (n, labels).

    The labels are those that stand for an expression, in the order of the outputs.
    """
    front_end, known = model.front_end, model.outputs.matrix.any(axis=1)
    rows, found = [], []
    for start in range(0, len(column), front_end.chunk_rows):
        prepared = front_end.prepare(column.slice(start, front_end.chunk_rows))
        logits = np.full((len(prepared.rows), int(known.sum())), np.nan, np.float32)
        for picked in micro_batches(prepared.lengths, front_end):
            logits[picked] = model.forward(prepared.collate(picked))[0][:, known]
        usable = np.isfinite(logits).all(axis=1)
        if prepared.codes:
            usable &= np.array([code is None for code in prepared.codes], bool)
        rows.append(prepared.rows[usable] + start)
        found.append(logits[usable])
    return np.concatenate(rows), np.concatenate(found)


def _judge(modality: str, folder: str) -> Judge:
    model = load_countable_model(modality, folder)
    return lambda events: logits_of(model, events[model.front_end.column])


def _check_events(found: Gathered, modality: str) -> None:
    check_enough(
        (len(found.subjects), len(set(found.subjects))),
        (LEAST_EVENTS, LEAST_SUBJECTS),
        (f"{modality} event", "subject"),
        refused=found.refused,
        left_out=f"not to be judged: {found.unusable}",
    )


def _check_one(shown: np.ndarray) -> None:
    shares = np.bincount(shown, minlength=len(EXPRESSIONS)) / len(shown)
    if shares.max() > MOST_OF_ONE:
        message = (
            f"{shares.max():.0%} of the log's events seem to show {EXPRESSIONS[shares.argmax()]}, "
            f"and at most {MOST_OF_ONE:.0%} may: record a log with more kinds of scenes"
        )
        raise AffectstreamError(message)


def _check_priors(found: Priors, modality: str) -> None:
    least = max(LEAST_DIFFERENCE, 2 * found.by_chance)
    if found.differs < least:
        message = (
            f"the log's answers differ by {found.differs:.3f} an event from those of training, "
            f"and less than {least:.3f} says nothing: use the model as it is, or record more events"
        )
        raise AffectstreamError(message)
    least = LEAST_EXPLAINED[modality]
    if found.explained < least:
        message = (
            f"other shares of the expressions explain {max(found.explained, 0):.0%} of how the "
            f"log's answers differ from those of training, and {least:.0%} is needed: more is "
            "different here than the shares, so that a bias may harm; use the model as it is, or "
            "record more events"
        )
        raise AffectstreamError(message)


def _shown(model: NetRecogniser, chances: np.ndarray) -> np.ndarray:
    """Return the likeliest expression (n,) of the chances (n, labels)."""
    matrix = model.outputs.matrix
    return np.asarray((chances @ matrix[matrix.any(axis=1)]).argmax(axis=1))


def _calibration(old: Calibration, priors: Priors) -> Calibration:
    bias = np.array(old.bias or [0.0] * len(priors.bias)) + priors.bias
    return old.model_copy(update={"bias": tuple(round(float(value), 4) for value in bias)})


def _shift(
    model: NetRecogniser, new: Calibration, priors: Priors, found: Gathered, config: Config
) -> PriorShift:
    """Return what the card says of the adaptation."""
    old = model.card.calibration
    before, after = (apply_calibration(each, found.vectors) for each in (old, new))
    return PriorShift(
        base=model.model_id,
        log=fingerprint(config.recorded),
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        events=len(found.subjects),
        subjects=len(set(found.subjects)),
        explained=round(priors.explained, 3),
        shares=_shares(model, priors),
        changed=round(float((_shown(model, before) != _shown(model, after)).mean()), 4),
        moved=round(float(np.abs(after - before).sum(axis=1).mean() / 2), 4),
    )


def _card(card: ModelCard, new: Calibration, shift: PriorShift) -> ModelCard:
    digest = hashlib.blake2b(repr(new.bias).encode(), digest_size=4).hexdigest()
    return card.model_copy(
        update={
            "version": f"{card.version}+{digest}",
            "figures": unmeasured(card.figures),
            "calibration": new,
            "adapted": shift,
            "command": f"affectstream adapt {card.modality} --log LOG --out FOLDER",
        }
    )


def _shares(model: NetRecogniser, priors: Priors) -> dict[str, tuple[float, float]]:
    """Return the shares of training and log by expression."""
    matrix = model.outputs.matrix
    known = matrix[matrix.any(axis=1)]
    pairs = zip(priors.trained @ known, priors.shares @ known, strict=True)
    return {
        name: (round(float(before), 4), round(float(after), 4))
        for name, (before, after) in zip(EXPRESSIONS, pairs, strict=True)
    }


def _report(
    card: ModelCard, shift: PriorShift, found: Gathered, out: Path, console: Console
) -> None:
    console.print(
        f"{out} holds {card.model_id}: its bias went {shift.explained:.0%} of the way to the "
        f"shares of {number(shift.events, 'event')} of {number(shift.subjects, 'subject')}; "
        f"{shift.changed:.0%} of the events are judged to show another expression"
    )
    for name, (before, after) in shift.shares.items():
        console.print(f"  {name}: {before:.1%} in training, {after:.1%} in the log")
    console.print(
        f"left out: {found.refused} refused by policy, {found.unusable} that could not be judged"
    )
    console.print(
        f"Use it as `models.{card.modality}.model`, with an exception as "
        f"`models.exceptions.{card.modality}`: how it serves groups of people was not measured "
        "again."
    )
