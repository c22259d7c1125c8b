"""Recognisers: from a payload column, through a front end and a classifier, to score vectors."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from model_serving.calibration import apply_calibration, scale_logits
from model_serving.card import CONSTANT, Calibration, ModelCard
from model_serving.front_end import Failure, FrontEnd, Inputs, Prepared
from model_serving.labels import Outputs
from model_serving.threads import model_threads
from schemas.errors import DeadLetterCode, QualityCode
from schemas.events import EMBEDDING_WIDTH
from schemas.vocabularies import CIRCUMPLEX, EXPRESSIONS, VALUES, VOCABULARY

_PROJECTION_SEED = 20_260_701
_NONE_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Estimates:
    """Scores (n, 7) and embeddings (n, 32) of ``rows`` in their order, and the rows that failed.

    ``codes`` gives what lowered each row's confidence, or None; it is empty where nothing did.
    ``circumplex`` (n, 2) is valence and arousal in [-1, 1] where the model gives them itself.
    ``confidence`` (n,) is what abstention is judged by, the largest score where it is None.
    """

    rows: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray
    failures: tuple[Failure, ...] = ()
    forward_us: int = 0
    circumplex: np.ndarray | None = None
    codes: tuple[QualityCode | None, ...] = ()
    confidence: np.ndarray | None = None


class Recogniser(Protocol):
    """What turns an EVENT batch of one modality into estimates."""

    @property
    def model_id(self) -> str: ...

    @property
    def licence(self) -> str: ...

    @property
    def vocabulary(self) -> str: ...

    @property
    def threshold(self) -> float: ...

    def estimate(self, batch: pa.RecordBatch) -> Estimates: ...


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ConstantRecogniser:
    """Gives every row the uniform score vector without a forward pass: for load tests."""

    model_id: str = f"{CONSTANT}@1"
    licence: str = "open"
    vocabulary: str = VOCABULARY
    threshold: float = 0.0

    def estimate(self, batch: pa.RecordBatch) -> Estimates:
        count = batch.num_rows
        scores = np.full((count, len(EXPRESSIONS)), 1 / len(EXPRESSIONS))
        return Estimates(np.arange(count), scores, np.zeros((count, EMBEDDING_WIDTH)))


@dataclass(frozen=True, slots=True, weakref_slot=True)
class NetRecogniser:
    """A classifier, its front end, and what its outputs mean."""

    net: Any
    front_end: FrontEnd
    card: ModelCard
    outputs: Outputs
    device: torch.device

    @property
    def model_id(self) -> str:
        return self.card.model_id

    @property
    def licence(self) -> str:
        return self.card.licence

    @property
    def vocabulary(self) -> str:
        return self.card.vocabulary

    @property
    def threshold(self) -> float:
        return self.card.calibration.threshold

    def estimate(self, batch: pa.RecordBatch) -> Estimates:
        """Recognise the rows in micro-batches of similar length; results in row order."""
        if batch.num_rows == 0:  # its kind is unknown: the topic of its rows would tell
            return _join([])
        column = batch[self.front_end.column]
        step = self.front_end.chunk_rows
        with model_threads():
            parts = [
                _shift_rows(self._chunk(self.front_end.prepare(column.slice(start, step))), start)
                for start in range(0, len(column), step)
            ]
        return _join(parts)

    def _chunk(self, prepared: Prepared) -> Estimates:
        count = len(prepared.rows)
        scores = np.zeros((count, len(EXPRESSIONS)))
        embeddings = np.zeros((count, EMBEDDING_WIDTH))
        values = np.zeros((count, len(VALUES)))
        done = np.zeros(count, bool)
        failures = list(prepared.failures)
        spent = prepared.net_us
        for picked in micro_batches(prepared.lengths, self.front_end):
            for part, result in self._attempt(prepared, picked):
                if isinstance(result, str):
                    row = int(prepared.rows[part[0]])
                    failures.append(Failure(row, DeadLetterCode.RECOGNISER_FAILED, result))
                    continue
                logits, embeddings[part], us = result
                scores[part] = self._shares(logits)
                if self.outputs.values:
                    values[part] = np.clip(logits[:, self.outputs.values], -1.0, 1.0)
                done[part] = True
                spent += us
        codes = prepared.codes
        if self._may_say_none:
            missing = 1 - scores.sum(axis=1)
            codes = _mark_none(codes, missing)
            scores += missing[:, None] / len(EXPRESSIONS)
        if prepared.quality is not None:  # what can't be judged is as likely one as the other
            share = prepared.quality[:, None]
            scores = share * scores + (1 - share) / len(EXPRESSIONS)
            values = share * values + (1 - share) * CIRCUMPLEX.mean(axis=0)
        codes = tuple(code for code, kept in zip(codes, done, strict=False) if kept)
        return Estimates(
            prepared.rows[done],
            scores[done],
            embeddings[done],
            tuple(failures),
            spent,
            values[done] if self.outputs.values else None,
            codes,
        )

    def _attempt(
        self, prepared: Prepared, picked: np.ndarray
    ) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray, int] | str]]:
        """Yield (rows, result) of one forward pass; where it raises, row by row to the culprit."""
        try:
            result = self.forward(prepared.collate(picked))
        except Exception as error:  # any model may raise anything; only the culprit is lost
            if len(picked) == 1:
                yield picked, f"{type(error).__name__} in the forward pass"
                return
            for row in picked:
                yield from self._attempt(prepared, np.array([row]))
            return
        logits, states, spent = result
        finite = np.isfinite(logits).all(axis=1) & np.isfinite(states).all(axis=1)
        yield picked[finite], (logits[finite], states[finite], spent)
        for row in picked[~finite]:
            yield np.array([row]), "the model gave scores that are not finite"

    def forward(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray, int]:
        """Return logits, embeddings and microseconds of one forward pass; it may raise anything."""
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        with torch.inference_mode():
            start = perf_counter_ns()
            output = self.net(**inputs)
            logits = output.logits.float().cpu().numpy()  # waits for the device
            spent = (perf_counter_ns() - start) // 1000
            states = output.get("hidden_states")
            pooled = (
                _pool_states(states[-1], inputs.get("attention_mask"), self.net) if states else None
            )
        if pooled is None:
            return logits, np.zeros((len(logits), EMBEDDING_WIDTH)), spent
        state = pooled.float().cpu().numpy()
        return logits, state @ _projection(state.shape[1]), spent

    @property
    def _may_say_none(self) -> bool:
        return self.outputs.multi_label or bool(self.outputs.others.any())

    def expressions(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated (n, 7) scores: probabilities of labels summed by expression.

        What the model gives to labels that stand for no expression, or to none at all, is as likely
        one expression as the other.
        """
        shares = self._shares(logits)
        if not self._may_say_none:
            return shares
        return shares + (1 - shares.sum(axis=1, keepdims=True)) / len(EXPRESSIONS)

    def _shares(self, logits: np.ndarray) -> np.ndarray:
        """Return (n, 7) probabilities that lack, to 1, what the model gives to no expression."""
        known = np.asarray(self.outputs.matrix.any(axis=1))
        asked = known | self.outputs.others
        calibration = _pad_bias(self.card.calibration, known[asked])
        if self.outputs.multi_label:
            scaled = scale_logits(calibration, logits[:, asked])
            single = 1 / (1 + np.exp(-np.clip(scaled, -60, 60)))
            chances = single / np.maximum(single.sum(axis=1, keepdims=True), 1.0)
        else:
            chances = apply_calibration(calibration, logits[:, asked])
        return chances @ self.outputs.matrix[asked]


