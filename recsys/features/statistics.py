"""Statistics of items and categories as of a cut, from integer counts per day."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.data.catalog import CatalogState
from recsys.data.shop import DailyCounts
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
    """Events at the overall rate that are added to smooth every rate."""
    weights: EventWeights = EventWeights()
    """Weight of an event by type in the decayed popularity."""


@dataclass(frozen=True, slots=True)
class RepeatCounts:
    """Users who ever bought an item, and who bought it on several occasions; int64 (n_items,) each."""

    buyers: np.ndarray
    repeaters: np.ndarray

    @property
    def rate(self) -> float:
        """Fraction of the pairs of a buyer and an item that were repeated; 0 without purchases."""
        buyers = int(self.buyers.sum())
        return int(self.repeaters.sum()) / buyers if buyers else 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of items and categories as of a cut.

    items: float32 (n_items, len(item_columns)), NaN where an item has no event yet
    categories: float32 (n_categories, len(category_columns))
    category: int32 (n_items,), code or UNKNOWN
    levels: int32 (n_items, n_levels), category ancestors from the root down, UNKNOWN without a category
    available: bool (n_items,)
    item_columns, category_columns: names of the columns; a version has those that its code computed
    """

    items: np.ndarray
    categories: np.ndarray
    category: np.ndarray
    levels: np.ndarray
    available: np.ndarray
    item_columns: tuple[str, ...] = ITEM_COLUMNS
    category_columns: tuple[str, ...] = CATEGORY_COLUMNS

    @property
    def n_items(self) -> int:
        return len(self.items)

    def item(self, name: str) -> np.ndarray:
        """One column of `items`, float32 (n_items,)."""
        column: np.ndarray = self.items[:, self.item_columns.index(name)]
        return column


@dataclass(frozen=True, slots=True)
class EventSums:
    """Events of each item before a cut, float64 (n_items, n_types) each, with types in the order of EVENT_TYPES.

    total: of all days; recent: of the recent window; decayed: weighted by age with the half-life
    oldest: age in days of an item's first event, int64 (n_items,), 0 without an event
    """

    total: np.ndarray
    recent: np.ndarray
    decayed: np.ndarray
    oldest: np.ndarray

    @classmethod
    def before(cls, daily: DailyCounts, cut_age: int, n_items: int, config: StatisticsConfig) -> "EventSums":
        """The sums of all events at least `cut_age` days older than the newest one.

        Decayed sums add up day by day from the newest, so they depend on the counts alone.
        """
        n_types, known = len(EVENT_TYPES), daily.age >= cut_age
        item, event, count = daily.item[known], daily.event[known], daily.count[known]
        age = daily.age[known] - cut_age
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
    """Statistics of all events at least `cut_age` days older than the newest one.

    ancestors: int32 (n_categories, n_levels), see `Catalog.ancestors`
    """
    events = EventSums.before(daily, cut_age, len(state.category), config)
    popularity = events.decayed @ np.array(config.weights.by_code())
    of_categories = _category_columns(events, popularity, state.category, len(ancestors), config)
    of_items = _item_columns(events, popularity, state.category, of_categories["category_popularity"], repeats, config)
    items = np.stack([of_items[name] for name in ITEM_COLUMNS], axis=1).astype(np.float32)
    items[events.total.sum(1) == 0] = np.nan
    categories = np.stack([of_categories[name] for name in CATEGORY_COLUMNS], axis=1).astype(np.float32)
    return Statistics(items, categories, state.category, levels_of(state.category, ancestors), state.available)


def _category_columns(
    events: EventSums, popularity: np.ndarray, category: np.ndarray, n_categories: int, config: StatisticsConfig
) -> dict[str, np.ndarray]:
    """CATEGORY_COLUMNS, float64 (n_categories,) each; popularity: float64 (n_items,)."""
    member = category != UNKNOWN

    def by_category(values: np.ndarray) -> np.ndarray:
        return np.bincount(category[member], values[member], minlength=n_categories)

    total = np.stack([by_category(column) for column in events.total.T], axis=1)
    return {
        "category_views": total[:, VIEW],
        "category_purchases": total[:, PURCHASE],
        "category_popularity": by_category(popularity),
        "category_purchase_rate": _rate(total[:, PURCHASE], total.sum(1), config.prior),
        "category_items": by_category((events.total.sum(1) > 0).astype(np.float64)),
    }


def _item_columns(
    events: EventSums,
    popularity: np.ndarray,
    category: np.ndarray,
    category_popularity: np.ndarray,
    repeats: RepeatCounts,
    config: StatisticsConfig,
) -> dict[str, np.ndarray]:
    """ITEM_COLUMNS, float64 (n_items,) each; category_popularity: float64 (n_categories,)."""
    total, recent, member = events.total, events.recent, category != UNKNOWN
    in_category = np.full(len(category), np.nan)
    in_category[member] = category_popularity[category[member]]
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
        "item_category_fraction": popularity / np.maximum(in_category, 1e-9),
    }


def levels_of(category: np.ndarray, ancestors: np.ndarray) -> np.ndarray:
    """Category ancestors of each item from the root down, UNKNOWN without a category; int32 (n_items, n_levels).

    category: int32 (n_items,); ancestors: int32 (n_categories, n_levels)
    """
    levels = np.full((len(category), ancestors.shape[1]), UNKNOWN, np.int32)
    known = category != UNKNOWN
    levels[known] = ancestors[category[known]]
    return levels


def _rate(hits: np.ndarray, trials: np.ndarray, prior: float) -> np.ndarray:
    """hits / trials, smoothed towards the overall rate by `prior` trials; float64."""
    overall = hits.sum() / max(trials.sum(), 1)
    return (hits + prior * overall) / np.maximum(trials + prior, 1e-9)
