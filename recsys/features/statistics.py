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
    """Events at the average rate that every rate is smoothed with."""
    weights: EventWeights = EventWeights()
    """Weight of an event by type in the decayed popularity."""


@dataclass(frozen=True, slots=True)
class RepeatCounts:
    """How many users ever bought an item, and bought it on more than one occasion; int64 (n_items,) each."""

    buyers: np.ndarray
    repeaters: np.ndarray

    @property
    def rate(self) -> float:
        """Share of (user, item) purchase pairs that were repeated; 0 without purchases."""
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

    Decayed sums add up day by day from the newest, so they depend on the counts alone.
    """
    n_items, kinds = len(state.category), len(EVENT_TYPES)
    known = daily.age >= cut_age
    item, event, count = daily.item[known], daily.event[known], daily.count[known]
    age = daily.age[known] - cut_age
    flat = item.astype(np.int64) * kinds + event

    def totals(weight: np.ndarray) -> np.ndarray:
        return np.bincount(flat, weight, minlength=n_items * kinds).reshape(n_items, kinds)

    total = totals(count)
    recent = totals(np.where(age < config.recent_days, count, 0))
    fading = totals(count * np.exp2(-age / config.half_life_days))
    popularity = fading @ np.array(config.weights.by_code())
    oldest = np.zeros(n_items, np.int64)
    np.maximum.at(oldest, item, age)
    seen = total.sum(1) > 0
    expected = config.recent_days / np.maximum(oldest + 1, config.recent_days)

    def by_category(values: np.ndarray) -> np.ndarray:
        return np.bincount(category[member], values[member], minlength=n_categories)

    category, n_categories = state.category, len(ancestors)
    member = category != UNKNOWN
    category_total = np.stack([by_category(total[:, kind]) for kind in range(kinds)], axis=1)
    category_columns = {
        "category_views": category_total[:, VIEW],
        "category_purchases": category_total[:, PURCHASE],
        "category_popularity": by_category(popularity),
        "category_purchase_rate": _rate(category_total[:, PURCHASE], category_total.sum(1), config.prior),
        "category_items": by_category(seen.astype(np.float64)),
    }
    in_category = np.full(n_items, np.nan)
    in_category[member] = category_columns["category_popularity"][category[member]]
    item_columns = {
        "item_views": total[:, VIEW],
        "item_carts": total[:, CART],
        "item_purchases": total[:, PURCHASE],
        "item_recent_views": recent[:, VIEW],
        "item_recent_carts": recent[:, CART],
        "item_recent_purchases": recent[:, PURCHASE],
        "item_popularity": popularity,
        "item_purchase_popularity": fading[:, PURCHASE],
        "item_cart_rate": _rate(total[:, CART], total[:, VIEW], config.prior),
        "item_purchase_rate": _rate(total[:, PURCHASE], total[:, VIEW], config.prior),
        "item_days_known": oldest,
        "item_trend": recent.sum(1) / np.maximum(total.sum(1) * expected, 1e-9),
        "item_repeat_fraction": _rate(repeats.repeaters, repeats.buyers, config.prior),
        "item_category_fraction": popularity / np.maximum(in_category, 1e-9),
    }
    items = np.stack([item_columns[name] for name in ITEM_COLUMNS], axis=1).astype(np.float32)
    items[~seen] = np.nan
    categories = np.stack([category_columns[name] for name in CATEGORY_COLUMNS], axis=1).astype(np.float32)
    return Statistics(items, categories, category, levels_of(category, ancestors), state.available)


def levels_of(category: np.ndarray, ancestors: np.ndarray) -> np.ndarray:
    """Category ancestors of each item from the root down, UNKNOWN without a category; int32 (n_items, n_levels).

    category: int32 (n_items,); ancestors: int32 (n_categories, n_levels)
    """
    levels = np.full((len(category), ancestors.shape[1]), UNKNOWN, np.int32)
    known = category != UNKNOWN
    levels[known] = ancestors[category[known]]
    return levels


def _rate(hits: np.ndarray, trials: np.ndarray, prior: float) -> np.ndarray:
    """hits / trials, drawn towards the overall rate by `prior` trials; float64."""
    overall = hits.sum() / max(trials.sum(), 1)
    return (hits + prior * overall) / np.maximum(trials + prior, 1e-9)
