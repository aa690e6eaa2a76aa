"""Tables computed as of a cut, without the ranker: statistics, retrieval tables and item factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from scipy import sparse

from recsys.features.attributes import ItemAttributes
from recsys.features.statistics import RepeatCounts, Statistics
from recsys.histories import Histories
from recsys.models.factors import ItemFactors
from recsys.retrieval.generator import RetrievalTables
from recsys.retrieval.sources.base import SourceConfig
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import DAY, PURCHASE, UNKNOWN


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that the stages read, besides the history of the user.

    end: ms; the tables were computed from events at or before this time
    """

    end: int
    statistics: Statistics
    retrieval: RetrievalTables
    factors: ItemFactors


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts over the events of some users up to a cut. Counts of different users can be added.

    users, buyers, repeaters: int64 (n_items,), numbers of users with an event on the item, with a purchase of it, and
    with purchases of it on several days
    sources: the counts of each candidate source, by the source's name
    """

    users: np.ndarray
    buyers: np.ndarray
    repeaters: np.ndarray
    sources: Mapping[str, Any]

    @property
    def repeats(self) -> RepeatCounts:
        """The counts of purchases and repeated purchases."""
        return RepeatCounts(self.buyers, self.repeaters)


def count_events(
    histories: Histories, n_items: int, now: int, sources: Mapping[str, SourceConfig] = MappingProxyType({})
) -> Counts:
    """Counts of these users; their events must not lie after `now` (ms).

    sources: the settings of each candidate source, by the source's name
    """
    users = np.bincount(np.unique(histories.rows * n_items + histories.items) % n_items, minlength=n_items)
    bought = histories.where(histories.events == PURCHASE)
    day = (now - bought.times) // DAY
    pairs, pair = np.unique(bought.rows * n_items + bought.items, return_inverse=True)
    order = np.lexsort((day, pair))
    new_day = np.ones(len(order), bool)
    new_day[1:] = (np.diff(pair[order]) != 0) | (np.diff(day[order]) != 0)
    days = np.bincount(pair[order][new_day], minlength=len(pairs))
    return Counts(
        users,
        np.bincount(pairs % n_items, minlength=n_items),
        np.bincount(pairs[days > 1] % n_items, minlength=n_items),
        {name: SOURCES[name].count(histories, n_items, now, settings) for name, settings in sources.items()},
    )


def add_counts(parts: Sequence[Counts]) -> Counts:
    """The sum of all parts. No user may be counted in two parts."""
    users, buyers, repeaters = (
        np.sum([getattr(part, name) for part in parts], axis=0) for name in ("users", "buyers", "repeaters")
    )
    names = parts[0].sources
    return Counts(
        users, buyers, repeaters, {name: SOURCES[name].merge([part.sources[name] for part in parts]) for name in names}
    )


MIN_ITEMS: Final = 5
"""Items that a label needs to be an attribute of the factorization; from fewer, little is learned."""


def side_information(
    category: np.ndarray, ancestors: np.ndarray, attributes: ItemAttributes | None
) -> sparse.csr_array | None:
    """The attributes of items for the factorization, float32 (n_items, n_columns): categories, then frequent labels.

    None if no item has any; arguments: see `category_attributes` and `Statistics.attributes`
    """
    categories = category_attributes(category, ancestors)
    if attributes is None or not attributes.n_labels:
        return categories
    cells = np.ones(len(attributes.values), np.float32), attributes.values, attributes.offsets
    labels = sparse.csr_array(cells, shape=(len(category), attributes.n_labels))
    frequent = np.flatnonzero(np.bincount(attributes.values, minlength=attributes.n_labels) >= MIN_ITEMS)
    parts = [part for part in (categories, labels[:, frequent]) if part is not None]
    joined = sparse.hstack(parts, format="csr")
    return sparse.csr_array(joined) if joined.nnz else None


def category_attributes(category: np.ndarray, ancestors: np.ndarray) -> sparse.csr_array | None:
    """A matrix (n_items, n_categories), float32: 1 at the category of an item and at each ancestor of it.

    None if no item has a category. category: int32 (n_items,), codes or UNKNOWN
    ancestors: int32 (n_categories, n_levels)
    """
    items = np.flatnonzero(category != UNKNOWN)
    if not len(items):
        return None
    n_items, n_categories = len(category), len(ancestors)
    memberships = np.concatenate([category[items][:, None], ancestors[category[items]]], axis=1)
    cells = np.unique(items[:, None] * n_categories + memberships)
    rows_columns = np.divmod(cells, n_categories)
    return sparse.csr_array((np.ones(len(cells), np.float32), rows_columns), shape=(n_items, n_categories))
