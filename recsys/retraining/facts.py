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
AMOUNTS: Final = ("item_recent_views", "item_recent_carts", "item_recent_purchases", "item_popularity")
ITEM_FEATURES: Final = (*AMOUNTS, "item_cart_rate", "item_purchase_rate")
"""The statistics of items whose drift is measured. Others, such as the days since the first event, move with time."""
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
            **user_features(opened.snapshot.histories, manifest.live_watermark),
        },
    )


def with_category(statistics: Statistics) -> float:
    """The fraction of the items with events that has a category, 0 without such items."""
    met = has_events(statistics)
    return float((statistics.category[met] != UNKNOWN).mean()) if met.any() else 0.0


def has_events(statistics: Statistics) -> np.ndarray:
    """Whether each item has an event, bool (n_items,)."""
    return ~np.isnan(statistics.item("item_views"))


def item_features(statistics: Statistics, attributes: Sequence[AttributeSpec]) -> dict[str, np.ndarray]:
    """Statistics and numeric attributes of the items with a recent event, float (n,) each.

    Amounts of events are divided by their mean: how many events there are is no drift, see the gate on events.
    """
    numbers = [f"attr_{spec.name}" for spec in attributes if spec.kind == "number"]
    names = [name for name in (*ITEM_FEATURES, *numbers) if name in statistics.item_columns]
    recent = [statistics.item(name) for name in names if name.startswith("item_recent_")]
    met = np.nansum(recent, axis=0) > 0
    values = {name: statistics.item(name)[met].astype(np.float64) for name in names}
    return {name: _relative(column) if name in AMOUNTS else column for name, column in values.items()}


def _relative(values: np.ndarray) -> np.ndarray:
    """The values, float (n,), divided by their mean; as they are if all are 0."""
    return values / (values.mean() or 1.0) if len(values) else values


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
