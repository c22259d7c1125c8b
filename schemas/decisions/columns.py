"""Columns of decisions that came with rules and baselines."""

import pyarrow as pa

from schemas.table import column

RULE_COLUMNS = [
    column("rule_id", pa.string(), "id of the rule that decided; null where none did", 3),
    column(
        "reasons",
        pa.string(),
        "codes, with a space between two: the reason, the state that was shown, what a rule lacked",
        3,
    ),
    column("needs_person", pa.bool_(), "whether a person must look before anybody acts on it", 3),
]

STEP = 0.2
"""What is usual of a person lands in steps of this size: too coarse to know anybody by."""
_SIZE = f"in steps of {STEP}"
_USUAL = f"before this window, {_SIZE}; null until enough is known"

BASELINE_COLUMNS = [
    column("usual_valence", pa.float32(), f"the subject's running mean of valence {_USUAL}", 3),
    column("usual_arousal", pa.float32(), f"the subject's running mean of arousal {_USUAL}", 3),
    column("valence_spread", pa.float32(), f"standard deviation of valence {_USUAL}", 3),
    column("arousal_spread", pa.float32(), f"standard deviation of arousal {_USUAL}", 3),
    column("valence_trend", pa.float32(), f"recent mean minus usual valence, {_USUAL}", 3),
    column("arousal_trend", pa.float32(), f"recent mean minus usual arousal, {_USUAL}", 3),
    column(
        "valence_deviation",
        pa.float32(),
        "smoothed minus usual valence in whole spreads, -3 to 3; null until enough is known",
        3,
    ),
    column("arousal_deviation", pa.float32(), "the same of arousal", 3),
    column(
        "usual_expression",
        pa.string(),
        "the expression that the subject showed most; null until enough is known",
        3,
    ),
]
