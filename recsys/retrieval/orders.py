"""Items that are bought together in one order, learned from the orders of all users up to a cut."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from recsys.arrays import find, positions, run_starts, runs
from recsys.histories import Histories
from recsys.ids import mix
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.sources.covisitation import PairCounts, merge_counts
from recsys.schema import DAY, PURCHASE, UNKNOWN, VIEW, Config


class BasketConfig(Config):
    """Settings of the table of items that are bought together."""

    per_item: int = Field(100, ge=1, le=1000)
    """Items kept for an item of a cart."""
    max_items: int = Field(100, ge=2)
    """Number of distinct items of an order, and of a day's views in a category, that form pairs. It limits the work
    for orders of a wholesaler."""
    min_count: int = Field(2, ge=1)
    """Pairs in fewer orders are dropped."""
    cart_power: float = Field(0.7, ge=0, le=1)
    """Orders with both items are divided by this power of the orders with the item of the cart."""
    item_power: float = Field(0.3, ge=0, le=1)
    """Orders with both items are divided by this power of the orders with the other item. With 0.5 in both places the
    score is the cosine. A smaller power favours popular items."""


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """Counts over the orders of some users; those of different users can be added.

    bought: the orders that hold both items of a pair
    viewed: for pairs of one leaf category, the days on which a user viewed both
    orders: int64 (n_items,), the orders that hold the item
    """

    bought: PairCounts
    viewed: PairCounts
    orders: np.ndarray


def count_orders(
    histories: Histories, orders: np.ndarray | None, category: np.ndarray, config: BasketConfig
) -> OrderCounts:
    """The counts of some users' orders.

    Purchases without an order's id make up one order for each user and day, in UTC.
    orders: int32 (n_events,), see `UserPartition`; category: int32 (n_items,), leaf categories or UNKNOWN
    """
    n_items = len(category)
    days = histories.rows * (int(histories.times.max(initial=0)) // DAY + 1) + histories.times // DAY
    bought = np.flatnonzero(histories.events == PURCHASE)
    keys = days[bought]
    if orders is not None:
        named = orders[bought]
        keys = np.where(named == UNKNOWN, keys + int(named.max(initial=UNKNOWN)) + 1, named)
    owners, items, times = _distinct(keys, histories.items[bought], histories.times[bought], n_items)
    viewed = np.flatnonzero((histories.events == VIEW) & (category[histories.items] != UNKNOWN))
    # A group of views is a user's day in one category, so that no pair of two categories is made.
    of_day = days[viewed] * (int(category.max(initial=0)) + 1) + category[histories.items[viewed]]
    views = _distinct(of_day, histories.items[viewed], histories.times[viewed], n_items)
    return OrderCounts(
        _pairs(owners, items, times, n_items, config.max_items),
        _pairs(*views, n_items, config.max_items),
        np.bincount(items, minlength=n_items),
    )


def _distinct(
    keys: np.ndarray, items: np.ndarray, times: np.ndarray, n_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each item of a group once, by group and item: number of the group, item, and first time; int64 (n,) each."""
    group = np.unique(keys, return_inverse=True)[1]
    cells = group * np.int64(n_items) + items
    order = np.lexsort((times, cells))
    first = order[run_starts(cells[order])]
    return group[first], items[first].astype(np.int64), times[first]


def _pairs(groups: np.ndarray, items: np.ndarray, times: np.ndarray, n_items: int, limit: int) -> PairCounts:
    """The groups with both items of each pair; of a large group only `limit` items form pairs.

    groups: ascending; items: ascending within a group. Which items remain depends on nothing but items and times.
    """
    if len(groups) and positions(groups).max() >= limit:
        drawn = np.lexsort((mix((times * n_items + items).astype(np.uint64)), groups))
        kept = np.sort(drawn[positions(groups[drawn]) < limit])
        groups, items = groups[kept], items[kept]
    parts = []
    # Row i pairs with row i + step of the same group.
    for step in range(1, limit):
        pair = np.flatnonzero(groups[step:] == groups[:-step])
        if not len(pair):
            break
        parts.append(items[pair] * n_items + items[pair + step])
    keys = np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))
    starts, run = runs(keys)
    return PairCounts(keys[starts], np.bincount(run, minlength=len(starts)))


def add_order_counts(parts: Sequence[OrderCounts]) -> OrderCounts:
    """The sum of all parts. No user may be counted in two parts."""
    return OrderCounts(
        merge_counts([part.bought for part in parts]),
        merge_counts([part.viewed for part in parts]),
        np.sum([part.orders for part in parts], axis=0),
    )


def bought_together(counts: OrderCounts, category: np.ndarray, config: BasketConfig) -> Neighbours:
    """For each item of a cart the items that orders hold with it, best first; substitutes are left out.

    The score of item b for item a is n_ab / (n_a ** cart_power * n_b ** item_power), of numbers of orders. Two items
    are substitutes if they have the same leaf category, and users viewed them together on more days than orders hold
    both. Without views there are no substitutes.
    category: int32 (n_items,), leaf categories or UNKNOWN
    """
    n_items = len(category)
    pairs = counts.bought
    viewed = find(counts.viewed.keys, pairs.keys)
    days = np.append(counts.viewed.counts, 0)[viewed]  # UNKNOWN is the last position
    kept = (pairs.counts >= config.min_count) & (days <= pairs.counts)
    low, high = np.divmod(pairs.keys[kept], n_items)
    source, target = np.concatenate((low, high)), np.concatenate((high, low))
    orders = counts.orders.astype(np.float64)
    both = np.tile(pairs.counts[kept], 2)
    score = both / (orders[source] ** config.cart_power * orders[target] ** config.item_power)
    return Neighbours.build(source, target, score.astype(np.float32), n_items, config.per_item)


def substitutes(counts: OrderCounts, n_items: int) -> Neighbours:
    """For each item its substitutes that occur in an order, with the days on which users viewed both, float32.

    They are pairs of one leaf category, see `count_orders`, that users viewed together on more days than orders hold
    both. The table has all of them, so that a basket can leave out every one.
    """
    together = np.append(counts.bought.counts, 0)[find(counts.bought.keys, counts.viewed.keys)]
    more = counts.viewed.counts > together
    low, high = np.divmod(counts.viewed.keys[more], n_items)
    source, target = np.concatenate((low, high)), np.concatenate((high, low))
    days = np.tile(counts.viewed.counts[more], 2).astype(np.float32)
    sold = counts.orders[target] > 0
    return Neighbours.build(source[sold], target[sold], days[sold], n_items, max(n_items, 1))
