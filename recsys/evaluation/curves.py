"""Curves for figures, with few points: of pooled candidates, and of the spread of events over users or items.

Candidates are given as labels, bool (n,), and finite scores, float (n,). A curve of candidates is None unless there
are hits and misses.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

POINTS: Final = 200
"""Largest number of points of a curve."""
NORMAL_95: Final = 1.96
"""95% of a normal distribution lie within this number of standard deviations from the mean."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The numbers of hits and misses with a score of at least each threshold.

    thresholds: float64 (n,), the distinct scores, falling
    hits, misses: int64 (n,), candidates with a score of at least the threshold
    """

    thresholds: np.ndarray
    hits: np.ndarray
    misses: np.ndarray

    @classmethod
    def from_scores(cls, labels: np.ndarray, scores: np.ndarray) -> "Ranking":
        """The ranking of candidates; labels: bool (n,); scores: finite floats (n,)."""
        order = np.argsort(-scores, kind="stable")
        ordered_scores, ordered_labels = scores[order], labels[order]
        last = np.append(ordered_scores[1:] != ordered_scores[:-1], True)[: len(ordered_scores)]
        hits = np.cumsum(ordered_labels)
        return cls(ordered_scores[last], hits[last], (np.arange(1, len(ordered_scores) + 1) - hits)[last])

    @property
    def defined(self) -> bool:
        """Whether there are hits and misses."""
        return len(self.hits) > 0 and self.hits[-1] > 0 and self.misses[-1] > 0

    def roc(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The fraction of the misses (x) and of the hits (y) with a score of at least each threshold."""
        if not self.defined:
            return None
        x, y = (np.append(0, counts) / counts[-1] for counts in (self.misses, self.hits))
        return thinned(x, y)

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Recall (x) and precision (y) at each threshold."""
        if not self.defined:
            return None
        return thinned(self.hits / self.hits[-1], self.hits / (self.hits + self.misses))

    @property
    def f1(self) -> np.ndarray:
        """F1 of each threshold, float64 (n,); there must be a hit."""
        values: np.ndarray = 2 * self.hits / (self.hits + self.misses + self.hits[-1])
        return values

    def best_f1(self) -> tuple[float, float] | None:
        """The threshold with the highest F1 (of equals, the highest threshold), and this F1."""
        if not self.defined:
            return None
        f1 = self.f1
        best = int(np.argmax(f1))
        return float(self.thresholds[best]), float(f1[best])


def thinned(x: np.ndarray, y: np.ndarray, limit: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` points of a curve, spread evenly along its length in a square frame, with both ends."""
    if len(x) <= limit:
        return x, y
    steps = [np.abs(np.diff(values)) / max(float(np.ptp(values)), 1e-300) for values in (x, y)]
    length = np.append(0, np.cumsum(np.hypot(*steps)))
    chosen = np.searchsorted(length, np.linspace(0, length[-1], limit))
    kept = np.unique(np.minimum(chosen, len(x) - 1))
    return x[kept], y[kept]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted and observed fraction of hits in bins of rising score.

    predicted, observed: float64 (n_bins,)
    low, high: float64 (n_bins,), the 95% interval of the observed fraction (Wilson 1927)
    counts: int64 (n_bins,), candidates of each bin
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: mean |predicted - observed| over the candidates."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = 12) -> Reliability | None:
    """The reliability of scores on [0, 1] in bins with about equal sums of scores; None without candidates.

    Most candidates are unlikely to be hits. With bins of equal counts, all other candidates would be in one bin.
    Equal scores stay in one bin.
    """
    if not len(scores):
        return None
    order = np.argsort(scores, kind="stable")
    ordered_scores, ordered_labels = scores[order], labels[order]
    cumulated = np.cumsum(ordered_scores)
    border_rows = np.searchsorted(cumulated, cumulated[-1] * np.arange(1, bins) / bins)
    borders = np.unique(np.searchsorted(ordered_scores, ordered_scores[border_rows]))
    starts = np.unique(np.append(0, borders))
    counts = np.diff(np.append(starts, len(ordered_scores)))
    observed = np.add.reduceat(ordered_labels.astype(np.int64), starts) / counts
    low, high = wilson(observed, counts)
    return Reliability(np.add.reduceat(ordered_scores, starts) / counts, observed, low, high, counts)


def wilson(fractions: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the 95% score interval of each fraction (Wilson 1927), float64 (n,) each.

    fractions: float64 (n,); counts: int64 (n,), trials behind each fraction
    """
    z2 = NORMAL_95**2
    middle = (fractions + z2 / (2 * counts)) / (1 + z2 / counts)
    half = NORMAL_95 / (1 + z2 / counts) * np.sqrt(fractions * (1 - fractions) / counts + z2 / (4 * counts**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


@dataclass(frozen=True, slots=True)
class Spread:
    """The spread of events over users or items. Users or items without an event are left out.

    sizes: int64 (n,), distinct numbers of events, ascending
    counts: int64 (n,), users or items with that number of events
    """

    sizes: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_counts(cls, events: np.ndarray, weights: np.ndarray | None = None) -> "Spread":
        """The spread of these numbers of events.

        events: int (n,), numbers of events
        weights: int (n,), users or items with each of these numbers; by default one each
        """
        sizes, position = np.unique(events, return_inverse=True)
        counts = np.bincount(position, weights, minlength=len(sizes)).astype(np.int64)
        return cls(sizes[sizes > 0], counts[sizes > 0])

    @property
    def total(self) -> int:
        """The number of users or items."""
        return int(self.counts.sum())

    def survival(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of events (x), and the fraction of users or items with at least this number (y).

        The points are spread evenly on logarithmic axes.
        """
        at_least = np.cumsum(self.counts[::-1])[::-1]
        x, y = thinned(np.log(self.sizes), np.log(at_least / max(self.total, 1)))
        return np.exp(x), np.exp(y)

    def concentration(self) -> tuple[np.ndarray, np.ndarray]:
        """Fractions of the users or items (x), those with most events first, and their fraction of the events (y)."""
        events = (self.sizes * self.counts)[::-1]
        x, y = (np.append(0, np.cumsum(part)) / max(part.sum(), 1) for part in (self.counts[::-1], events))
        return thinned(x, y)

    def events_of_top(self, fraction: float) -> float:
        """The fraction of the events of the users or items with most events.

        fraction: the size of this group as a fraction of all users or items
        """
        events = (self.sizes * self.counts)[::-1]
        x, y = (np.append(0, np.cumsum(part)) / max(part.sum(), 1) for part in (self.counts[::-1], events))
        return float(np.interp(fraction, x, y))

    def median(self) -> int:
        """The number of events of the median user or item (the lower one if two are in the middle); 0 without any."""
        return int(self.sizes[np.searchsorted(np.cumsum(self.counts), (self.total + 1) // 2)]) if self.total else 0
