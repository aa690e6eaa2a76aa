"""Event histories of users as flat arrays. All modules pass events on in this form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of, ragged_indices, rows_of
from recsys.schema import EVENT_TYPES


@dataclass(frozen=True, slots=True)
class Histories:
    """Events of some users, user after user. The events of a user are ordered by (time, item, event).

    offsets: int64 (n_users + 1,); user u has the rows offsets[u]:offsets[u + 1]
    items: int32 (n_events,), item codes
    events: int8 (n_events,), positions in EVENT_TYPES
    times: int64 (n_events,), ms since 1970 UTC
    """

    offsets: np.ndarray
    items: np.ndarray
    events: np.ndarray
    times: np.ndarray

    @classmethod
    def build(
        cls, users: np.ndarray, items: np.ndarray, events: np.ndarray, times: np.ndarray, n_users: int
    ) -> "Histories":
        """Histories of events that come in any order; users: int (n_events,) in [0, n_users)."""
        order = np.lexsort((events, items, times, users))
        return cls(
            offsets_of(np.bincount(users, minlength=n_users)),
            items[order].astype(np.int32, copy=False),
            events[order].astype(np.int8, copy=False),
            times[order].astype(np.int64, copy=False),
        )

    @classmethod
    def empty(cls, n_users: int) -> "Histories":
        """Users without events."""
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros(n_users + 1, np.int64), nothing.astype(np.int32), nothing.astype(np.int8), nothing)

    @classmethod
    def concat(cls, parts: Sequence["Histories"]) -> "Histories":
        """The users of all parts, part after part."""
        return cls(
            offsets_of(np.concatenate([part.lengths for part in parts])),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.events for part in parts]),
            np.concatenate([part.times for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """The number of events of each user, int64 (n_users,)."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def rows(self) -> np.ndarray:
        """The position of the user of each event, int64 (n_events,)."""
        return np.arange(len(self)).repeat(self.lengths)

    def where(self, keep: np.ndarray) -> "Histories":
        """The events where `keep`, bool (n_events,), is true. Users without remaining events stay in the result."""
        kept = np.concatenate(([0], np.cumsum(keep)))
        return Histories(kept[self.offsets], self.items[keep], self.events[keep], self.times[keep])

    def until(self, time: int) -> "Histories":
        """The events at or before `time` (ms)."""
        return self.where(self.times <= time)

    def between(self, start: int, end: int) -> "Histories":
        """The events after `start` and at or before `end` (ms)."""
        return self.where((self.times > start) & (self.times <= end))

    def take(self, users: np.ndarray) -> "Histories":
        """The histories of some users, in the order given; users: int (n,)."""
        index, lengths = rows_of(users, self.offsets)
        return Histories(offsets_of(lengths), self.items[index], self.events[index], self.times[index])

    def latest(self, limit: int) -> "Histories":
        """The last `limit` events of each user."""
        lengths = self.lengths
        if lengths.max(initial=0) <= limit:
            return self
        lengths = np.minimum(lengths, limit)
        index = ragged_indices(self.offsets[1:] - lengths, lengths)
        return Histories(offsets_of(lengths), self.items[index], self.events[index], self.times[index])

    def counts(self) -> np.ndarray:
        """The number of events of each user and type, int64 (n_users, n_types)."""
        n_types = len(EVENT_TYPES)
        flat = np.bincount(self.rows * n_types + self.events, minlength=len(self) * n_types)
        return flat.reshape(len(self), n_types)
