"""Popular items of the categories that a user is interested in."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import best_match, offsets_of, ragged_indices, rank_within, rows_of
from recsys.features.statistics import Statistics
from recsys.retrieval.sources.base import Batch, Known, Scored, Source, SourceConfig, best_first
from recsys.retrieval.sources.item_lists import interest
from recsys.schema import UNKNOWN
from recsys.specs import Arrays, borders, codes


class CategoryConfig(SourceConfig):
    """Settings of the lists of the categories."""

    weight: float = Field(3.0, ge=0)
    """See SourceConfig."""
    per_category: int = Field(20, ge=1)
    """Number of items in a category's list."""
    categories: int = Field(8, ge=1)
    """Number of a user's categories whose lists are proposed: those with the largest decayed interest."""


class Category(Source[CategoryConfig]):
    """The available items with the most decayed events of each category.

    The table has a ragged list of items for each category: items and offsets.
    """

    name: ClassVar = "category"
    settings: ClassVar = CategoryConfig
    specs: ClassVar = {
        "items": codes("items", "category items", low=0),
        "offsets": borders("categories", "category items"),
    }

    def fit(self, known: Known, counts: None, settings: CategoryConfig) -> Arrays:
        statistics, decayed = known.statistics, interest(known.statistics)
        member = np.flatnonzero((statistics.category >= 0) & statistics.available & (decayed > 0))
        category = statistics.category[member].astype(np.int64)
        rank = rank_within(category, decayed[member], member)
        kept = rank < settings.per_category
        order = np.lexsort((rank[kept], category[kept]))
        lengths = np.bincount(category[kept], minlength=len(statistics.categories))
        return {"items": member[kept][order].astype(np.int32), "offsets": offsets_of(lengths)}

    def propose(self, table: Arrays, batch: Batch, settings: CategoryConfig) -> Scored:
        """Proposals; the score is the category's fraction of the user's interest / position in the category's list."""
        by_category = batch.profiles.by_category
        kept = rank_within(by_category.users, by_category.decayed[:, -1]) < settings.categories
        users, categories = by_category.users[kept], by_category.things[kept]
        decayed = by_category.decayed[kept, -1]
        fraction = decayed / np.maximum(np.bincount(users, decayed, len(batch))[users], 1e-12)
        index, lengths = rows_of(categories, table["offsets"])
        owner = np.arange(len(lengths)).repeat(lengths)
        rank = ragged_indices(np.zeros_like(lengths), lengths)
        return best_first(users[owner], table["items"][index], fraction[owner] / (rank + 1.0))

    def origins(
        self, table: Arrays, batch: Batch, statistics: Statistics, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """The item that adds the most to the user's interest in the item's category."""
        by_item, width = batch.profiles.by_item, max(len(statistics.categories), 1)
        categories = statistics.levels[by_item.things, -1]
        rows = (categories != UNKNOWN).nonzero()[0]
        keys = by_item.users[rows] * width + categories[rows]
        category = statistics.category[items]
        wanted = np.where(category == UNKNOWN, UNKNOWN, users * width + category)
        best = best_match(wanted, keys, by_item.decayed[rows, -1])
        return np.append(rows, UNKNOWN)[best]  # UNKNOWN is -1, so it reads the last entry
