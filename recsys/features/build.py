"""The one function that turns candidates into the ranker's rows, for one user or for many."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from recsys.arrays import rank_within, sums_within
from recsys.errors import ModelError
from recsys.features.definitions import SPEEDS, STAGE_FEATURES, names_of, source_feature
from recsys.features.interactions import NEVER
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, UNKNOWN

USER: Final = names_of("user", "time")
CODES: Final = ("item_category", "item_root")
PAIR: Final = names_of("user-item")
AFFINITY: Final = names_of("user-category")
NAN_UNLESS_MET: Final = (
    *(f"pair_days_since_{name}" for name in EVENT_TYPES),
    *("pair_rank", "pair_last_rank", "pair_due", "pair_cart_open"),
)
NEVER_MET: Final = np.array([np.nan if name in NAN_UNLESS_MET else 0 for name in PAIR], np.float32)
"""The features of a user and an item that never met."""
NO_AFFINITY: Final = np.array([[0, 0, 0, 0, np.nan, 0]])
"""The row of `_affinities` for a category without an event of the user."""


class FeatureBuilder:
    """Makes the feature matrix of (user, item) pairs: the columns that a version lists, in its order."""

    def __init__(self, names: Sequence[str], statistics: Statistics, scored_sources: Mapping[str, int]) -> None:
        """names: the features wanted; scored_sources: sources whose scores are features, and their columns there.

        Raises ModelError where this code does not make a feature from these statistics and sources.
        """
        self._statistics = statistics
        self._score_columns = list(scored_sources.values())
        made = (
            *USER,
            *statistics.item_columns,
            *statistics.category_columns,
            *CODES,
            *PAIR,
            *AFFINITY,
            *map(source_feature, scored_sources),
            "n_sources",
            *STAGE_FEATURES,
        )
        if unknown := [name for name in names if name not in made]:
            raise ModelError(f"this code does not make the features {', '.join(unknown[:5])}")
        wanted = [made.index(name) for name in names]
        self._wanted = None if wanted == list(range(len(made))) else wanted
        self._fractions = [
            [made.index(f"{thing}_fraction_{speed}") for thing in ("pair", "category", "parent")] for speed in SPEEDS
        ]

    def __call__(
        self,
        profiles: Profiles,
        users: np.ndarray,
        items: np.ndarray,
        source_scores: np.ndarray,
        stage_features: np.ndarray,
    ) -> np.ndarray:
        """float32 (n_pairs, n_features), C order.

        What depends on a user, or on what a user did with an item or a category, is computed once and looked up by the
        pairs: they are many more, and a request waits for each call of NumPy.

        users: int64 (n_pairs,), positions in `profiles`; items: int32 (n_pairs,)
        source_scores: float32 (n_pairs, n_sources), NaN where a source did not propose the item
        stage_features: float (n_pairs, len(STAGE_FEATURES))
        """
        met = profiles.by_item.find(users, items)
        blocks = (
            _users(profiles).take(users, axis=0),
            self._statistics.items.take(items, axis=0),
            _categories(self._statistics, items),
            _pairs(profiles).take(met, axis=0),
            *_affinities(profiles, self._statistics, met, users, items),
            *self._sources(source_scores),
            stage_features,
        )
        matrix = np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")
        # A fraction of nothing is no number.
        for columns, silent in zip(self._fractions, (profiles.totals == 0).T, strict=True):
            if silent.any():
                matrix[np.ix_(silent[users], columns)] = np.nan
        return matrix if self._wanted is None else matrix.take(self._wanted, axis=1)

    def _sources(self, scores: np.ndarray) -> list[np.ndarray]:
        """The scores that are features, and the number of sources that proposed the item."""
        return [scores[:, self._score_columns], (~np.isnan(scores)).sum(axis=1, keepdims=True)]


def _users(profiles: Profiles) -> np.ndarray:
    """What depends on the user alone, (n_users, len(USER)); NaN where the user has no event."""
    histories, by_item, n_users = profiles.histories, profiles.by_item, len(profiles)
    events = histories.lengths
    some = events.nonzero()[0]
    newest, oldest = np.full((2, n_users), np.nan)
    newest[some] = histories.times[histories.offsets[some + 1] - 1]
    oldest[some] = histories.times[histories.offsets[some]]
    day = np.floor(newest / DAY)
    weekday = day % 7
    bought = by_item.counts[:, PURCHASE]
    kinds = (bought, bought > 0, by_item.purchase_days > 1, np.ones(len(by_item.users)))
    purchases, buyers, repeaters, items = sums_within(by_item.users, np.column_stack(kinds), n_users).T
    columns = {
        "user_events": events,
        "user_purchases": purchases,
        "user_purchase_rate": _ratio(purchases, events),
        "user_items": items,
        "user_categories": np.bincount(profiles.by_category.users, minlength=n_users),
        "user_recent_events": profiles.totals[:, SPEEDS.index("medium")],
        "user_days_idle": (profiles.now - newest) / DAY,
        "user_days_known": (profiles.now - oldest) / DAY,
        "user_repeat_fraction": _ratio(repeaters, buyers),
        "user_session_events": profiles.session_events,
        "last_hour": np.floor((newest - day * DAY) / 3_600_000),
        "last_weekday": weekday,
        "last_weekend": np.where(events > 0, (weekday == 2) | (weekday == 3), np.nan),
    }
    return _table(n_users, USER, columns)


def _categories(statistics: Statistics, items: np.ndarray) -> np.ndarray:
    """Statistics and codes of the items' categories, (n_pairs, n_columns + 2); NaN without a category."""
    category = statistics.category[items]
    if not len(statistics.categories):
        return np.full((len(items), len(statistics.category_columns) + len(CODES)), np.nan, np.float32)
    codes = np.column_stack((category, statistics.levels[items, 0])).astype(np.float32)
    columns = np.concatenate((statistics.categories[category], codes), axis=1)
    columns[category == UNKNOWN] = np.nan
    return columns


