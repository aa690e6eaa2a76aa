"""Values of items that change over time. NumPy and Arrow only."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Records:
    """Values of one property in any order.

    items: int32 (n,), item codes; times: int64 (n,), ms; values: (n,)
    """

    items: np.ndarray
    times: np.ndarray
    values: pa.Array


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """The changes of one property of all items, ordered by (item, time).

    items: int32 (n,), item codes
    times: int64 (n,), ms; the value is valid from this time on
    values: (n,), of any type
    """

    items: np.ndarray
    times: np.ndarray
    values: np.ndarray

    @classmethod
    def build(cls, items: np.ndarray, times: np.ndarray, values: np.ndarray) -> "ChangeLog":
        """The log of records that come in any order. Of several values at one time the largest is taken."""
        order = np.lexsort((values, times, items))
        items, times, values = items[order], times[order], values[order]
        same_item = items[1:] == items[:-1]
        last_at_time = np.append(~(same_item & (times[1:] == times[:-1])), True)[: len(items)]
        items, times, values = items[last_at_time], times[last_at_time], values[last_at_time]
        changed = np.insert((items[1:] != items[:-1]) | (values[1:] != values[:-1]), 0, True)[: len(items)]
        return cls(items[changed].astype(np.int32), times[changed].astype(np.int64), values[changed])

    def as_of(self, time: int, unknown: np.ndarray) -> np.ndarray:
        """The last value of each item at or before `time` (ms), (n_items,).

        unknown: (n_items,), the values of items without one
        """
        past = self.times <= time
        last = past.copy()
        last[:-1] &= ~(past[1:] & (self.items[1:] == self.items[:-1]))
        result = unknown.copy()
        result[self.items[last]] = self.values[last]
        return result
