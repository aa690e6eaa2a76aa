"""Ranking metrics of each user, classification metrics over scored candidates, and bootstrap intervals.

A ranked list is an int32 array (n_users, depth) of item codes, best first, padded with UNKNOWN.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recsys.arrays import belongs
from recsys.errors import DataError
from recsys.schema import UNKNOWN

BOOTSTRAP_BLOCK: Final = 1 << 20
"""Draws held in memory at a time, whatever the number of users and of resamples."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The items that count as success for each user.

    offsets: int64 (n_users + 1,); user u owns items[offsets[u]:offsets[u + 1]]
    items: int32 (n_truth,), item codes, distinct and ascending within a user
    """

    offsets: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Items of each user, int64 (n_users,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class Resampling:
    """Settings of a bootstrap interval; samples: of the users; level: confidence, between 0 and 1."""

    seed: int
    samples: int = 1000
    level: float = 0.95

    @property
    def quantiles(self) -> tuple[float, float]:
        """Of the resampled values, at the low and the high end of the interval."""
        return (1 - self.level) / 2, (1 + self.level) / 2


class Difference(NamedTuple):
    """A mean difference, and the low and high end of its bootstrap interval."""

    mean: float
    low: float
    high: float


def first_occurrences(ranked: np.ndarray) -> np.ndarray:
    """Whether an entry is the first one of its item in its list; bool, the shape of `ranked`.

    Padding is never a first occurrence.
    """
    order = np.argsort(ranked, axis=1, kind="stable")
    ascending = np.take_along_axis(ranked, order, axis=1)
    new = np.ones(ranked.shape, np.bool_)
    new[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first & (ranked != UNKNOWN)


def compact(ranked: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    """The first k kept entries of each list, int32 (n_users, k), padded.

    keep: bool, the shape of `ranked`
    """
    depth = min(k, ranked.shape[1])
    order = np.argsort(~keep, axis=1, kind="stable")[:, :depth]
    shortened = np.full((len(ranked), k), UNKNOWN, np.int32)
    shortened[:, :depth] = np.take_along_axis(np.where(keep, ranked, UNKNOWN), order, axis=1)
    return shortened


def hits(ranked: np.ndarray, truth: Truth) -> np.ndarray:
    """Whether each entry of each list is a hit; bool (n_users, depth). The metrics at k are computed from it.

    A repeated item is a hit at its first position only; its other positions stay in the list as misses.
    Raises DataError where the numbers of users differ, or where a user has no truth. The metrics of such a user are
    undefined, and counting zero would lower every mean unnoticed.
    """
    if len(ranked) != len(truth):
        raise DataError(f"ranked lists of {len(ranked)} users, truth of {len(truth)}: expected the same")
    empty = int(np.count_nonzero(truth.sizes == 0))
    if empty:
        raise DataError(f"truth of {empty} of {len(truth)} users is empty; expected at least one item each")
    rows = np.arange(len(ranked), dtype=np.int64)[:, None]
    return belongs(rows, ranked, truth.offsets, truth.items) & first_occurrences(ranked)


def ndcg(hit: np.ndarray, sizes: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k per user with binary gains (Järvelin & Kekäläinen 2002), float64 (n_users,).

    The gain at rank r (from 1) is 1 / log2(r + 1); the ideal list has min(k, truth) hits at its head.
    hit: as `hits` returns; sizes: int (n_users,), items in each user's truth.
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    hit_at = np.zeros((len(hit), k), np.bool_)
    hit_at[:, : hit.shape[1]] = hit[:, :k]
    # Both sums run over k columns in the same order, so that a perfect list scores exactly 1.
    ideal = (np.tri(k) * gains).sum(axis=1)
    return (hit_at * gains).sum(axis=1) / ideal[np.minimum(sizes, k) - 1]


def recall(hit: np.ndarray, sizes: np.ndarray, k: int) -> np.ndarray:
    """Fraction of the user's truth that is among the first k, float64 (n_users,)."""
    return np.count_nonzero(hit[:, :k], axis=1) / sizes


def precision(hit: np.ndarray, k: int) -> np.ndarray:
    """Hits among the first k, divided by k also where the list is shorter; float64 (n_users,)."""
    return np.count_nonzero(hit[:, :k], axis=1) / k


def hit_rate(hit: np.ndarray, k: int) -> np.ndarray:
    """1 where there is a hit among the first k, else 0; float64 (n_users,)."""
    return np.where(hit[:, :k].any(axis=1), 1.0, 0.0)


def mrr(hit: np.ndarray, k: int) -> np.ndarray:
    """1 / rank of the first hit among the first k, 0 without one; float64 (n_users,)."""
    head = hit[:, :k]
    return np.where(head.any(axis=1), 1 / (1 + head.argmax(axis=1)), 0.0)


def coverage(ranked: np.ndarray, k: int, n_items: int) -> float:
    """Fraction of the catalogue's n_items that are among the first k of some user."""
    shown = np.unique(ranked[:, :k])
    return int(np.count_nonzero(shown != UNKNOWN)) / n_items


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve over pooled candidates; nan unless there are hits and misses.

    It is the chance that a hit scores above a miss, where ties count half (Hanley & McNeil 1982).
    labels: bool or 0/1 (n,); scores: finite floats (n,).
    """
    hits, misses = _hits_apart(labels, scores)
    if not len(hits) or not len(misses):
        return float("nan")
    below = np.searchsorted(misses, hits, "left") + np.searchsorted(misses, hits, "right")
    return float(below.mean() / (2 * len(misses)))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision over pooled candidates; nan unless there are hits and misses.

    It is the mean over the hits of the precision among all candidates that score as high or higher.
    labels: bool or 0/1 (n,); scores: finite floats (n,).
    """
    hits, misses = _hits_apart(labels, scores)
    if not len(hits) or not len(misses):
        return float("nan")
    hits_above = len(hits) - np.searchsorted(hits, hits, "left")
    misses_above = len(misses) - np.searchsorted(misses, hits, "left")
    return float((hits_above / (hits_above + misses_above)).mean())


def _hits_apart(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of hits and of misses, each ascending."""
    chosen = np.asarray(labels, np.bool_)
    return np.sort(scores[chosen]), np.sort(scores[~chosen])


def bootstrap_interval(values: np.ndarray, resampling: Resampling) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over users (Efron 1979): (low, high), nan without users.

    values: float64 (n_users,), by user id, so that the order of the input does not matter
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
    """Mean of a - b over the same users, and its bootstrap interval; nan without users.

    a, b: float64 (n_users,), one metric of two systems. Raises DataError where the lengths differ.
    """
    if len(a) != len(b):
        raise DataError(f"metrics of {len(a)} and {len(b)} users are compared; expected the same users")
    difference = a - b
    mean = float(difference.mean()) if len(difference) else float("nan")
    return Difference(mean, *bootstrap_interval(difference, resampling))
