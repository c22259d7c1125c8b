"""Agreement of the tables with the ground truth that a session log carries.

An observation is compared with the label of its own event, a window with the label that most of
its labelled events carry. It takes the key file of the run: the ids of events are keyed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model_serving.metrics import (
    accuracy,
    accuracy_of_surest,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    reliability,
)
from pipelines.tables.query import read_table
from schemas.errors import AffectstreamError
from schemas.events import TIME, WINDOW_KEY
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from schemas.table import Root
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.history import history_ids
from transforms.decoding.aliases import canonical
from transforms.decoding.event_ids import EventIds

_RAW_IDS = ("subject", "source", "id")
_REGION = "region"
_TRUTH_COLUMNS = (*_RAW_IDS, "event_time", "expression", "kind", "lang", "corpus")
_STAND_IN = "stand_in"  # a truth may lack it: then nothing stands in
_CURVE_POINTS = 50


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """A ground truth file or folder, and the key file that the tables were made with."""

    path: Path
    keys: Path


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """How a set of estimates agrees with its labels.

    ``accuracy``, ``macro_f1`` and ``ece`` take the top score of every row, ``accuracy_kept`` only
    of the rows that did not abstain, whose share is ``coverage``. ``macro_f1`` is the mean over
    the expressions that are labelled. ``chance`` is the share of the commonest label.
    ``confusion`` is (7, 7), label by estimate. ``reliability`` is that of
    ``model_serving.metrics``, and ``ece`` its weighted gap. ``risk`` has a row for each step of
    coverage: coverage, accuracy of the most confident rows.
    """

    name: str
    n: int
    accuracy: float
    accuracy_kept: float
    coverage: float
    macro_f1: float
    ece: float
    chance: float
    confusion: np.ndarray
    reliability: np.ndarray
    risk: np.ndarray


@dataclass(frozen=True, slots=True)
class StandIn:
    """Observed events of a modality that its recogniser was not made for, and what they are."""

    modality: str
    what: str
    n: int

    @property
    def note(self) -> str:
        """What a reader of the scores has to know of them."""
        events = "event" if self.n == 1 else "events"
        return (
            f"No score of {self.n:,} {self.modality} {events}: {self.what}, which exercises the "
            "path and measures no recogniser. The windows are scored with it."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """The ground truth against the tables; ``window_truth`` has one row per labelled window.

    The scores of modalities, corpora and languages are of events that stand in for nothing;
    ``stand_ins`` counts the others. The windows are all of them, and hold both.
    """

    true_events: int
    observed: int
    refused: int
    dead: int
    tied_windows: int
    stand_ins: tuple[StandIn, ...]
    modalities: tuple[Score, ...]
    corpora: tuple[Score, ...]
    languages: tuple[Score, ...]
    windows: tuple[Score, ...]
    window_truth: pd.DataFrame

    @property
    def fused(self) -> Score | None:
        """The score over all labelled windows; None where there is none."""
        return self.windows[0] if self.windows else None


def measure(root: Root, truth: GroundTruth) -> Accuracy:
    """Compare the tables under this root with a ground truth."""
    labels = _read_truth(truth.path, EventIds(read_keys(truth.keys)))
    names = ("event_id", "event_time", "modality", "scores", "confidence", "abstained")
    events = _estimates(root, "observations", *names).drop_duplicates("event_id")
    events = events.merge(labels, on="event_id")
    features = _features(root)
    true, tied = _window_truth(events, features)
    windows = features.merge(true, on="window_id")
    turned_away = [
        set(read_table(root, table, "event_id")["event_id"].to_pylist())
        for table in ("refusals", "dead_letters")
    ]
    scored = events[events[_STAND_IN].isna()]
    modality = scored["modality"].astype(str)
    return Accuracy(
        true_events=len(labels),
        observed=len(events),
        refused=int(labels["event_id"].isin(turned_away[0]).sum()),
        dead=int(labels["event_id"].isin(turned_away[1]).sum()),
        tied_windows=tied,
        stand_ins=_stand_ins(events),
        modalities=_scores(scored, modality, MODALITIES),
        corpora=_scores(scored, modality + " · " + scored["corpus"]),
        languages=_scores(scored, modality + " · " + scored["lang"]),
        windows=_window_scores(windows),
        window_truth=true,
    )


def _stand_ins(events: pd.DataFrame) -> tuple[StandIn, ...]:
    """Count what stands in, by modality and what it is; a row without a ``stand_in`` has none."""
    counted = events.groupby(["modality", _STAND_IN]).size().reset_index(name="n")
    return tuple(StandIn(*row) for row in counted.itertuples(index=False, name=None))


def score(name: str, true: np.ndarray, estimate: np.ndarray, confidence: np.ndarray,
          kept: np.ndarray) -> Score:  # fmt: skip
    """Score estimates (n,) against labels (n,), both as positions in EXPRESSIONS; n > 0."""
    right = true == estimate
    confusion = confusion_matrix(true, estimate, len(EXPRESSIONS))
    return Score(
        name=name,
        n=len(true),
        accuracy=accuracy(true, estimate),
        accuracy_kept=accuracy(true[kept], estimate[kept]) if kept.any() else float("nan"),
        coverage=float(kept.mean()),
        macro_f1=macro_f1(confusion),
        ece=expected_calibration_error(confidence, right),
        chance=float(confusion.sum(axis=1).max() / len(true)),
        confusion=confusion,
        reliability=reliability(confidence, right),
        risk=_risk(confidence, right),
    )


def _read_truth(path: Path, ids: EventIds) -> pd.DataFrame:
    """Return one row a labelled event: event_id, true, kind, lang, corpus, stand_in."""
    if not path.exists():
        message = f"no ground truth at {path}: give the Parquet file that the session log came with"
        raise AffectstreamError(message)
    try:
        stored = pq.ParquetDataset(path)
        optional = [name for name in (_STAND_IN, _REGION) if name in stored.schema.names]
        table = stored.read(columns=[*_TRUTH_COLUMNS, *optional])
    except (pa.ArrowException, OSError) as error:
        columns = ", ".join(_TRUTH_COLUMNS)
        message = f"{path} is no ground truth: give a Parquet file with the columns {columns}"
        raise AffectstreamError(message) from error
    kinds = [str(kind) for kind in pc.unique(table["kind"]).to_pylist()]
    parts = [table.filter(pc.equal(table["kind"], kind)) for kind in kinds]
    made = [_event_ids(part, kind, ids) for part, kind in zip(parts, kinds, strict=True)]
    frame = pa.concat_tables([table.slice(0, 0), *parts]).to_pandas()
    frame = frame if _STAND_IN in optional else frame.assign(**{_STAND_IN: None})
    known = {name: position for position, name in enumerate(EXPRESSIONS)}
    frame = frame.drop(columns=[*_RAW_IDS, "event_time", _REGION], errors="ignore").assign(
        event_id=np.concatenate([np.array([], object), *made]), true=frame["expression"].map(known)
    )
    frame = frame.drop(columns="expression").dropna(subset="true")
    return frame.drop_duplicates("event_id", ignore_index=True).astype({"true": np.int64})


def _event_ids(rows: pa.Table, kind: str, ids: EventIds) -> np.ndarray:
    subject, source, given = (rows[n].cast(pa.string()).combine_chunks() for n in _RAW_IDS)
    times = rows["event_time"].cast(TIME).combine_chunks()
    region = pa.nulls(len(rows), pa.string())
    if _REGION in rows.column_names:
        region = canonical(_REGION, rows[_REGION].cast(pa.string()).combine_chunks())
    made, _ = ids.of(kind, subject, source, given, times, region)
    return np.asarray(made.to_numpy(zero_copy_only=False))


def _features(root: Root) -> pd.DataFrame:
    counts = [f"n_{modality}" for modality in MODALITIES]
    names = ("window_id", "window_start", "window_end")
    estimates = ("scores", "confidence", "abstained")
    frame = _estimates(root, "emotion_features", *names, *estimates, *counts)
    frame = frame.drop_duplicates("window_id", ignore_index=True)
    present = (frame[counts] > 0).sum(axis=1)
    return frame.assign(present=present).drop(columns=counts)


def _estimates(root: Root, table: str, *columns: str) -> pd.DataFrame:
    """Read columns, ``scores`` as the position of the largest one, which an abstained row has.

    ``history_id`` stands for the row's WINDOW_KEY, in which a null is a value of its own.
    """
    rows = read_table(root, table, *WINDOW_KEY, *columns)
    scores = rows["scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    estimate = scores.reshape(rows.num_rows, len(EXPRESSIONS)).argmax(axis=1)
    key = {name: rows[name].combine_chunks() for name in WINDOW_KEY}
    histories = history_ids(pa.record_batch(key)).to_pandas()
    frame = rows.drop_columns(["scores", *WINDOW_KEY]).to_pandas()
    return frame.assign(estimate=estimate, history_id=histories)


def _window_truth(events: pd.DataFrame, features: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return window_id and the majority label of its events, and how many windows had a tie."""
    nothing = pd.DataFrame({"window_id": pd.Series(dtype=object), "true": pd.Series(dtype=int)})
    if not len(events) or not len(features):
        return nothing, 0
    windows = features[["history_id", "window_id", "window_start", "window_end"]]
    placed = pd.merge_asof(
        events.sort_values("event_time"),
        windows.sort_values("window_start"),
        left_on="event_time",
        right_on="window_start",
        by="history_id",
    )
    placed = placed[placed["event_time"] < placed["window_end"]]
    votes = placed.groupby(["window_id", "true"]).size().rename("votes").reset_index()
    most = votes.groupby("window_id")["votes"].transform("max")
    leading = votes[votes["votes"] == most]
    tied = leading["window_id"].duplicated(keep=False)
    labelled = leading.loc[~tied, ["window_id", "true"]].reset_index(drop=True)
    return labelled, int(leading.loc[tied, "window_id"].nunique())


