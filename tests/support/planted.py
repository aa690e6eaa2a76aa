"""Rows of a ranker in which a rule is planted."""

import numpy as np

from recsys.models.rankers.rows import RankingData

NAMES = ["signal", "category", "noise"]
GOOD_CATEGORY = 3


def planted(n_groups=150, size=20, seed=0):
    """A hit is likely where the signal is high, and where the category is GOOD_CATEGORY; a tenth lacks one."""
    rng = np.random.default_rng(seed)
    n_rows = n_groups * size
    signal, noise = rng.normal(size=(2, n_rows))
    category = rng.integers(0, 8, n_rows)
    rule = 2 * signal + 4 * (category == GOOD_CATEGORY)
    category[rng.random(n_rows) < 0.1] = -1
    labels = (rule + rng.normal(size=n_rows) > 4).astype(np.int8)
    features = np.stack([signal, category, noise], axis=1).astype(np.float32)
    return RankingData(features, labels, np.full(n_groups, size, np.int32))
