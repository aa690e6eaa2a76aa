"""The ranker's feature rows for candidates, computed by the same code in training and in serving."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from recsys.arrays import rank_within, sums_within
from recsys.errors import ModelError
from recsys.features.attributes import ItemAttributes, pair_features
from recsys.features.definitions import (
    SPEEDS,
    STAGE_FEATURES,
    affinity_feature,
    cosine_feature,
    names_of,
    source_feature,
)
from recsys.features.interactions import NEVER
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, UNKNOWN
from recsys.timeline import Present

USER: Final = names_of("user", "time")
CODES: Final = ("item_category", "item_root")
PAIR: Final = names_of("user-item")
AFFINITY: Final = names_of("user-category")
NAN_WITHOUT_EVENTS: Final = (
    *(f"pair_days_since_{name}" for name in EVENT_TYPES),
    *("pair_rank", "pair_last_rank", "pair_due", "pair_cart_open"),
)
"""Features of PAIR that are NaN if the user has no event on the item."""
NO_PAIR: Final = np.array([np.nan if name in NAN_WITHOUT_EVENTS else 0 for name in PAIR], np.float32)
"""The features PAIR of a user without events on the item."""
NO_AFFINITY: Final = np.array([[0, 0, 0, 0, np.nan, 0]])
"""The row in the table of `_affinities` for a user without events in the category."""


class FeatureBuilder:
    """Builds the feature matrix of (user, item) pairs. A version lists its features, and the builder makes these."""

    def __init__(self, names: Sequence[str], statistics: Statistics, scored_sources: Mapping[str, int]) -> None:
        """names: the features to build, in the order of their columns

        scored_sources: sources whose scores are features, each with its column in `source_scores`
        Raises ModelError if this code cannot build a feature from these statistics and sources.
        """
        self._statistics = statistics
        self._score_columns = list(scored_sources.values())
        available = (
            *USER,
            *statistics.item_columns,
            *statistics.category_columns,
            *CODES,
            *PAIR,
            *AFFINITY,
            *map(source_feature, scored_sources),
            "n_sources",
            *STAGE_FEATURES,
            *_attribute_names(statistics.attributes),
        )
        if unknown := [name for name in names if name not in available]:
            raise ModelError(f"this code does not build the features {', '.join(unknown[:5])}")
        columns = [available.index(name) for name in names]
        self._columns = None if columns == list(range(len(available))) else columns
        self._fraction_columns = [
            [available.index(f"{level}_fraction_{speed}") for level in ("pair", "category", "parent")]
            for speed in SPEEDS
        ]

    def __call__(
        self,
        profiles: Profiles,
        users: np.ndarray,
        items: np.ndarray,
        source_scores: np.ndarray,
        stage_features: np.ndarray,
    ) -> np.ndarray:
        """The feature matrix, float32 (n_pairs, n_features), C order.

        users: int64 (n_pairs,), positions in `profiles`; items: int32 (n_pairs,), item codes
        source_scores: float32 (n_pairs, n_sources), NaN where a source did not propose the item
        stage_features: float (n_pairs, len(STAGE_FEATURES))

        Features of a user, and of a user with an item or a category, are computed once for the whole batch. The pairs
        then take their rows from these tables. A request waits for each call of NumPy, so calls are few.
        """
        pair_rows = profiles.by_item.find(users, items)
        blocks = (
            _users(profiles).take(users, axis=0),
            self._statistics.items.take(items, axis=0),
            _categories(self._statistics, items),
            _pairs(profiles).take(pair_rows, axis=0),
            *_affinities(profiles, self._statistics, pair_rows, users, items),
            *self._sources(source_scores),
            stage_features,
            *self._attributes(profiles, users, items),
        )
        matrix = np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")
        # A fraction of a total of zero is not defined, so it is NaN.
        for columns, zero_total in zip(self._fraction_columns, (profiles.totals == 0).T, strict=True):
            if zero_total.any():
                matrix[np.ix_(zero_total[users], columns)] = np.nan
        return matrix if self._columns is None else matrix.take(self._columns, axis=1)

    def _sources(self, scores: np.ndarray) -> list[np.ndarray]:
        """The source scores that are features, and the number of sources that proposed the item; two blocks."""
        return [scores[:, self._score_columns], (~np.isnan(scores)).sum(axis=1, keepdims=True)]

    def _attributes(self, profiles: Profiles, users: np.ndarray, items: np.ndarray) -> list[np.ndarray]:
        """The users' affinities to the attributes of the items, one block, or none without attributes."""
        attributes, affinities = self._statistics.attributes, profiles.affinities
        if attributes is None or affinities is None:
            return []
        known = profiles.totals[:, SPEEDS.index("slow")] > 0
        return [pair_features(affinities, known, attributes, users, items)]


def _attribute_names(attributes: ItemAttributes | None) -> tuple[str, ...]:
    """The names of the columns of `pair_features`."""
    if attributes is None:
        return ()
    return *map(affinity_feature, attributes.labels), *map(cosine_feature, attributes.vectors)


