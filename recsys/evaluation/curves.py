"""Curves for figures, thinned to few points: over pooled candidates, and over events spread over users or items.

Candidates are given as labels, bool (n,), and finite scores, float (n,). A curve is None unless there are hits and
misses.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

POINTS: Final = 200
"""Points of a curve, at most."""
NORMAL_95: Final = 1.96
"""Standard deviations on either side of the mean of a normal distribution that hold 95%."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Hits and misses that score at least a threshold, for every distinct score from the highest down.

    thresholds: float64 (n,), falling
    hits, misses: int64 (n,), candidates that score at least the threshold
    """

    thresholds: np.ndarray
    hits: np.ndarray
    misses: np.ndarray

    @classmethod
    def from_scores(cls, labels: np.ndarray, scores: np.ndarray) -> "Ranking":
        order = np.argsort(-scores, kind="stable")
        ordered, right = scores[order], labels[order]
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
        hits = np.cumsum(right)
        return cls(ordered[last], hits[last], (np.arange(1, len(ordered) + 1) - hits)[last])

    @property
    def defined(self) -> bool:
        return len(self.hits) > 0 and self.hits[-1] > 0 and self.misses[-1] > 0

    def roc(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Fraction of the misses (x) and of the hits (y) that score at least each threshold."""
        if not self.defined:
            return None
        x, y = (np.append(0, part) / part[-1] for part in (self.misses, self.hits))
        return thinned(x, y)

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Recall (x) and precision (y) at each threshold."""
        if not self.defined:
            return None
        return thinned(self.hits / self.hits[-1], self.hits / (self.hits + self.misses))

    @property
    def f1(self) -> np.ndarray:
        """F1 of each threshold, float64 (n,); needs a hit."""
        values: np.ndarray = 2 * self.hits / (self.hits + self.misses + self.hits[-1])
        return values

    def best_f1(self) -> tuple[float, float] | None:
        """The threshold of the highest F1, the highest of equals, and that F1."""
        if not self.defined:
            return None
        f1 = self.f1
        best = int(np.argmax(f1))
        return float(self.thresholds[best]), float(f1[best])


def thinned(x: np.ndarray, y: np.ndarray, limit: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` points of a curve, spread evenly along its length in a square frame; both ends are kept."""
    if len(x) <= limit:
        return x, y
    steps = [np.abs(np.diff(values)) / max(float(np.ptp(values)), 1e-300) for values in (x, y)]
    length = np.append(0, np.cumsum(np.hypot(*steps)))
    chosen = np.searchsorted(length, np.linspace(0, length[-1], limit))
    kept = np.unique(np.minimum(chosen, len(x) - 1))
    return x[kept], y[kept]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted and observed fraction of hits, by bins of rising score.

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
        """Expected calibration error: mean |predicted - observed| over the candidates."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = 12) -> Reliability | None:
    """Scores on [0, 1] in bins whose scores have equal sums; None without candidates.

    Most candidates are unlikely hits, so bins of equal counts would leave one bin for the others. Equal scores stay in
    one bin.
    """
    if not len(scores):
        return None
    order = np.argsort(scores, kind="stable")
    ordered, right = scores[order], labels[order]
    mass = np.cumsum(ordered)
    wanted = np.searchsorted(mass, mass[-1] * np.arange(1, bins) / bins)
    borders = np.unique(np.searchsorted(ordered, ordered[wanted]))
    starts = np.unique(np.append(0, borders))
    counts = np.diff(np.append(starts, len(ordered)))
    observed = np.add.reduceat(right.astype(np.int64), starts) / counts
    low, high = wilson(observed, counts)
    return Reliability(np.add.reduceat(ordered, starts) / counts, observed, low, high, counts)


def wilson(fractions: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95% score interval of fractions of counts (Wilson 1927): low and high, float64 (n,) each."""
    z2 = NORMAL_95**2
    middle = (fractions + z2 / (2 * counts)) / (1 + z2 / counts)
    half = NORMAL_95 / (1 + z2 / counts) * np.sqrt(fractions * (1 - fractions) / counts + z2 / (4 * counts**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


@dataclass(frozen=True, slots=True)
class Spread:
    """Spread of events over users or items; those without an event are left out.

    sizes: int64 (n,), distinct numbers of events, ascending
    counts: int64 (n,), users or items with that number of events
    """

    sizes: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_counts(cls, events: np.ndarray, weights: np.ndarray | None = None) -> "Spread":
        """The spread of counted events.

        events: int (n,), numbers of events; weights: int (n,), users or items with each number, by default one each
        """
        sizes, position = np.unique(events, return_inverse=True)
        counts = np.bincount(position, weights, minlength=len(sizes)).astype(np.int64)
        return cls(sizes[sizes > 0], counts[sizes > 0])

    @property
    def total(self) -> int:
        """Number of users or items."""
        return int(self.counts.sum())

    def survival(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of events (x), and the fraction with that many or more (y), spread evenly on logarithmic axes."""
        above = np.cumsum(self.counts[::-1])[::-1]
        x, y = thinned(np.log(self.sizes), np.log(above / max(self.total, 1)))
        return np.exp(x), np.exp(y)

    def concentration(self) -> tuple[np.ndarray, np.ndarray]:
        """Fraction of users or items (x), the busiest first, and their fraction of the events (y)."""
        events = (self.sizes * self.counts)[::-1]
        x, y = (np.append(0, np.cumsum(part)) / max(part.sum(), 1) for part in (self.counts[::-1], events))
        return thinned(x, y)

    def events_of_top(self, fraction: float) -> float:
        """Fraction of the events that belongs to the busiest users or items, who are this fraction of all."""
        events = (self.sizes * self.counts)[::-1]
        x, y = (np.append(0, np.cumsum(part)) / max(part.sum(), 1) for part in (self.counts[::-1], events))
        return float(np.interp(fraction, x, y))

    def median(self) -> int:
        """Number of events of the median user or item, the lower of two."""
        return int(self.sizes[np.searchsorted(np.cumsum(self.counts), (self.total + 1) // 2)]) if self.total else 0
