"""The centre of a deployment: the mean of its speakers' clips, drawn towards the shipped one."""

from typing import Final

import numpy as np

BETWEEN_SPEAKERS: Final = 0.35
"""Variance of speakers' means over that of one speaker's clips.

0.36 (RAVDESS) and 0.28 (EMO-DB) on average over the statistics of voice-compact, 0.45 and 0.34 of
voice-base.
"""

BETWEEN_PLACES: Final = 1.0
"""Variance of the centres of corpora and channels, over that of one speaker's clips.

0.3 between RAVDESS and EMO-DB; a telephone moves the centre by a mean square of 2.0, a room by 0.6
to 1.6, pink noise by 2.7, a hum by 3.5 to 4.3.
"""


def find_centre(
    statistics: np.ndarray, speakers: np.ndarray, shipped: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the centre (features,) for clips (n, features) of these speakers (n,), and its share.

    Each speaker's mean counts by its precision, so that one with many clips counts little more than
    one with ten. The share is how far the centre goes from the shipped one towards the mean: the
    more, the surer the mean is (a random-effects estimate with a normal prior).
    """
    _, own = np.unique(speakers, return_inverse=True)
    counts = np.bincount(own)
    means = np.zeros((len(counts), statistics.shape[1]))
    np.add.at(means, own, statistics)
    precision = 1 / (BETWEEN_SPEAKERS + 1 / counts)
    mean = precision @ (means / counts[:, None]) / precision.sum()
    share = BETWEEN_PLACES / (BETWEEN_PLACES + 1 / precision.sum())
    return shipped + share * (mean - shipped), float(share)
