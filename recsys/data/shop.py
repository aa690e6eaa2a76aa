"""Parts of the validated data of a shop. No Ray."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from recsys.data.catalog import TreeProblems
from recsys.histories import Histories


@dataclass(frozen=True, slots=True)
class UserPartition:
    """Some users and all their events.

    users: ids, int64 or string, ascending; users[u] is the id of user u of `histories`
    orders: int32 (n_events,), the order that each event of `histories` belongs to, UNKNOWN where the log names none.
        Codes count the orders of this partition; no order has events of two users. None if no event has an order.
    """

    users: pa.Array
    histories: Histories
    orders: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class DailyCounts:
    """Numbers of events by item, age and type, in this order.

    The age of an event is the whole days from it to the newest event. Events of age >= days are exactly those at or
    before `cut(end, days)`.
    item: int32 (n,); age: int32 (n,); event: int8 (n,); count: int64 (n,)
    """

    item: np.ndarray
    age: np.ndarray
    event: np.ndarray
    count: np.ndarray


@dataclass(frozen=True, slots=True)
class PropertyQuality:
    """Numbers of rows of item properties and of the category tree.

    read, kept: a row of a table with a row for each item counts once for each property that it has
    not_asked: rows of properties that the settings do not keep
    unknown_item: rows of items without an event
    quarantined, tree_quarantined: rows by reason
    tree: problems of the tree as a whole
    """

    read: int
    kept: int
    not_asked: int
    unknown_item: int
    quarantined: dict[str, int]
    tree_quarantined: dict[str, int]
    tree: TreeProblems


@dataclass(frozen=True, slots=True)
class Quality:
    """Numbers of the rows that were read, kept and quarantined.

    events_quarantined: rows by reason
    duplicates: rows equal to another row in every column, which are dropped
    blank_transactions: purchases without a transaction id, which are kept
    quarantine: address of the Parquet file of all quarantined rows, None if there are none
    events_left_out: rows that do not fulfil the conditions of `data.events.where`
    event_words: rows of each event type, in the words of the files; none for files without a column of types
    """

    events_read: int
    events_kept: int
    events_quarantined: dict[str, int]
    duplicates: int
    blank_transactions: int
    properties: PropertyQuality
    quarantine: str | None = None
    events_left_out: int = 0
    event_words: dict[str, int] = field(default_factory=dict)
