"""Curves for people to look at, thinned to few points: over pooled candidates, and over counts spread unevenly.

Candidates are labels bool (n,) and scores float (n,), finite; a curve is undefined, and None, unless both hits and
misses occur.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

POINTS: Final = 200
"""Of a curve at most."""
NORMAL_95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a threshold lets through, for every distinct score from the highest down.

    thresholds: float64 (n,), falling; hits, misses: int64 (n,), candidates that score as high or higher
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
        """Share of the misses, and of the hits, let through."""
        if not self.defined:
            return None
        x, y = (np.append(0, part) / part[-1] for part in (self.misses, self.hits))
        return thinned(x, y)

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Share of the hits let through, and share of hits among what is let through."""
        if not self.defined:
            return None
        return thinned(self.hits / self.hits[-1], self.hits / (self.hits + self.misses))

    @property
    def f1(self) -> np.ndarray:
        """F1 of each threshold, float64 (n,); needs a hit."""
        found: np.ndarray = 2 * self.hits / (self.hits + self.misses + self.hits[-1])
        return found

    def best_f1(self) -> tuple[float, float] | None:
        """The threshold of the highest F1, the higher of equals, and that F1."""
        if not self.defined:
            return None
        f1 = self.f1
        best = int(np.argmax(f1))
        return float(self.thresholds[best]), float(f1[best])


def thinned(x: np.ndarray, y: np.ndarray, limit: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` of a curve's points, evenly along its length as it is seen in a square frame, both ends kept."""
    if len(x) <= limit:
        return x, y
    steps = [np.abs(np.diff(values)) / max(float(np.ptp(values)), 1e-300) for values in (x, y)]
    length = np.append(0, np.cumsum(np.hypot(*steps)))
    chosen = np.searchsorted(length, np.linspace(0, length[-1], limit))
    kept = np.unique(np.minimum(chosen, len(x) - 1))
    return x[kept], y[kept]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted and observed share of hits, by bins of rising score.

    predicted, observed, low, high: float64 (n_bins,), with the 95% interval of the observed share (Wilson 1927)
    counts: int64 (n_bins,)
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
    """Scores on [0, 1] in bins of equal sums of score, where most candidates are unlikely hits; equal scores stay
    together. None without candidates.
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


def wilson(share: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95% score interval of shares of counts (Wilson 1927)."""
    z2 = NORMAL_95**2
    middle = (share + z2 / (2 * counts)) / (1 + z2 / counts)
    half = NORMAL_95 / (1 + z2 / counts) * np.sqrt(share * (1 - share) / counts + z2 / (4 * counts**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


@dataclass(frozen=True, slots=True)
class Spread:
    """How events are spread over users or items, those without any left out.

    sizes: int64 (n,), distinct numbers of events, ascending; counts: int64 (n,), users or items that have so many
    """

    sizes: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_counts(cls, events: np.ndarray, weights: np.ndarray | None = None) -> "Spread":
        """events: int (n,), of each user or item; weights: how many have so many, where not one each"""
        sizes, place = np.unique(events, return_inverse=True)
        counts = np.bincount(place, weights, minlength=len(sizes)).astype(np.int64)
        return cls(sizes[sizes > 0], counts[sizes > 0])

    @property
    def total(self) -> int:
        """Users or items."""
        return int(self.counts.sum())

    def survival(self) -> tuple[np.ndarray, np.ndarray]:
        """A number of events, and the share that has so many or more; even on logarithmic axes."""
        above = np.cumsum(self.counts[::-1])[::-1]
        x, y = thinned(np.log(self.sizes), np.log(above / max(self.total, 1)))
        return np.exp(x), np.exp(y)

    def concentration(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of users or items, the busiest first, and their share of the events."""
        events = (self.sizes * self.counts)[::-1]
        x, y = (np.append(0, np.cumsum(part)) / max(part.sum(), 1) for part in (self.counts[::-1], events))
        return thinned(x, y)

    def share_of_top(self, share: float) -> float:
        """Share of the events that this share of users or items has, the busiest first."""
        events = (self.sizes * self.counts)[::-1]
        x, y = (np.append(0, np.cumsum(part)) / max(part.sum(), 1) for part in (self.counts[::-1], events))
        return float(np.interp(share, x, y))

    def median(self) -> int:
        """Events of the middle user or item, the lower of two."""
        return int(self.sizes[np.searchsorted(np.cumsum(self.counts), (self.total + 1) // 2)]) if self.total else 0