def _pad_bias(calibration: Calibration, known: np.ndarray) -> Calibration:
    """Return the calibration with a bias of 0 for answers that stand for no expression."""
    if not calibration.bias or known.all():
        return calibration
    bias = np.zeros(len(known))
    bias[known] = calibration.bias
    return calibration.model_copy(update={"bias": tuple(bias)})


def _mark_none(
    codes: tuple[QualityCode | None, ...], missing: np.ndarray
) -> tuple[QualityCode | None, ...]:
    """Return the codes, and one where "none of these" is likelier than all expressions together."""
    if not (missing > _NONE_FROM).any():
        return codes
    given = codes or (None,) * len(missing)
    return tuple(
        code or (QualityCode.NONE_OF_THESE if share > _NONE_FROM else None)
        for code, share in zip(given, missing, strict=True)
    )


def micro_batches(lengths: np.ndarray, front_end: FrontEnd) -> Iterator[np.ndarray]:
    """Yield the rows of each forward pass: of similar, or without padding of equal, lengths."""
    order = np.argsort(lengths, kind="stable")
    groups = [order]
    if not front_end.pads and len(order):
        groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    for group in groups:
        for start in range(0, len(group), front_end.micro_batch):
            yield group[start : start + front_end.micro_batch]


def _pool_states(state: Tensor, mask: Tensor | None, net: Any) -> Tensor | None:
    """Return (n, width): the mean over positions that are not padding, or over a feature map.

    None where a model shortens its sequence and does not say how the mask follows.
    """
    if state.ndim == 4:
        return state.mean(dim=(2, 3))
    if state.ndim == 2:
        return state
    if mask is not None and mask.shape[1] != state.shape[1]:
        shorten = getattr(net, "_get_feature_vector_attention_mask", None)  # wav2vec2 and its kin
        if shorten is None:
            return None
        mask = shorten(state.shape[1], mask)
    if mask is None:
        return state.mean(dim=1)
    weights = mask.to(state.dtype)[:, :, None]
    return (state * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


@lru_cache(maxsize=16)
def _projection(width: int) -> np.ndarray:
    """Return the fixed Gaussian (width, 32) matrix that keeps distances (Johnson-Lindenstrauss)."""
    rng = np.random.default_rng(_PROJECTION_SEED)
    return rng.standard_normal((width, EMBEDDING_WIDTH)) / np.sqrt(EMBEDDING_WIDTH)


def _shift_rows(part: Estimates, start: int) -> Estimates:
    failures = tuple(Failure(f.row + start, f.code, f.detail) for f in part.failures)
    return replace(part, rows=part.rows + start, failures=failures)


def _join(parts: list[Estimates]) -> Estimates:
    if not parts:
        empty = np.zeros(0, np.int64)
        return Estimates(empty, np.zeros((0, len(EXPRESSIONS))), np.zeros((0, EMBEDDING_WIDTH)))
    return Estimates(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
        tuple(failure for part in parts for failure in part.failures),
        sum(part.forward_us for part in parts),
        None
        if parts[0].circumplex is None
        else np.concatenate([part.circumplex for part in parts if part.circumplex is not None]),
        tuple(code for part in parts for code in part.codes),
    )
