"""Stray events: a few rows far before or after all others, which would move the windows of training.

Only the other events tell whether a log has dates without a time of day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.data.layout.midnight import midnights
from recsys.schema import DAY

FRACTION: Final = 0.001
"""Fewer rows than this fraction beyond a gap are strays."""
GAP_DAYS: Final = 7
"""Least days of a gap to stray events."""
GAP_FRACTION: Final = 0.1
"""Least length of a gap to stray events, as a fraction of the span of the other events."""
STRAY: Final = "far from all other events"


@dataclass(frozen=True, slots=True)
class Days:
    """The days with events, in their order.

    first, last: int64 (n,), times of the oldest and the newest event of each day (ms)
    count: int64 (n,), events of each day
    midnight: bool (n, 2), whether all events of the day are midnights of UTC, and of the log's zone
    """

    first: np.ndarray
    last: np.ndarray
    count: np.ndarray
    midnight: np.ndarray


def count_times(times: np.ndarray, zone: str = "UTC") -> Days:
    """The days of some times, int64 (n,), in ms; zone: that of the log's dates."""
    ordered = np.sort(times)
    starts = np.flatnonzero(np.diff(ordered // DAY, prepend=ordered[:1] // DAY - 1))
    ends = np.append(starts, len(ordered))[1:]
    midnight = np.logical_and.reduceat(midnights(ordered, zone), starts) if len(ordered) else np.ones((0, 2), bool)
    return Days(ordered[starts], ordered[ends - 1], ends - starts, midnight)


def merge_times(parts: Sequence[Days]) -> Days:
    """The days of all parts."""
    first, last, count = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
        for name in ("first", "last", "count")
    )
    days, place = np.unique(first // DAY, return_inverse=True)
    n = len(days)
    none = np.full(n, np.iinfo(np.int64).max), np.zeros(n, np.int64), np.zeros_like(days), np.ones((n, 2), bool)
    merged = Days(*none)
    np.minimum.at(merged.first, place, first)
    np.maximum.at(merged.last, place, last)
    np.add.at(merged.count, place, count)
    midnight = np.concatenate([np.ones((0, 2), bool), *(part.midnight for part in parts)])
    np.logical_and.at(merged.midnight, place, midnight)
    return merged


def is_dates(days: Days, start: int, end: int) -> bool:
    """Whether the events of a range (ms) are dates without a time of day: midnights of UTC, or those of the zone."""
    within = (days.last >= start) & (days.first <= end)
    return bool(days.midnight[within].all(axis=0).any())


def usual_range(days: Days) -> tuple[int, int]:
    """The times of the oldest and the newest event that is no stray (ms); days: at least one.

    The range begins as all days but the outer groups that are small enough to be strays. It grows by the next group at
    either end while the gap to that group is short. So the result does not depend on the order of the steps.
    """
    gaps = np.flatnonzero(days.first[1:] - days.last[:-1] >= GAP_DAYS * DAY) + 1
    limit = FRACTION * days.count.sum()
    before = np.append(0, days.count.cumsum())
    low_ends = [0, *(int(gap) for gap in gaps if before[gap] < limit)]
    high_ends = [*(int(gap) for gap in gaps if before[-1] - before[gap] < limit), len(days.count)]
    low, high = len(low_ends) - 1, 0
    grown = True
    while grown:
        grown = False
        start, stop = low_ends[low], high_ends[high]
        least = GAP_FRACTION * (days.last[stop - 1] - days.first[start])
        if low > 0 and days.first[start] - days.last[start - 1] < least:
            low, grown = low - 1, True
        if high < len(high_ends) - 1 and days.first[stop] - days.last[stop - 1] < least:
            high, grown = high + 1, True
    return int(days.first[low_ends[low]]), int(days.last[high_ends[high] - 1])
