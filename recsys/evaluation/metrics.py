"""Ranking metrics per user, classification metrics of scored candidates, and bootstrap intervals.

A ranked list is an int32 array (n_users, depth) of item codes, best first, padded with UNKNOWN.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recsys.arrays import belongs
from recsys.errors import DataError
from recsys.schema import UNKNOWN

BOOTSTRAP_BLOCK: Final = 1 << 20
"""Largest number of draws in memory at a time."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of each user: the set of items that count as hits.

    offsets: int64 (n_users + 1,); user u has items[offsets[u]:offsets[u + 1]]
    items: int32 (n_truth,), item codes, distinct and ascending within a user
    """

    offsets: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """The number of items in each user's truth, int64 (n_users,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class Resampling:
    """Settings of a bootstrap interval.

    samples: number of resamples of the users; level: confidence level, between 0 and 1
    """

    seed: int
    samples: int = 1000
    level: float = 0.95

    @property
    def quantiles(self) -> tuple[float, float]:
        """The quantiles of the resampled values that are the low and the high end of the interval."""
        return (1 - self.level) / 2, (1 + self.level) / 2


class Difference(NamedTuple):
    """A difference of two systems, and the low and high end of its bootstrap interval."""

    mean: float
    low: float
    high: float


def first_occurrences(ranked: np.ndarray) -> np.ndarray:
    """Whether each entry is the first entry of its item in its list, bool of the shape of `ranked`.

    Padding is never a first entry.
    """
    order = np.argsort(ranked, axis=1, kind="stable")
    ascending = np.take_along_axis(ranked, order, axis=1)
    differs = np.ones(ranked.shape, np.bool_)
    differs[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    first = np.empty_like(differs)
    np.put_along_axis(first, order, differs, axis=1)
    return first & (ranked != UNKNOWN)


def compact(ranked: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    """The first k entries of each list where `keep` is true, int32 (n_users, k), padded with UNKNOWN.

    keep: bool, of the shape of `ranked`
    """
    depth = min(k, ranked.shape[1])
    order = np.argsort(~keep, axis=1, kind="stable")[:, :depth]
    shortened = np.full((len(ranked), k), UNKNOWN, np.int32)
    shortened[:, :depth] = np.take_along_axis(np.where(keep, ranked, UNKNOWN), order, axis=1)
    return shortened


def hits(ranked: np.ndarray, truth: Truth) -> np.ndarray:
    """Whether each entry of each list is a hit, bool (n_users, depth). All metrics at k are computed from this.

    A repeated item is a hit at its first position only; its other positions count as misses.
    Raises DataError if the numbers of users differ, or if the truth of a user is empty. The metrics of such a user are
    undefined, and a zero in their place would lower every mean.
    """
    if len(ranked) != len(truth):
        raise DataError(f"ranked lists of {len(ranked)} users, truth of {len(truth)} users; expected equal numbers")
    empty = int(np.count_nonzero(truth.sizes == 0))
    if empty:
        raise DataError(f"truth of {empty} of {len(truth)} users is empty; expected at least one item for each user")
    rows = np.arange(len(ranked), dtype=np.int64)[:, None]
    return belongs(rows, ranked, truth.offsets, truth.items) & first_occurrences(ranked)


def ndcg(hit: np.ndarray, sizes: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k per user with binary gains (Järvelin & Kekäläinen 2002), float64 (n_users,).

    The gain of a hit at rank r (from 1) is 1 / log2(r + 1). The ideal list has min(k, size) hits at its head.
    hit: as `hits` returns; sizes: int (n_users,), items in each user's truth
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    padded = np.zeros((len(hit), k), np.bool_)
    padded[:, : hit.shape[1]] = hit[:, :k]
    # Both sums run over k columns in the same order, so that a perfect list scores exactly 1.
    ideal = (np.tri(k) * gains).sum(axis=1)
    return (padded * gains).sum(axis=1) / ideal[np.minimum(sizes, k) - 1]


def recall(hit: np.ndarray, sizes: np.ndarray, k: int) -> np.ndarray:
    """The fraction of each user's truth that is among the first k entries, float64 (n_users,).

    hit: as `hits` returns; sizes: int (n_users,), items in each user's truth
    """
    return np.count_nonzero(hit[:, :k], axis=1) / sizes


def precision(hit: np.ndarray, k: int) -> np.ndarray:
    """Hits among the first k entries divided by k, also for a shorter list; float64 (n_users,)."""
    return np.count_nonzero(hit[:, :k], axis=1) / k


def hit_rate(hit: np.ndarray, k: int) -> np.ndarray:
    """1 for a user with a hit among the first k entries, else 0; float64 (n_users,)."""
    return np.where(hit[:, :k].any(axis=1), 1.0, 0.0)


def mrr(hit: np.ndarray, k: int) -> np.ndarray:
    """1 / rank of the first hit, 0 without a hit among the first k entries; float64 (n_users,)."""
    head = hit[:, :k]
    return np.where(head.any(axis=1), 1 / (1 + head.argmax(axis=1)), 0.0)


def coverage(ranked: np.ndarray, k: int, n_items: int) -> float:
    """The fraction of the catalog's n_items that is among the first k entries of at least one list."""
    shown = np.unique(ranked[:, :k])
    return int(np.count_nonzero(shown != UNKNOWN)) / n_items


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve of pooled candidates; nan unless there are hits and misses.

    This is the probability that a hit scores above a miss; ties count half (Hanley & McNeil 1982).
    labels: bool or 0/1 (n,); scores: finite floats (n,)
    """
    hits, misses = _hits_apart(labels, scores)
    if not len(hits) or not len(misses):
        return float("nan")
    below = np.searchsorted(misses, hits, "left") + np.searchsorted(misses, hits, "right")
    return float(below.mean() / (2 * len(misses)))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The average precision of pooled candidates; nan unless there are hits and misses.

    For each hit, take the precision among all candidates with at least its score. The result is the mean of these.
    labels: bool or 0/1 (n,); scores: finite floats (n,)
    """
    hits, misses = _hits_apart(labels, scores)
    if not len(hits) or not len(misses):
        return float("nan")
    hits_above = len(hits) - np.searchsorted(hits, hits, "left")
    misses_above = len(misses) - np.searchsorted(misses, hits, "left")
    return float((hits_above / (hits_above + misses_above)).mean())


def _hits_apart(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the hits and the scores of the misses, both ascending."""
    hit = np.asarray(labels, np.bool_)
    return np.sort(scores[hit]), np.sort(scores[~hit])


def bootstrap_interval(values: np.ndarray, resampling: Resampling) -> tuple[float, float]:
    """Low and high end of the percentile bootstrap interval of the mean over users (Efron 1979); nan without users.

    values: float64 (n_users,). The interval depends on their order, so callers order them by user id.
    """
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(resampling.seed)
    means = np.empty(resampling.samples)
    block = max(1, BOOTSTRAP_BLOCK // len(values))
    for start in range(0, len(means), block):
        rows = min(block, len(means) - start)
        drawn = rng.integers(len(values), size=(rows, len(values)))
        means[start : start + rows] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, resampling.quantiles)
    return float(low), float(high)


def paired_difference(a: np.ndarray, b: np.ndarray, resampling: Resampling) -> Difference:
    """The mean of a - b over the same users, and its bootstrap interval; nan without users.

    a, b: float64 (n_users,), one metric of two systems. Raises DataError if the lengths differ.
    """
    if len(a) != len(b):
        raise DataError(f"metrics of {len(a)} and {len(b)} users cannot be compared; expected the same users")
    difference = a - b
    mean = float(difference.mean()) if len(difference) else float("nan")
    return Difference(mean, *bootstrap_interval(difference, resampling))
