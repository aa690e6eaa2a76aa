"""Items that the same users touch close in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import rank_within, run_starts
from recsys.features.statistics import Statistics
from recsys.histories import Histories
from recsys.retrieval.neighbours import Neighbours, neighbour_origins, neighbour_specs, propose_neighbours
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig
from recsys.schema import DAY
from recsys.specs import Arrays


class CovisitationConfig(SourceConfig):
    """Which pairs of items count, and how many neighbours an item keeps."""

    weight: float = Field(4.0, ge=0)
    """See SourceConfig."""
    per_item: int = Field(30, ge=1)
    """Neighbours kept for an item."""
    last_items: int = Field(60, ge=2)
    """Number of a user's newest distinct items that form pairs. It limits the work for users with many events."""
    window_days: float = Field(14.0, gt=0)
    """Two items of a user pair up when their newest events are at most this far apart."""
    near_hours: float = Field(1.0, ge=0)
    """Pairs at most this far apart (one visit) count `near_weight` times."""
    near_weight: int = Field(3, ge=1)
    """Weight of a pair within one visit; other pairs count once."""
    shrinkage: float = Field(5.0, ge=0)
    """Added to the cosine's denominator, so that rare coincidences stay small."""
    min_count: int = Field(2, ge=1)
    """Pairs with a smaller weighted count are dropped."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Weighted counts of unordered pairs of items within users.

    keys: int64 (n,), ascending, low item * n_items + high item; counts: int64 (n,)
    """

    keys: np.ndarray
    counts: np.ndarray


class Covisitation(Source[CovisitationConfig]):
    """Items that the same users touched close in time as the user's newest items."""

    name: ClassVar = "covisitation"
    settings: ClassVar = CovisitationConfig
    specs: ClassVar = neighbour_specs("covisitation")

    def count(self, histories: Histories, n_items: int, now: int, settings: CovisitationConfig) -> PairCounts:
        return pair_counts(histories, n_items, settings)

    def merge(self, counts: Sequence[PairCounts]) -> PairCounts:
        return merge_counts(counts)

    def fit(self, known: Known, counts: PairCounts, settings: CovisitationConfig) -> Arrays:
        return covisitation(counts, known.users_per_item, settings).arrays()

    def propose(self, table: Arrays, batch: Batch, settings: CovisitationConfig) -> Scored:
        return propose_neighbours(table, batch.seeds, len(batch))

    def origins(
        self, table: Arrays, batch: Batch, statistics: Statistics, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        return neighbour_origins(table, batch.seeds, users, items)


def pair_counts(histories: Histories, n_items: int, config: CovisitationConfig) -> PairCounts:
    """Weighted counts of the pairs of items of some users; `merge_counts` adds up those of disjoint users."""
    users, items, times = _newest_items(histories, n_items, config.last_items)
    keys, weights = [], []
    # Row i pairs with row i + step of the same user; steps go up to the cap on items.
    for step in range(1, config.last_items):
        same = users[step:] == users[:-step]
        if not same.any():
            break
        gap = times[step:] - times[:-step]
        pair = np.flatnonzero(same & (gap <= config.window_days * DAY))
        a, b = items[pair].astype(np.int64), items[pair + step].astype(np.int64)
        keys.append(np.minimum(a, b) * n_items + np.maximum(a, b))
        near = gap[pair] <= config.near_hours * 3_600_000
        weights.append(np.where(near, config.near_weight, 1))
    if not keys:
        return PairCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return merge_counts([PairCounts(np.concatenate(keys), np.concatenate(weights))])


def _newest_items(histories: Histories, n_items: int, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each user's `limit` newest distinct items and their newest times, by (user, time, item)."""
    keys = histories.rows * n_items + histories.items
    order = np.argsort(keys, kind="stable")
    final = np.ones(len(keys), bool)
    final[:-1] = keys[order][1:] != keys[order][:-1]
    keep = np.sort(order[final])
    users, items, times = histories.rows[keep], histories.items[keep], histories.times[keep]
    rank = rank_within(users, times.astype(np.float64), -np.arange(len(users)))
    newest = rank < limit
    return users[newest], items[newest], times[newest]


def merge_counts(parts: Sequence[PairCounts]) -> PairCounts:
    """Counts of equal keys added up; the result does not depend on the order or the split of the parts."""
    keys = np.concatenate([part.keys for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    if not len(keys):
        return PairCounts(keys, counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = run_starts(keys)
    return PairCounts(keys[starts], np.add.reduceat(counts, starts))


def covisitation(pairs: PairCounts, users_per_item: np.ndarray, config: CovisitationConfig) -> Neighbours:
    """Neighbours by shrunk cosine: count / (sqrt(users of a * users of b) + shrinkage).

    users_per_item: int64 (n_items,). Ties go to the smaller item code.
    """
    n_items = len(users_per_item)
    kept = pairs.counts >= config.min_count
    low, high, count = pairs.keys[kept] // n_items, pairs.keys[kept] % n_items, pairs.counts[kept]
    source, target = np.concatenate((low, high)), np.concatenate((high, low))
    both = np.concatenate((count, count))
    norm = np.sqrt(users_per_item[source].astype(np.float64) * users_per_item[target])
    score = both / (norm + config.shrinkage)
    return Neighbours.build(source, target, score.astype(np.float32), n_items, config.per_item)
