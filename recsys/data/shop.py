"""Parts of a shop's validated data; no Ray."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys.data.catalog import TreeProblems
from recsys.histories import Histories


@dataclass(frozen=True, slots=True)
class UserPartition:
    """Some of the users and everything they did.

    users: ids, int64 or string, ascending; user u of `histories` is users[u]
    """

    users: pa.Array
    histories: Histories


@dataclass(frozen=True, slots=True)
class DailyCounts:
    """Events by item, age and type, ordered so; ages are whole days before the newest event, whose age is 0.

    The events at or before `cut(end, days)` are exactly those of age >= days.
    item: int32 (n,), age: int32 (n,), event: int8 (n,), count: int64 (n,)
    """

    item: np.ndarray
    age: np.ndarray
    event: np.ndarray
    count: np.ndarray


@dataclass(frozen=True, slots=True)
class PropertyQuality:
    """What became of the rows of item properties and of the category tree; quarantined: rows by reason."""

    read: int
    kept: int
    not_asked: int
    unknown_item: int
    quarantined: dict[str, int]
    tree_quarantined: dict[str, int]
    tree: TreeProblems


@dataclass(frozen=True, slots=True)
class Quality:
    """What became of the rows that were read; quarantined: rows by reason.

    blank_transactions: purchases without a transaction id, which are kept
    quarantine: the Parquet file that lists every row set aside, None where there is none
    """

    events_read: int
    events_kept: int
    events_quarantined: dict[str, int]
    duplicates: int
    blank_transactions: int
    properties: PropertyQuality
    quarantine: str | None = None
