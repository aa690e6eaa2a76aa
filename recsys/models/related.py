"""Tables of a version for pages without a user: items bought together, and since when each item is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field

from recsys.arrays import offsets_of
from recsys.data.catalog import Catalog
from recsys.features.statistics import Statistics
from recsys.retrieval.neighbours import Neighbours, neighbour_specs
from recsys.retrieval.orders import BasketConfig, OrderCounts, bought_together, substitutes
from recsys.schema import DAY, LATEST, UNKNOWN, Config
from recsys.specs import ArraySpec


class SimilarConfig(Config):
    """Weights of the parts of the similarity of two items. A part without a value counts 0."""

    covisitation: float = Field(1.0, ge=0)
    """Weight of the score of the covisitation table."""
    popularity_power: float = Field(0.25, ge=0, le=1)
    """The covisitation score is multiplied by this power of the other item's number of events. The table divides by
    the square root of it, which is too much for the next item of a visit."""
    factors: float = Field(0.2, ge=0)
    """Weight of the cosine of the item factors."""
    vectors: float = Field(2.0, ge=0)
    """Weight of the cosine of the session vectors, in versions that have them."""
    attributes: float = Field(0.4, ge=0)
    """Weight of the agreement of category, labels and vectors."""
    per_label: int = Field(100, ge=1)
    """Items compared for the item's category and for each of its labels: those with the most events."""
    labels: int = Field(8, ge=1)
    """Labels of the item whose items are compared: the rarest ones."""


class RelatedConfig(Config):
    """Settings of similar items and of baskets. Training fixes them; the manifest of a version contains them."""

    basket: BasketConfig = BasketConfig()
    similar: SimilarConfig = SimilarConfig()


RELATED_SPECS: Final[Mapping[str, ArraySpec]] = {
    **{f"bought_{name}": spec for name, spec in neighbour_specs("bought").items()},
    **{f"substitute_{name}": spec for name, spec in neighbour_specs("substitute").items()},
    "orders": ArraySpec("i8", ("items",), 0, LATEST),
    "first": ArraySpec("i8", ("items",), UNKNOWN, LATEST),
}
"""Specs of the arrays of RelatedTables, by name."""


@dataclass(frozen=True, slots=True)
class RelatedTables:
    """Tables as of a cut.

    bought: for each item of a cart the items that orders hold with it, see `bought_together`
    substitutes: for each item those that a basket with it leaves out, see `substitutes`
    orders: int64 (n_items,), orders that hold the item
    first: int64 (n_items,), ms; time of the item's first record or first event, UNKNOWN without either
    """

    bought: Neighbours
    substitutes: Neighbours
    orders: np.ndarray
    first: np.ndarray

    @classmethod
    def fit(cls, counts: OrderCounts, category: np.ndarray, first: np.ndarray, config: BasketConfig) -> "RelatedTables":
        """The tables of the orders up to a cut; category: int32 (n_items,); first: see the class."""
        return cls(bought_together(counts, category, config), substitutes(counts, len(category)), counts.orders, first)

    @classmethod
    def without_orders(cls, statistics: Statistics, end: int) -> "RelatedTables":
        """The tables of a version from before them: no item is bought with another; end: ms, time of the newest event.

        The numbers of orders are those of purchases. First events are known to a day.
        """
        n_items = statistics.n_items
        none = Neighbours(offsets_of(np.zeros(n_items, np.int64)), np.zeros(0, np.int32), np.zeros(0, np.float32))
        columns = statistics.item_columns
        zero = np.zeros(n_items)
        purchases = statistics.item("item_purchases") if "item_purchases" in columns else zero
        days = statistics.item("item_days_known") if "item_days_known" in columns else np.full(n_items, np.nan)
        first = np.where(np.isnan(days), UNKNOWN, end - np.nan_to_num(days).astype(np.int64) * DAY)
        return cls(none, none, np.nan_to_num(purchases).astype(np.int64), first)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name."""
        bought = {f"bought_{name}": array for name, array in self.bought.arrays().items()}
        others = {f"substitute_{name}": array for name, array in self.substitutes.arrays().items()}
        return {**bought, **others, "orders": self.orders, "first": self.first}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "RelatedTables":
        """The tables stored as `arrays` returns them."""
        bought, others = (
            Neighbours(*(arrays[f"{table}_{name}"] for name in Neighbours.__slots__))
            for table in ("bought", "substitute")
        )
        return cls(bought, others, arrays["orders"], arrays["first"])


def first_seen(catalog: Catalog, days_known: np.ndarray, end: int) -> np.ndarray:
    """Time of each item's first record or first event, int64 (n_items,), ms; UNKNOWN without either.

    A record from the first day of 1970 is valid from the beginning: it has no time, so it does not count. The same
    holds for records after `end`.
    days_known: float (n_items,), days from the first event to `end`, NaN without an event; end: ms
    """
    first = np.full(catalog.n_items, LATEST, np.int64)
    for log in (catalog.category_log, catalog.availability_log, *catalog.attributes.logs):
        dated = (log.times > DAY) & (log.times <= end)
        np.minimum.at(first, log.items[dated], log.times[dated])
    met = ~np.isnan(days_known)
    first[met] = np.minimum(first[met], end - days_known[met].astype(np.int64) * DAY)
    return np.where(first == LATEST, UNKNOWN, first)
