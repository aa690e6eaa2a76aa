"""Everything learned at a cut, apart from the ranker: statistics, retrieval tables and item factors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys.features.statistics import RepeatCounts, Statistics
from recsys.histories import Histories
from recsys.models.factors import ItemFactors
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.covisitation import CovisitationConfig, merge_counts, pair_counts
from recsys.schema import DAY, PURCHASE, UNKNOWN


@dataclass(frozen=True, slots=True)
class Tables:
    """What the stages read besides a user's own history.

    end: ms; everything here was computed from events at or before it
    """

    end: int
    statistics: Statistics
    retrieval: RetrievalTables
    factors: ItemFactors


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Integer counts over (user, item) pairs of some users; those of disjoint users add up.

    keys, counts: covisitation pairs, see `pair_counts`
    users, buyers, repeaters: int64 (n_items,), users with an event, a purchase, purchases on several days
    """

    keys: np.ndarray
    counts: np.ndarray
    users: np.ndarray
    buyers: np.ndarray
    repeaters: np.ndarray

    @property
    def repeats(self) -> RepeatCounts:
        return RepeatCounts(self.buyers, self.repeaters)


def count_pairs(histories: Histories, n_items: int, now: int, config: CovisitationConfig) -> PairCounts:
    """Partial counts of the users given, from events that end at `now` (ms)."""
    keys, counts = pair_counts(histories, n_items, config)
    users = np.bincount(np.unique(histories.rows * n_items + histories.items) % n_items, minlength=n_items)
    bought = histories.where(histories.events == PURCHASE)
    day = (now - bought.times) // DAY
    pairs, place = np.unique(bought.rows * n_items + bought.items, return_inverse=True)
    order = np.lexsort((day, place))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(place[order]) != 0) | (np.diff(day[order]) != 0)
    days = np.bincount(place[order][fresh], minlength=len(pairs))
    buyers = np.bincount(pairs % n_items, minlength=n_items)
    return PairCounts(keys, counts, users, buyers, np.bincount(pairs[days > 1] % n_items, minlength=n_items))


def add_counts(parts: Sequence[PairCounts]) -> PairCounts:
    """Sum of the counts of disjoint users."""
    keys, counts = merge_counts([(part.keys, part.counts) for part in parts])
    users, buyers, repeaters = (
        np.sum([getattr(part, name) for part in parts], axis=0) for name in ("users", "buyers", "repeaters")
    )
    return PairCounts(keys, counts, users, buyers, repeaters)


def category_attributes(category: np.ndarray, ancestors: np.ndarray) -> sparse.csr_array | None:
    """Items by categories, 1 for an item's category and each ancestor; None without categories.

    category: int32 (n_items,), codes or UNKNOWN; ancestors: int32 (n_categories, n_levels)
    """
    member = np.flatnonzero(category != UNKNOWN)
    if not len(member):
        return None
    n_items, n_categories = len(category), len(ancestors)
    above = np.concatenate([category[member][:, None], ancestors[category[member]]], axis=1)
    cells = np.unique(member[:, None] * n_categories + above)
    rows_columns = np.divmod(cells, n_categories)
    return sparse.csr_array((np.ones(len(cells), np.float32), rows_columns), shape=(n_items, n_categories))
