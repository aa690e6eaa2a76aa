"""Statistics of items and categories as of a cut, computed from counts of events per day."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.data.catalog import CatalogState
from recsys.data.shop import DailyCounts
from recsys.features.attributes import ItemAttributes, item_attributes
from recsys.schema import CART, EVENT_TYPES, PURCHASE, UNKNOWN, VIEW, Config, EventWeights

ITEM_COLUMNS = (
    "item_views",
    "item_carts",
    "item_purchases",
    "item_recent_views",
    "item_recent_carts",
    "item_recent_purchases",
    "item_popularity",
    "item_purchase_popularity",
    "item_cart_rate",
    "item_purchase_rate",
    "item_days_known",
    "item_trend",
    "item_repeat_fraction",
    "item_category_fraction",
)
CATEGORY_COLUMNS = (
    "category_views",
    "category_purchases",
    "category_popularity",
    "category_purchase_rate",
    "category_items",
)


class StatisticsConfig(Config):
    """Windows and smoothing of the item and category statistics."""

    recent_days: int = Field(30, ge=1)
    """Length of the recent window."""
    half_life_days: float = Field(7.0, gt=0)
    """Half-life of the decayed popularities."""
    prior: float = Field(20.0, ge=0)
    """Smoothing of rates: number of invented events of each item and category, which have the overall rate."""
    weights: EventWeights = EventWeights()
    """Weight of an event of each type in the decayed popularity."""


@dataclass(frozen=True, slots=True)
class RepeatCounts:
    """Numbers of users by item, int64 (n_items,) each.

    buyers: users who bought the item; repeaters: users who bought it on several days
    """

    buyers: np.ndarray
    repeaters: np.ndarray

    @property
    def rate(self) -> float:
        """The fraction of pairs (buyer, item) with a repeated purchase; 0 without purchases."""
        buyers = int(self.buyers.sum())
        return int(self.repeaters.sum()) / buyers if buyers else 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of items and categories as of a cut.

    items: float32 (n_items, len(item_columns)), NaN for items without an event
    categories: float32 (n_categories, len(category_columns))
    category: int32 (n_items,), code or UNKNOWN
    levels: int32 (n_items, n_levels), category ancestors from the root down, UNKNOWN without a category
    available: bool (n_items,), whether the item is available
    item_columns, category_columns: names of the columns; older versions may have other columns, and versions with
        attributes have columns of these
    attributes: labels and vectors of the items; None if the shop gives no attributes
    """

    items: np.ndarray
    categories: np.ndarray
    category: np.ndarray
    levels: np.ndarray
    available: np.ndarray
    item_columns: tuple[str, ...] = ITEM_COLUMNS
    category_columns: tuple[str, ...] = CATEGORY_COLUMNS
    attributes: ItemAttributes | None = None

    @property
    def n_items(self) -> int:
        return len(self.items)

    def item(self, name: str) -> np.ndarray:
        """One column of `items`, float32 (n_items,)."""
        column: np.ndarray = self.items[:, self.item_columns.index(name)]
        return column


@dataclass(frozen=True, slots=True)
class EventSums:
    """Sums of the events of each item before a cut, float64 (n_items, n_types), types in the order of EVENT_TYPES.

    total: events of all days; recent: events of the recent window; decayed: events weighted with the half-life
    oldest: int64 (n_items,), days from the item's first event to the cut, 0 without an event
    """

    total: np.ndarray
    recent: np.ndarray
    decayed: np.ndarray
    oldest: np.ndarray

    @classmethod
    def before(cls, daily: DailyCounts, cut_age: int, n_items: int, config: StatisticsConfig) -> "EventSums":
        """The sums of all events before the cut, which lies `cut_age` days before the newest event of the data.

        Sums are added in the order of the daily counts, so the same counts give the same bits.
        """
        n_types, past = len(EVENT_TYPES), daily.age >= cut_age
        item, event, count = daily.item[past], daily.event[past], daily.count[past]
        age = daily.age[past] - cut_age
        cell = item.astype(np.int64) * n_types + event

        def sums(weight: np.ndarray) -> np.ndarray:
            return np.bincount(cell, weight, minlength=n_items * n_types).reshape(n_items, n_types)

        oldest = np.zeros(n_items, np.int64)
        np.maximum.at(oldest, item, age)
        return cls(
            total=sums(count),
            recent=sums(np.where(age < config.recent_days, count, 0)),
            decayed=sums(count * np.exp2(-age / config.half_life_days)),
            oldest=oldest,
        )


