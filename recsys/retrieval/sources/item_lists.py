"""Lists of popular items as of a cut, the same for all users."""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from recsys.features.statistics import Statistics
from recsys.retrieval.sources.base import Scored
from recsys.schema import EventType
from recsys.specs import Arrays, ArraySpec

COLUMNS: Final[Mapping[EventType, str]] = {"view": "views", "addtocart": "carts", "transaction": "purchases"}
"""The word for each event type in the names of item statistics."""


def list_specs(source: str) -> dict[str, ArraySpec]:
    """Specs of the arrays of a source whose table is one list of distinct items."""
    length = f"{source} items"
    return {"items": ArraySpec("i4", (length,), 0, "items", largest={length: "items"})}


def interest(statistics: Statistics) -> np.ndarray:
    """Decayed weighted events of each item, float64 (n_items,), 0 without events."""
    return np.nan_to_num(statistics.item("item_popularity"))


def top_items(
    statistics: Statistics, targets: tuple[EventType, ...], span: Literal["item", "item_recent"], size: int
) -> Arrays:
    """A table with the list of the available items with the most target events; items: int32 (n,), n <= size.

    Decayed interest breaks ties. If too few items have target events, it fills the list up. Further ties go to the
    smaller item code.
    span: "item" counts all events, "item_recent" the events of the recent window
    """
    events = sum(np.nan_to_num(statistics.item(f"{span}_{COLUMNS[name]}")) for name in targets)
    decayed = interest(statistics)
    score = np.where(statistics.available, events + decayed / (decayed.max(initial=0.0) + 1), 0.0)
    order = np.argsort(-score, kind="stable")[:size]
    return {"items": order[score[order] > 0].astype(np.int32)}


def for_everybody(items: np.ndarray, n_users: int) -> Scored:
    """The same list for each of `n_users` users, scored 1 / position: 1, 1/2, 1/3, …"""
    users = np.repeat(np.arange(n_users), len(items))
    return Scored(users, np.tile(items, n_users), np.tile(1.0 / np.arange(1, len(items) + 1), n_users))
