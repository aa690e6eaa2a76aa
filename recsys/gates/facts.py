"""The facts about data that the gates of retraining look at; no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.data.attributes import AttributeSpec
from recsys.data.shop import DailyCounts
from recsys.features.statistics import Statistics
from recsys.histories import Histories
from recsys.registry.bundle import Bundle
from recsys.schema import DAY, EVENT_TYPES, UNKNOWN

RECENT_DAYS: Final = 30
"""Days before the newest event of whose events the features of users tell."""
HOUR: Final = 3_600_000
RECENT: Final = ("item_recent_views", "item_recent_carts", "item_recent_purchases")
OTHERS: Final = ("item_popularity", "item_views", "item_carts", "item_purchases")
"""RECENT, OTHERS: the statistics of items that the features are made of."""
OVER_RECENT_DAYS: Final = (*RECENT, "user_recent_events", "user_days_idle")
"""Features that are counted over the recent days."""
MOST_USERS: Final = 200_000
"""Users whose features are looked at, so that memory is bounded. Chance then moves a drift by less than 0.001."""
DAYS_OF_WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Facts about data, or about the data that a version was trained on.

    ids: the types of ids by "user" and "item"
    events: number of events by type; days: from the first event to the last
    links: links of the category tree; with_category: fraction of the items with events that has a category
    attributes: names of the attributes of items that models read
    features: values by the name of the feature, float (n,), NaN for a missing value
    """

    ids: Mapping[str, str]
    events: Mapping[str, int]
    days: float
    links: int
    with_category: float
    attributes: tuple[str, ...]
    features: Mapping[str, np.ndarray]


def facts_of_version(opened: Bundle) -> DataFacts:
    """The facts about the data of a version."""
    manifest, statistics = opened.manifest, opened.tables.statistics
    span = manifest.date_range
    return DataFacts(
        ids={"user": opened.snapshot.users.kind, "item": opened.items.kind},
        events=manifest.counts.events,
        days=(span.end - span.start) / DAY,
        links=int((opened.parents != UNKNOWN).sum()),
        with_category=with_category(statistics),
        attributes=tuple(spec.name for spec in manifest.attributes or ()),
        features={
            **item_features(statistics, manifest.attributes or ()),
            **user_features(sample(opened.snapshot.histories, len(opened.snapshot.users)), manifest.live_watermark),
        },
    )


def with_category(statistics: Statistics) -> float:
    """The fraction of the items with events that has a category, 0 without such items."""
    met = has_events(statistics)
    return float((statistics.category[met] != UNKNOWN).mean()) if met.any() else 0.0


def has_events(statistics: Statistics) -> np.ndarray:
    """Whether each item has an event, bool (n_items,)."""
    return ~np.isnan(statistics.items[:, 0])


def item_features(statistics: Statistics, attributes: Sequence[AttributeSpec]) -> dict[str, np.ndarray]:
    """Features of the items with a recent event, float (n,) each: of their events, and their numeric attributes.

    Other statistics are left out. Some move with time, such as the days since the first event. In smoothed rates a
    small change of the overall rate moves all items at once. An older version without one of the columns has none.
    """
    if not {*RECENT, *OTHERS} <= set(statistics.item_columns):
        return {}
    recent = {name: statistics.item(name) for name in RECENT}
    met = np.nansum(list(recent.values()), axis=0) > 0
    numbers = [f"attr_{spec.name}" for spec in attributes if spec.kind == "number"]
    popularity = statistics.item("item_popularity")
    features = {
        **recent,
        "item_popularity": popularity / (popularity[met].mean() if met.any() else 1.0),
        "item_carts_per_view": _ratio(statistics, "item_carts", "item_views"),
        "item_purchases_per_view": _ratio(statistics, "item_purchases", "item_views"),
        **{name: statistics.item(name) for name in numbers if name in statistics.item_columns},
    }
    return {name: values[met].astype(np.float64) for name, values in features.items()}


def _ratio(statistics: Statistics, part: str, whole: str) -> np.ndarray:
    """The ratio of two columns, float (n_items,), NaN where the second is 0."""
    total = statistics.item(whole)
    return np.where(total > 0, statistics.item(part) / np.maximum(total, 1), np.nan)


def sample(histories: Histories, n_users: int) -> Histories:
    """Every so many-th user's history, so that of all users at most MOST_USERS are left.

    histories: of all users or of a part of them; n_users: number of all users
    """
    step = -(-n_users // MOST_USERS)
    return histories if step <= 1 else histories.take(np.arange(0, len(histories), step))


def user_features(histories: Histories, end: int) -> dict[str, np.ndarray]:
    """Features of the users with recent events, and of these events, float (n,) each; end: of the recent days, ms."""
    recent = histories.between(end - RECENT_DAYS * DAY, end)
    active = recent.lengths > 0
    newest = recent.times[recent.offsets[1:][active] - 1]
    features = {
        "user_recent_events": recent.lengths[active],
        "user_days_idle": (end - newest) // DAY,
        "event": recent.events,
        "hour": recent.times % DAY // HOUR,
    }
    return {name: values.astype(np.float64) for name, values in features.items()}


def events_by_week(daily: DailyCounts, days: float) -> np.ndarray:
    """Events of each whole week, the newest first, and of each type: int64 (n_weeks, n_types); days: of the log."""
    n_weeks, n_types = int(days // DAYS_OF_WEEK), len(EVENT_TYPES)
    inside = daily.age < n_weeks * DAYS_OF_WEEK
    cell = daily.age[inside] // DAYS_OF_WEEK * n_types + daily.event[inside]
    return np.bincount(cell, daily.count[inside], minlength=n_weeks * n_types).astype(np.int64).reshape(-1, n_types)
