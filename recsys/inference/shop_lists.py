"""Lists of the whole shop or of a category: trending items and new ones."""

import numpy as np

from recsys.features.statistics import Statistics, descendants
from recsys.inference.item_lists import ItemLists
from recsys.inference.ruled_lists import Demand, arranged, programs_of
from recsys.retrieval.restrictions import first_allowed
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.schema import DAY, UNKNOWN, EventWeights

NEW_DAYS = 30.0
"""Half-life of the score of a new item."""
POOL = 500
"""Items that rules choose from."""


def trend(statistics: Statistics) -> np.ndarray:
    """The excess of an item's recent popularity over what its events of all time let expect; float64 (n_items,).

    With the recent decayed popularity p and the popularity e that the item would have if the shop's recent popularity
    were spread as its events of all time, the trend is (p - e) / sqrt(e + 1): a difference in units of its noise.
    NaN for items without an event.
    """
    columns = statistics.item_columns
    recent = np.zeros(statistics.n_items)
    if "item_popularity" in columns:
        recent = statistics.item("item_popularity").astype(np.float64)
    total = np.zeros(statistics.n_items)
    for name, weight in zip(("item_views", "item_carts", "item_purchases"), EventWeights().by_code(), strict=True):
        if name in columns:
            total += weight * statistics.item(name).astype(np.float64)
    expected = total * (np.nansum(recent) / max(np.nansum(total), 1e-300))
    return (recent - expected) / np.sqrt(expected + 1)


class ShopLists:
    """The lists of a version, ordered once."""

    def __init__(
        self,
        statistics: Statistics,
        first: np.ndarray,
        parents: np.ndarray,
        end: int,
        book: RuleBook | None = None,
    ) -> None:
        """first: int64 (n_items,), see `RelatedTables`; parents: int32 (n_categories,); end: ms, the newest event

        book: None if no request has rules
        """
        self._category, self._parents, self._book = statistics.category, parents, book
        rising = trend(statistics)
        popular = popularity_order(statistics)
        known = ~np.isnan(rising)
        usable = np.flatnonzero(statistics.available & known)
        self._trending = np.concatenate([usable[np.lexsort((usable, -rising[usable]))], popular[~known[popular]]])
        self._rising = np.where(known, 0.5 + rising / (1 + np.abs(rising)) / 2, 0.0)
        dated = first[popular] != UNKNOWN
        # Of items of one day the more popular come first.
        newest = popular[dated][np.argsort(-first[popular[dated]], kind="stable")]
        self._newest = np.concatenate([newest, popular[~dated]])
        self._fresh = np.where(first == UNKNOWN, 0.0, np.exp2(-np.maximum(end - first, 0) / DAY / NEW_DAYS))

    def trending(self, n: int, category: int | None = None, rules: BatchRules | None = None) -> ItemLists:
        """The `n` available items with the strongest trend, see `trend`; one list.

        The score is 1/2 for an item as popular as ever, and higher for a rising one. Items without an event come last,
        with score 0.
        category: code of a category, its descendants count as well
        rules: filters and rules of the request. Raises RuleError
        """
        return self._first(self._trending, self._rising, n, category, rules)

    def newest(self, n: int, category: int | None = None, rules: BatchRules | None = None) -> ItemLists:
        """The `n` available items known for the shortest time; one list. The score halves every 30 days.

        Of items of one age the more popular come first. Items without a known time come last, with score 0.
        category, rules: see `trending`
        """
        return self._first(self._newest, self._fresh, n, category, rules)

    def _first(
        self, order: np.ndarray, scores: np.ndarray, n: int, category: int | None, rules: BatchRules | None
    ) -> ItemLists:
        inside = None
        if category is not None:
            inside = descendants(self._parents, np.array([category]))
            order = order[inside[self._category[order]]]
        programs = programs_of(self._book, rules, 0, 1)
        if programs is None:
            return _listed(order[:n], scores)

        def permitted(requests: np.ndarray, items: np.ndarray) -> np.ndarray:
            allowed = programs.allows(requests, items)
            return allowed if inside is None else allowed & inside[self._category[items]]

        newest = np.array([UNKNOWN if category is None else category], np.int32)
        pool = first_allowed(0, order, max(n, POOL), permitted)
        return arranged(_listed(pool, scores), Demand(programs, permitted, newest), scores)


def _listed(codes: np.ndarray, scores: np.ndarray) -> ItemLists:
    items = codes.astype(np.int32)
    return ItemLists(np.array([0, len(items)]), items, scores[items])


def popularity_order(statistics: Statistics) -> np.ndarray:
    """The available items, the most popular first, int64 (n,); items without an event come last, by code."""
    items = np.flatnonzero(statistics.available)
    if "item_popularity" not in statistics.item_columns:
        return items
    popularity = np.nan_to_num(statistics.item("item_popularity")[items], nan=-1.0)
    return items[np.lexsort((items, -popularity))]
