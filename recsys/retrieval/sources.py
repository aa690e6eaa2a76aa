"""A candidate source yields rows (user, item, score); this is what they share."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scored:
    """Items that a source proposes; the scores of equal (user, item) rows add up.

    users: int64 (n,), positions in the batch; items: int32 (n,); scores: float64 (n,), higher is better
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