def _users(profiles: Profiles) -> np.ndarray:
    """Features USER of each user, float32 (n_users, len(USER)); times and rates are NaN for users without events."""
    histories, by_item, n_users = profiles.histories, profiles.by_item, len(profiles)
    events = histories.lengths
    active = events.nonzero()[0]
    newest, oldest = np.full((2, n_users), np.nan)
    newest[active] = histories.times[histories.offsets[active + 1] - 1]
    oldest[active] = histories.times[histories.offsets[active]]
    day = np.floor(newest / DAY)
    weekday = day % 7
    bought = by_item.counts[:, PURCHASE]
    columns_to_add = (bought, bought > 0, by_item.purchase_days > 1, np.ones(len(by_item.users)))
    sums = sums_within(by_item.users, np.column_stack(columns_to_add), n_users)
    purchases, bought_items, repeated_items, items = sums.T
    columns = {
        "user_events": events,
        "user_purchases": purchases,
        "user_purchase_rate": _ratio(purchases, events),
        "user_items": items,
        "user_categories": np.bincount(profiles.by_category.users, minlength=n_users),
        "user_recent_events": profiles.totals[:, SPEEDS.index("medium")],
        "user_days_idle": (profiles.now - newest) / DAY,
        "user_days_known": (profiles.now - oldest) / DAY,
        "user_repeat_fraction": _ratio(repeated_items, bought_items),
        "user_session_events": profiles.session_events,
        "last_hour": np.floor((newest - day * DAY) / 3_600_000),
        "last_weekday": weekday,
        "last_weekend": np.where(events > 0, (weekday == 2) | (weekday == 3), np.nan),
    }
    return _table(n_users, USER, columns)


def _categories(statistics: Statistics, items: np.ndarray) -> np.ndarray:
    """Statistics and codes of the items' categories, float (n_pairs, n_columns + 2).

    NaN for items without a category; items: int32 (n_pairs,), item codes
    """
    category = statistics.category[items]
    if not len(statistics.categories):
        return np.full((len(items), len(statistics.category_columns) + len(CODES)), np.nan, np.float32)
    codes = np.column_stack((category, statistics.levels[items, 0])).astype(np.float32)
    columns = np.concatenate((statistics.categories[category], codes), axis=1)
    columns[category == UNKNOWN] = np.nan
    return columns


def _pairs(profiles: Profiles) -> np.ndarray:
    """Features PAIR of each row of `profiles.by_item`, float32 (n_rows + 1, len(PAIR)).

    The last row is NO_PAIR. So the index UNKNOWN (-1) selects NO_PAIR.
    """
    rows = profiles.by_item
    now = profiles.now_of(rows.users[:, None])
    last_purchase, days = rows.last[:, PURCHASE], rows.purchase_days
    repeated = days > 1
    first_purchase = np.where(repeated, rows.first_purchase, last_purchase)
    interval = (last_purchase - first_purchase) / DAY / np.maximum(days - 1, 1)
    interval = np.where(repeated, interval, np.nan)
    since, fractions = days_since(now, rows.last), _ratio(rows.decayed, profiles.totals[rows.users])
    columns = {
        **{f"pair_{name}s": rows.counts[:, kind] for kind, name in enumerate(EVENT_TYPES)},
        **{f"pair_weight_{speed}": rows.decayed[:, i] for i, speed in enumerate(SPEEDS)},
        **{f"pair_fraction_{speed}": fractions[:, i] for i, speed in enumerate(SPEEDS)},
        "pair_bought": rows.bought,
        "pair_rank": rank_within(rows.users, rows.decayed[:, SPEEDS.index("slow")]),
        "pair_last_rank": profiles.recency,
        **{f"pair_days_since_{name}": since[:, kind] for kind, name in enumerate(EVENT_TYPES)},
        "pair_purchase_days": days,
        "pair_due": since[:, PURCHASE] / np.maximum(interval, 1e-3),
        "pair_cart_open": rows.last[:, CART] > last_purchase,
        "pair_in_session": rows.newest >= profiles.session_start[rows.users],
    }
    return np.concatenate((_table(len(days), PAIR, columns), NO_PAIR[None]))


def _affinities(
    profiles: Profiles, statistics: Statistics, pair_rows: np.ndarray, users: np.ndarray, items: np.ndarray
) -> list[np.ndarray]:
    """Features AFFINITY of the pairs, in blocks of (n_pairs, n_columns).

    pair_rows: int64 (n_pairs,), the row of each pair in `profiles.by_item`, or UNKNOWN
    users: int64 (n_pairs,), positions in `profiles`; items: int32 (n_pairs,), item codes
    """
    depth, n_users = statistics.levels.shape[1], len(profiles)
    levels = np.array([depth - 1, max(depth - 2, 0)])[:, None]
    level_rows = profiles.by_level.find((levels * n_users + users).ravel(), statistics.levels[items, levels].ravel())
    rows, slow = profiles.by_level, SPEEDS.index("slow")
    owners = rows.users % max(n_users, 1)
    fractions = _ratio(rows.decayed, profiles.totals[owners])
    purchases = rows.counts[:, PURCHASE]
    since = days_since(profiles.now_of(owners), rows.newest)
    table = np.column_stack((fractions, purchases, since, rows.decayed[:, slow]))
    category, parent = np.append(table, NO_AFFINITY, axis=0).take(level_rows.reshape(len(levels), -1), axis=0)
    item_weight = np.append(profiles.by_item.decayed[:, slow], 0)[pair_rows]
    item_fraction = _ratio(item_weight, category[:, -1])
    return [*(level[:, : len(SPEEDS)] for level in (category, parent)), category[:, 3:-1], item_fraction[:, None]]


def _table(n_rows: int, names: Sequence[str], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """A matrix with one column for each name, in this order, float32 (n_rows, len(names))."""
    table = np.empty((n_rows, len(names)), np.float32)
    for position, name in enumerate(names):
        table[:, position] = columns[name]
    return table


def days_since(now: Present, times: np.ndarray) -> np.ndarray:
    """Days from `times` to `now` (both ms), NaN for NEVER; float64, of the shape of `times`.

    now: one time, or an array that broadcasts to the shape of `times`
    """
    never = times == NEVER
    days = (now - np.where(never, now, times)) / DAY
    days[never] = np.nan
    return days


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where `whole` is zero; float64, of the shape of `part`."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
