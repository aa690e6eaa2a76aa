"""Popular items: recent, all-time and within categories, as lists fixed at a cut."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.arrays import offsets_of, ragged_indices, rank_within, rows_of
from recsys.features.interactions import Interactions
from recsys.features.statistics import Statistics
from recsys.retrieval.sources.base import Scored, best_first
from recsys.schema import Config, EventType


class PopularityConfig(Config):
    """Lengths of the popularity lists."""

    size: int = Field(100, ge=1)
    """Items of the recent and of the all-time list."""
    per_category: int = Field(20, ge=1)
    """Items of a category's list."""
    categories: int = Field(8, ge=1)
    """Categories of a user, by decayed interest, whose lists are proposed."""


@dataclass(frozen=True, slots=True)
class PopularityLists:
    """Popular items, best first.

    recent: int32 (n,), by decayed target events; popular: int32 (m,), by all target events
    category_offsets: int64 (n_categories + 1,); category_items: int32, ragged lists by decayed events
    """

    recent: np.ndarray
    popular: np.ndarray
    category_offsets: np.ndarray
    category_items: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self.__slots__}


def popularity_lists(
    statistics: Statistics, targets: tuple[EventType, ...], config: PopularityConfig
) -> PopularityLists:
    """Lists of the available items; ties go to the smaller item code."""
    columns = {"view": "views", "addtocart": "carts", "transaction": "purchases"}
    ever = sum(np.nan_to_num(statistics.item(f"item_{columns[name]}")) for name in targets)
    recent = sum(np.nan_to_num(statistics.item(f"item_recent_{columns[name]}")) for name in targets)
    interest = np.nan_to_num(statistics.item("item_popularity"))
    # Interest breaks the ties of rare targets and fills up where targets are fewer than the list is long.
    tail = interest / (interest.max(initial=0.0) + 1)
    member = np.flatnonzero((statistics.category >= 0) & statistics.available & (interest > 0))
    category = statistics.category[member].astype(np.int64)
    rank = rank_within(category, interest[member], member)
    kept = rank < config.per_category
    order = np.lexsort((rank[kept], category[kept]))
    lengths = np.bincount(category[kept], minlength=len(statistics.categories))
    return PopularityLists(
        _top(recent + tail, statistics.available, config.size),
        _top(ever + tail, statistics.available, config.size),
        offsets_of(lengths),
        member[kept][order].astype(np.int32),
    )


def _top(score: np.ndarray, available: np.ndarray, size: int) -> np.ndarray:
    score = np.where(available, score, 0.0)
    order = np.argsort(-score, kind="stable")[:size]
    return order[score[order] > 0].astype(np.int32)


def everywhere(items: np.ndarray, n_users: int) -> Scored:
    """One list for every user, scored by falling rank: 1, 1/2, 1/3, …"""
    users = np.repeat(np.arange(n_users), len(items))
    return Scored(users, np.tile(items, n_users), np.tile(1.0 / np.arange(1, len(items) + 1), n_users))


def in_categories(lists: PopularityLists, by_category: Interactions, n_users: int, limit: int) -> Scored:
    """The lists of each user's strongest categories, scored interest share / (rank in the list + 1)."""
    kept = rank_within(by_category.users, by_category.decayed[:, -1]) < limit
    users, categories, interest = by_category.users[kept], by_category.things[kept], by_category.decayed[kept, -1]
    share = interest / np.maximum(np.bincount(users, interest, n_users)[users], 1e-12)
    index, lengths = rows_of(categories, lists.category_offsets)
    owner = np.arange(len(lengths)).repeat(lengths)
    rank = ragged_indices(np.zeros_like(lengths), lengths)
    return best_first(users[owner], lists.category_items[index], share[owner] / (rank + 1.0))
