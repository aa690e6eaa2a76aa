"""Everything learned at a cut, apart from the ranker: statistics, retrieval tables and item factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import sparse

from recsys.features.statistics import RepeatCounts, Statistics
from recsys.histories import Histories
from recsys.models.factors import ItemFactors
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.base import SourceConfig
from recsys.retrieval.sources.registry import SOURCES
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
class Counts:
    """Counts of some users' events up to a cut; those of disjoint users add up.

    users, buyers, repeaters: int64 (n_items,), users with an event, a purchase, purchases on several days
    sources: what each candidate source counted, by its name
    """

    users: np.ndarray
    buyers: np.ndarray
    repeaters: np.ndarray
    sources: Mapping[str, Any]

    @property
    def repeats(self) -> RepeatCounts:
        return RepeatCounts(self.buyers, self.repeaters)


def count_events(
    histories: Histories, n_items: int, now: int, sources: Mapping[str, SourceConfig] = MappingProxyType({})
) -> Counts:
    """Counts of the users given, whose events end at `now` (ms); sources: the settings of each."""
    users = np.bincount(np.unique(histories.rows * n_items + histories.items) % n_items, minlength=n_items)
    bought = histories.where(histories.events == PURCHASE)
    day = (now - bought.times) // DAY
    pairs, place = np.unique(bought.rows * n_items + bought.items, return_inverse=True)
    order = np.lexsort((day, place))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(place[order]) != 0) | (np.diff(day[order]) != 0)
    days = np.bincount(place[order][fresh], minlength=len(pairs))
    return Counts(
        users,
        np.bincount(pairs % n_items, minlength=n_items),
        np.bincount(pairs[days > 1] % n_items, minlength=n_items),
        {name: SOURCES[name].count(histories, n_items, now, settings) for name, settings in sources.items()},
    )


def add_counts(parts: Sequence[Counts]) -> Counts:
    """Sum of the counts of disjoint users."""
    users, buyers, repeaters = (
        np.sum([getattr(part, name) for part in parts], axis=0) for name in ("users", "buyers", "repeaters")
    )
    names = parts[0].sources
    return Counts(
        users, buyers, repeaters, {name: SOURCES[name].merge([part.sources[name] for part in parts]) for name in names}
    )


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
