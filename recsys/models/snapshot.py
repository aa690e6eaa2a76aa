"""The users of a version: the newest events of each user, and exact totals of all events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from recsys.arrays import find, offsets_of
from recsys.histories import Histories
from recsys.ids import ID_TYPES, IdKind, Ids
from recsys.schema import EVENT_TYPES, UNKNOWN, Config


class HistoryConfig(Config):
    """The part of a user's past that the models use, the same in training and in serving."""

    max_events: int = Field(2000, ge=1)
    """Newest events of a user that are used; bounds memory and time for the users with the most events."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact totals of the users with more than `max_events` events. Totals of other users follow from their events.

    rows: int64 (n,), ascending positions of the users in the snapshot
    counts: int64 (n, n_types), events by type
    first: int64 (n,), time of the oldest event, ms
    items, categories: int64 (n,), numbers of distinct items and of distinct known categories
    """

    rows: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    items: np.ndarray
    categories: np.ndarray


@dataclass(frozen=True, slots=True)
class UserTotals:
    """Totals over all events of one user.

    counts: events by type, in the order of EVENT_TYPES
    first, last: times of the oldest and the newest event, ms
    items, categories: numbers of distinct items and of distinct known categories
    """

    counts: tuple[int, ...]
    first: int
    last: int
    items: int
    categories: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All users with an event up to the end of a version's data.

    users: the ids of the users; user u of `histories` is users[u]
    histories: the newest events of each user, at most `HistoryConfig.max_events`
    totals: see Totals
    """

    users: Ids
    histories: Histories
    totals: Totals

    def rows(self, ids: pa.Array) -> np.ndarray:
        """The position of each user, int32 (n,), UNKNOWN for users without an event."""
        return self.users.encode(ids)

    def take(self, rows: np.ndarray) -> Histories:
        """Histories of the users at `rows` (int (n,)), in this order; empty where a row is UNKNOWN."""
        known = rows != UNKNOWN
        histories = self.histories.take(rows[known])
        lengths = np.zeros(len(rows), np.int64)
        lengths[known] = histories.lengths
        return Histories(offsets_of(lengths), histories.items, histories.events, histories.times)

    def totals_of(self, row: int, category: np.ndarray) -> UserTotals:
        """Exact totals of the user at `row`; category: int32 (n_items,), codes or UNKNOWN."""
        history = self.histories.take(np.array([row]))
        last = int(history.times[-1])
        heavy = int(find(self.totals.rows, np.array([row]))[0])
        if heavy != UNKNOWN:
            totals = self.totals
            counts, first = tuple(totals.counts[heavy].tolist()), int(totals.first[heavy])
            return UserTotals(counts, first, last, int(totals.items[heavy]), int(totals.categories[heavy]))
        items = np.unique(history.items)
        categories = np.unique(category[items])
        counts = tuple(history.counts()[0].tolist())
        return UserTotals(counts, int(history.times[0]), last, len(items), int((categories != UNKNOWN).sum()))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name. The ids of the users are not among them: they are stored as a table."""
        history = {f"history_{name}": getattr(self.histories, name) for name in Histories.__slots__}
        return history | {f"totals_{name}": getattr(self.totals, name) for name in Totals.__slots__}

    @classmethod
    def from_arrays(cls, users: Ids, arrays: Mapping[str, np.ndarray]) -> "Snapshot":
        """The snapshot stored as `arrays` returns it."""
        return cls(
            users,
            Histories(*(arrays[f"history_{name}"] for name in Histories.__slots__)),
            Totals(*(arrays[f"totals_{name}"] for name in Totals.__slots__)),
        )


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """The rows of some users in a snapshot; see Snapshot and Totals.

    users: Arrow array of ids (n_users,), in the order of `histories`
    totals: its rows are positions in this part
    """

    users: pa.Array
    histories: Histories
    totals: Totals


def snapshot_part(users: pa.Array, histories: Histories, category: np.ndarray, config: HistoryConfig) -> SnapshotPart:
    """The part of a snapshot that holds these users, with at most `config.max_events` events each.

    users: Arrow array of ids (n_users,), in the order of `histories`; category: int32 (n_items,), codes or UNKNOWN
    """
    rows = np.flatnonzero(histories.lengths > config.max_events)
    heavy = histories.take(rows)
    user_items = np.unique(np.stack([heavy.rows, heavy.items.astype(np.int64)]), axis=1)
    user_categories = np.unique(np.stack([user_items[0], category[user_items[1]].astype(np.int64)]), axis=1)
    totals = Totals(
        rows,
        heavy.counts(),
        heavy.times[heavy.offsets[:-1]],
        np.bincount(user_items[0], minlength=len(rows)),
        np.bincount(user_categories[0][user_categories[1] != UNKNOWN], minlength=len(rows)),
    )
    return SnapshotPart(users, histories.latest(config.max_events), totals)


def assemble(parts: Sequence[SnapshotPart], kind: IdKind) -> Snapshot:
    """One snapshot of all parts, ordered by user id. No user may be in two parts."""
    ids = pa.concat_arrays([part.users for part in parts]).cast(ID_TYPES[kind])
    order = pc.sort_indices(ids).to_numpy()
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    starts = offsets_of(np.array([len(part.users) for part in parts]))
    totals = [part.totals for part in parts]
    rows = position[np.concatenate([t.rows + start for t, start in zip(totals, starts, strict=False)])]
    by_row = np.argsort(rows)
    merged = Totals(
        rows[by_row],
        np.concatenate([t.counts for t in totals]).reshape(-1, len(EVENT_TYPES))[by_row],
        *(np.concatenate([getattr(t, name) for t in totals])[by_row] for name in ("first", "items", "categories")),
    )
    return Snapshot(
        Ids(ids.take(pa.array(order))),
        Histories.concat([part.histories for part in parts]).take(order),
        merged,
    )