def _pairs(profiles: Profiles) -> np.ndarray:
    """Features of each row of `profiles.by_item`, and in a last row those of a user and an item that never met.

    float32 (n_rows + 1, len(PAIR)); the row UNKNOWN, -1, is the last one.
    """
    rows, now = profiles.by_item, profiles.now
    bought, days = rows.last[:, PURCHASE], rows.purchase_days
    repeated = days > 1
    interval = (bought - np.where(repeated, rows.first_purchase, bought)) / DAY / np.maximum(days - 1, 1)
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
        "pair_cart_open": rows.last[:, CART] > bought,
        "pair_in_session": rows.newest >= profiles.session_start[rows.users],
    }
    return np.concatenate((_table(len(days), PAIR, columns), NEVER_MET[None]))


def _affinities(
    profiles: Profiles, statistics: Statistics, met: np.ndarray, users: np.ndarray, items: np.ndarray
) -> list[np.ndarray]:
    """The user's interest in the item's category and its parent; blocks of (n_pairs, n_columns)."""
    depth, n_users = statistics.levels.shape[1], len(profiles)
    levels = np.array([depth - 1, max(depth - 2, 0)])[:, None]
    near = profiles.by_level.find((levels * n_users + users).ravel(), statistics.levels[items, levels].ravel())
    rows, slow = profiles.by_level, SPEEDS.index("slow")
    fractions = _ratio(rows.decayed, profiles.totals[rows.users % max(n_users, 1)])
    purchases = rows.counts[:, PURCHASE]
    table = np.column_stack((fractions, purchases, days_since(profiles.now, rows.newest), rows.decayed[:, slow]))
    category, parent = np.append(table, NO_AFFINITY, axis=0).take(near.reshape(len(levels), -1), axis=0)
    item_weight = np.append(profiles.by_item.decayed[:, slow], 0)[met]
    item_fraction = _ratio(item_weight, category[:, -1])
    return [*(level[:, : len(SPEEDS)] for level in (category, parent)), category[:, 3:-1], item_fraction[:, None]]


def _table(n_rows: int, names: Sequence[str], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Columns side by side in the order of the names, float32 (n_rows, len(names))."""
    table = np.empty((n_rows, len(names)), np.float32)
    for position, name in enumerate(names):
        table[:, position] = columns[name]
    return table


def days_since(now: int, times: np.ndarray) -> np.ndarray:
    """Days from `times` (ms) to `now`, NaN for NEVER; float64."""
    never = times == NEVER
    days = (now - np.where(never, now, times)) / DAY
    days[never] = np.nan
    return days


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