def _window_scores(windows: pd.DataFrame) -> tuple[Score, ...]:
    """Return the score over all windows first, then one a number of modalities in the window."""
    if not len(windows):
        return ()
    whole = pd.Series("windows, fused", index=windows.index)
    mixes = "windows, " + windows["present"].astype(str)
    mixes += np.where(windows["present"] == 1, " modality", " modalities")
    return _scores(windows, whole) + _scores(windows, mixes)


def _scores(
    rows: pd.DataFrame, names: pd.Series, order: Iterable[str] | None = None
) -> tuple[Score, ...]:
    """Return one score a name, in this order, else by name; a row without a name is left out."""
    groups = {str(name): part for name, part in rows.groupby(names)}
    kept = groups if order is None else [name for name in order if name in groups]
    return tuple(_score_of(name, groups[name]) for name in kept)


def _score_of(name: str, rows: pd.DataFrame) -> Score:
    true, estimate, confidence = (rows[c].to_numpy() for c in ("true", "estimate", "confidence"))
    return score(name, true, estimate, confidence, ~rows["abstained"].to_numpy(dtype=bool))


def _risk(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    count = len(confidence)
    steps = np.unique(np.ceil(np.linspace(0, 1, _CURVE_POINTS + 1)[1:] * count).astype(int))
    return np.column_stack([steps / count, accuracy_of_surest(confidence, right, steps)])
