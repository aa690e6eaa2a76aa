"""Drift: how far the distribution of a feature moved between two sets of data."""

import numpy as np

BINS = 10
"""Bins of a feature, at the quantiles of the older values."""
FEWEST = 200
"""Values that a distribution needs. Of fewer, no drift is measured."""


def stability_index(old: np.ndarray, new: np.ndarray) -> float | None:
    """The population stability index of a feature, less its mean where nothing but chance differs; at least 0.

    It is the sum of (p_new - p_old) * ln(p_new / p_old) over the bins, with half a value added to each bin. Chance
    alone gives (bins - 1) * (1 / n_old + 1 / n_new) on average (Yurdakul 2018).
    old, new: float (n,), NaN for a missing value, which has a bin of its own
    None if there are too few values, or if all the old ones that are not missing are equal: a type of events or an
    attribute may be new.
    """
    known = old[~np.isnan(old)]
    if min(len(old), len(new)) < FEWEST or len(np.unique(known)) < 2:
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    before, after = _counts(old, edges), _counts(new, edges)
    used = (before > 0) | (after > 0)
    before, after = (_fractions(counts[used]) for counts in (before, after))
    index = float(((after - before) * np.log(after / before)).sum())
    return max(0.0, index - (int(used.sum()) - 1) * (1 / len(old) + 1 / len(new)))


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Values in each bin, int64 (n_edges + 2,); the last bin is that of missing values."""
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 2)
    counts[-1] = len(values) - len(known)
    return counts


def _fractions(counts: np.ndarray) -> np.ndarray:
    return (counts + 0.5) / (counts + 0.5).sum()