def statistics(
    daily: DailyCounts,
    cut_age: int,
    state: CatalogState,
    ancestors: np.ndarray,
    repeats: RepeatCounts,
    config: StatisticsConfig,
) -> Statistics:
    """Statistics of all events before the cut, which lies `cut_age` days before the newest event of the data.

    state: the catalog as of the cut; ancestors: int32 (n_categories, n_levels), see `Catalog.ancestors`
    """
    events = EventSums.before(daily, cut_age, len(state.category), config)
    popularity = events.decayed @ np.array(config.weights.by_code())
    by_category = _category_columns(events, popularity, state.category, len(ancestors), config)
    by_item = _item_columns(events, popularity, state.category, by_category["category_popularity"], repeats, config)
    items = np.stack([by_item[name] for name in ITEM_COLUMNS], axis=1).astype(np.float32)
    items[events.total.sum(1) == 0] = np.nan
    attributes: ItemAttributes | None = None
    item_columns: tuple[str, ...] = ITEM_COLUMNS
    if state.attributes is not None and state.attributes.specs:  # items without an event have attributes too
        attributes, columns = item_attributes(state.attributes, state.category, popularity)
        items = np.column_stack([items, *columns.values()]).astype(np.float32)
        item_columns = *ITEM_COLUMNS, *columns
    categories = np.stack([by_category[name] for name in CATEGORY_COLUMNS], axis=1).astype(np.float32)
    return Statistics(
        items,
        categories,
        state.category,
        levels_of(state.category, ancestors),
        state.available,
        item_columns,
        attributes=attributes,
    )


def _category_columns(
    events: EventSums, popularity: np.ndarray, category: np.ndarray, n_categories: int, config: StatisticsConfig
) -> dict[str, np.ndarray]:
    """CATEGORY_COLUMNS by name, float64 (n_categories,) each; popularity: float64 (n_items,)."""
    has_category = category != UNKNOWN

    def category_sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(category[has_category], values[has_category], minlength=n_categories)

    total = np.stack([category_sums(column) for column in events.total.T], axis=1)
    return {
        "category_views": total[:, VIEW],
        "category_purchases": total[:, PURCHASE],
        "category_popularity": category_sums(popularity),
        "category_purchase_rate": _rate(total[:, PURCHASE], total.sum(1), config.prior),
        "category_items": category_sums((events.total.sum(1) > 0).astype(np.float64)),
    }


def _item_columns(
    events: EventSums,
    popularity: np.ndarray,
    category: np.ndarray,
    category_popularity: np.ndarray,
    repeats: RepeatCounts,
    config: StatisticsConfig,
) -> dict[str, np.ndarray]:
    """ITEM_COLUMNS by name, float64 (n_items,) each; category_popularity: float64 (n_categories,)."""
    total, recent, has_category = events.total, events.recent, category != UNKNOWN
    whole_category = np.full(len(category), np.nan)
    whole_category[has_category] = category_popularity[category[has_category]]
    expected = config.recent_days / np.maximum(events.oldest + 1, config.recent_days)
    return {
        "item_views": total[:, VIEW],
        "item_carts": total[:, CART],
        "item_purchases": total[:, PURCHASE],
        "item_recent_views": recent[:, VIEW],
        "item_recent_carts": recent[:, CART],
        "item_recent_purchases": recent[:, PURCHASE],
        "item_popularity": popularity,
        "item_purchase_popularity": events.decayed[:, PURCHASE],
        "item_cart_rate": _rate(total[:, CART], total[:, VIEW], config.prior),
        "item_purchase_rate": _rate(total[:, PURCHASE], total[:, VIEW], config.prior),
        "item_days_known": events.oldest,
        "item_trend": recent.sum(1) / np.maximum(total.sum(1) * expected, 1e-9),
        "item_repeat_fraction": _rate(repeats.repeaters, repeats.buyers, config.prior),
        "item_category_fraction": popularity / np.maximum(whole_category, 1e-9),
    }


def levels_of(category: np.ndarray, ancestors: np.ndarray) -> np.ndarray:
    """Category ancestors of each item from the root down, int32 (n_items, n_levels); UNKNOWN without a category.

    category: int32 (n_items,), codes or UNKNOWN; ancestors: int32 (n_categories, n_levels)
    """
    levels = np.full((len(category), ancestors.shape[1]), UNKNOWN, np.int32)
    has_category = category != UNKNOWN
    levels[has_category] = ancestors[category[has_category]]
    return levels


def distinct_levels(levels: np.ndarray) -> np.ndarray:
    """Whether each level of a path is a further category, bool (n, n_levels): a short path repeats its last category.

    levels: int32 (n, n_levels), see `levels_of`
    """
    distinct = levels != UNKNOWN
    distinct[:, 1:] &= levels[:, 1:] != levels[:, :-1]
    return distinct


def descendants(parents: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Whether each category is one of `codes` or below one of them, bool (n_categories + 1,); the last is False.

    So UNKNOWN, which is -1, reads False.
    parents: int32 (n_categories,), code of each category's parent, UNKNOWN for roots; codes: int (n,)
    """
    inside = np.zeros(len(parents) + 1, bool)
    inside[codes] = True
    above = np.append(parents, UNKNOWN)
    while (grown := inside | inside[above]).sum() > inside.sum():
        inside = grown
    inside[-1] = False
    return inside


def _rate(hits: np.ndarray, trials: np.ndarray, prior: float) -> np.ndarray:
    """hits / trials of each row, smoothed with `prior` trials at the overall rate; float64 (n,)."""
    overall = hits.sum() / max(trials.sum(), 1)
    return (hits + prior * overall) / np.maximum(trials + prior, 1e-9)
