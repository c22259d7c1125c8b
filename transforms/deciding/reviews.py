"""Reviews: which decisions a person should look at, and why.

The reasons are stable codes. A decision is queued once for each reason that it has.
"""

from collections.abc import Collection
from itertools import combinations
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import fill_schema, vectors
from schemas.events import TIME
from schemas.ids import stable_ids
from schemas.modalities import MODALITIES
from schemas.tables import REVIEW_QUEUE
from schemas.vocabularies import EXPRESSIONS
from transforms.deciding.matching import text

LOW_CONFIDENCE: Final = "low_confidence"
HIGH_STAKES: Final = "high_stakes"
DISAGREEMENT: Final = "disagreement"
REASONS: Final = (LOW_CONFIDENCE, HIGH_STAKES, DISAGREEMENT)


def find_reviews(
    rows: pa.RecordBatch,
    decisions: pa.RecordBatch,
    high_stakes: Collection[str],
    most_disagreement: float,
) -> pa.RecordBatch:
    """Return the REVIEW_QUEUE rows of these decisions, made on the feature rows ``rows``.

    A person looks at what was too weak to judge in a scenario of ``high_stakes``, at what a rule
    does that needs one, and at a window whose modalities disagree by more than
    ``most_disagreement`` (0 to 1); rows that were read from a table do not tell, and are not
    queued for it.
    """
    stakes = np.isin(text(rows["scenario"]), list(high_stakes))
    weak = pc.or_(rows["abstained"], decisions["expression"].is_null())
    has_reason = {
        LOW_CONFIDENCE: stakes & weak.to_numpy(zero_copy_only=False),
        HIGH_STAKES: decisions["needs_person"].to_numpy(zero_copy_only=False),
        DISAGREEMENT: _disagreement(rows) > most_disagreement,
    }
    row, reason = np.nonzero(np.stack([has_reason[name] for name in REASONS], axis=1))
    at, why = decisions.take(pa.array(row)), pa.array(REASONS).take(pa.array(reason))
    columns = {
        "review_id": stable_ids(at["decision_id"], why),
        "reason": why,
        "reviewer_decision": pa.nulls(len(why), pa.string()),
        "reviewed_by": pa.nulls(len(why), pa.string()),
        "reviewed_at": pa.nulls(len(why), TIME),
        "reviewed_expression": pa.nulls(len(why), pa.string()),
    }
    return fill_schema(REVIEW_QUEUE, columns, at)


def measure_disagreement(windows: pa.RecordBatch) -> np.ndarray:
    """Return how far the modalities of each WINDOW row are apart, 0 to 1; 0 where there is one.

    It is the probability by which two modalities contradict each other at least: of two expressions
    one modality prefers the first by so much, and the other the second. Where a modality cannot
    tell, or all say the same, it is 0; it moves no more than twice as far as any score does.
    """
    present = vectors(windows["counts"], len(MODALITIES)) > 0
    flat = vectors(windows["modality_scores"], len(MODALITIES) * len(EXPRESSIONS))
    scores = flat.reshape(-1, len(MODALITIES), len(EXPRESSIONS))
    present &= np.isfinite(scores).all(axis=2)
    scores = np.where(present[:, :, None], scores, 0)
    prefers = scores[:, :, :, None] - scores[:, :, None, :]  # (n, 4, 7, 7)
    found = np.zeros(windows.num_rows, np.float32)
    for one, other in combinations(range(len(MODALITIES)), 2):
        both = present[:, one] & present[:, other]
        apart = np.minimum(prefers[both, one], -prefers[both, other]).max(axis=(1, 2))
        found[both] = np.maximum(found[both], apart)
    return found


def _disagreement(rows: pa.RecordBatch) -> np.ndarray:
    if "disagreement" not in rows.schema.names:
        return np.zeros(rows.num_rows)
    return np.asarray(rows["disagreement"].fill_null(0.0).to_numpy(zero_copy_only=False))
