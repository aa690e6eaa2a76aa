"""The one function that turns candidates into the ranker's rows, for one user or for many."""

import numpy as np

from recsys.features.definitions import NAMES, SPEEDS
from recsys.features.interactions import NEVER
from recsys.features.profiles import Profiles, days_since, pair_ranks, user_columns
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, SOURCES, UNKNOWN, VIEW


def build(
    of: Profiles,
    statistics: Statistics,
    users: np.ndarray,
    items: np.ndarray,
    source_scores: np.ndarray,
) -> np.ndarray:
    """Feature matrix of (user, item) pairs; float32 (n_pairs, len(FEATURES)), C order.

    users: int64 (n_pairs,), positions in `of`; items: int32 (n_pairs,)
    source_scores: float32 (n_pairs, len(SOURCES)), NaN where a source did not propose the item
    """
    columns: dict[str, np.ndarray] = {name: column[users] for name, column in user_columns(of).items()}
    columns |= dict(zip(ITEM_COLUMNS, statistics.items[items].T, strict=True))
    columns |= _categories(statistics, items)
    met = _Rows(of.by_item.find(users, items))
    columns |= _pairs(of, met, users)
    columns |= _affinities(of, statistics, met, users, items)
    proposed = ~np.isnan(source_scores)
    columns |= {f"from_{name}": proposed[:, i] for i, name in enumerate(SOURCES)}
    columns |= {f"score_{name}": source_scores[:, i] for i, name in enumerate(SOURCES)}
    columns["n_sources"] = proposed.sum(axis=1)
    matrix = np.empty((len(users), len(NAMES)), np.float32)
    for position, name in enumerate(NAMES):
        matrix[:, position] = columns[name]
    return matrix


def _categories(statistics: Statistics, items: np.ndarray) -> dict[str, np.ndarray]:
    category = statistics.category[items]
    known = category != UNKNOWN
    if not len(statistics.categories):
        return dict.fromkeys((*CATEGORY_COLUMNS, "item_category", "item_root"), np.full(len(items), np.nan))
    rows = np.where(known[:, None], statistics.categories[category], np.nan)
    columns = dict(zip(CATEGORY_COLUMNS, rows.T, strict=True))
    columns["item_category"] = np.where(known, category, np.nan)
    columns["item_root"] = np.where(known, statistics.levels[items, 0], np.nan)
    return columns


class _Rows:
    """The rows of some Interactions that pairs point to; a pair may have none."""

    def __init__(self, at: np.ndarray) -> None:
        """at: int64 (n_pairs,), as `Interactions.find` returns"""
        self.found = at >= 0
        self._at = at[self.found]

    def take(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Each pair's row of `values`, `fill` where it has none."""
        result = np.full((len(self.found), *values.shape[1:]), fill, values.dtype)
        result[self.found] = values[self._at]
        return result


def _pairs(of: Profiles, met: _Rows, users: np.ndarray) -> dict[str, np.ndarray]:
    """What the user did with the item: zero counts, but NaN times and ranks, where they never met."""
    by_item, now, take = of.by_item, of.now, met.take
    last = take(by_item.last, NEVER)
    bought, first_purchase = last[:, PURCHASE], take(by_item.first_purchase, NEVER)
    days = take(by_item.purchase_days, 0)
    interval = (bought - np.where(days > 1, first_purchase, bought)) / DAY / np.maximum(days - 1, 1)
    interval = np.where(days > 1, interval, np.nan)
    since = {name: days_since(now, last[:, kind]) for kind, name in enumerate(EVENT_TYPES)}
    counts, decayed, totals = take(by_item.counts, 0), take(by_item.decayed, 0.0), of.totals[users]
    by_weight, by_time = pair_ranks(by_item)
    return {
        **{f"pair_{name}s": counts[:, kind] for kind, name in enumerate(EVENT_TYPES)},
        **{f"pair_weight_{speed}": decayed[:, i] for i, speed in enumerate(SPEEDS)},
        **{f"pair_share_{speed}": _ratio(decayed[:, i], totals[:, i]) for i, speed in enumerate(SPEEDS)},
        "pair_bought": take(by_item.bought, 0.0),
        "pair_rank": take(by_weight.astype(np.float64), np.nan),
        "pair_last_rank": take(by_time.astype(np.float64), np.nan),
        **{f"pair_days_since_{name}": value for name, value in since.items()},
        "pair_days_known": days_since(now, take(by_item.first, NEVER)),
        "pair_purchase_days": days,
        "pair_repeat_interval": interval,
        "pair_due": since["transaction"] / np.maximum(interval, 1e-3),
        "pair_cart_open": np.where(met.found, last[:, CART] > bought, np.nan),
        "pair_in_session": np.where(met.found, last.max(axis=1) >= of.session_start[users], 0.0),
    }


def _affinities(
    of: Profiles, statistics: Statistics, met: _Rows, users: np.ndarray, items: np.ndarray
) -> dict[str, np.ndarray]:
    """The user's interest in the item's category, its parent and its root."""
    depth = statistics.levels.shape[1]
    near = [_Rows(table.find(users, statistics.levels[items, level])) for level, table in enumerate(of.by_level)]
    decayed = [rows.take(table.decayed, 0.0) for rows, table in zip(near, of.by_level, strict=True)]
    columns: dict[str, np.ndarray] = {}
    for name, level in (("category", depth - 1), ("parent", max(depth - 2, 0)), ("root", 0)):
        for i, speed in enumerate(SPEEDS):
            columns[f"{name}_share_{speed}"] = _ratio(decayed[level][:, i], of.totals[users, i])
    leaf, take = of.by_level[-1], near[-1].take
    counts = take(leaf.counts, 0)
    columns["category_user_purchases"] = counts[:, PURCHASE]
    columns["category_user_views"] = counts[:, VIEW]
    columns["category_days_idle"] = days_since(of.now, take(leaf.last, NEVER).max(axis=1))
    columns["pair_category_share"] = _ratio(met.take(of.by_item.decayed, 0.0)[:, -1], decayed[-1][:, -1])
    return columns


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
