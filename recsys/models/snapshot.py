"""Users' histories as a bundle keeps them: the newest events of each user, and exact totals beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from recsys.arrays import find, offsets_of
from recsys.histories import Histories
from recsys.ids import IdKind, Ids
from recsys.schema import EVENT_TYPES, UNKNOWN, Config


class HistoryConfig(Config):
    """How much of a user's past the models look at, in training and in serving alike."""

    max_events: int = Field(2000, ge=1)
    """Newest events of a user that count; bounds memory and time for the heaviest users."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact totals of the users whose history was cut; those of the others follow from their events.

    rows: int64 (n,), ascending positions in the snapshot
    counts: int64 (n, n_types), events by type; first: int64 (n,), ms of the oldest event
    items, categories: int64 (n,), distinct items and distinct known categories
    """

    rows: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    items: np.ndarray
    categories: np.ndarray


@dataclass(frozen=True, slots=True)
class UserTotals:
    """What one user did in all.

    counts: events by type; first, last: ms of the oldest and newest event; items, categories: distinct ones, of
    categories the known
    """

    counts: tuple[int, ...]
    first: int
    last: int
    items: int
    categories: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All users up to the bundle's end.

    users: their ids; user u of `histories` is users[u]
    histories: at most `HistoryConfig.max_events` newest events of each user
    """

    users: Ids
    histories: Histories
    totals: Totals

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Positions of users, int32 (n,), UNKNOWN where the bundle has no event of them."""
        return self.users.encode(ids)

    def take(self, rows: np.ndarray) -> Histories:
        """Histories of the users at `rows`, empty where a row is UNKNOWN."""
        known = rows != UNKNOWN
        some = self.histories.take(rows[known])
        lengths = np.zeros(len(rows), np.int64)
        lengths[known] = some.lengths
        return Histories(offsets_of(lengths), some.items, some.events, some.times)

    def totals_of(self, row: int, category: np.ndarray) -> UserTotals:
        """Exact totals of the user at `row`; category: int32 (n_items,), codes or UNKNOWN."""
        history = self.histories.take(np.array([row]))
        last = int(history.times[-1])
        at = int(find(self.totals.rows, np.array([row]))[0])
        if at != UNKNOWN:
            totals = self.totals
            counts = tuple(totals.counts[at].tolist())
            return UserTotals(counts, int(totals.first[at]), last, int(totals.items[at]), int(totals.categories[at]))
        items = np.unique(history.items)
        known = np.unique(category[items])
        counts = tuple(history.counts()[0].tolist())
        return UserTotals(counts, int(history.times[0]), last, len(items), int((known != UNKNOWN).sum()))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name; the users' ids are a table of their own."""
        history = {f"history_{name}": getattr(self.histories, name) for name in Histories.__slots__}
        return history | {f"totals_{name}": getattr(self.totals, name) for name in Totals.__slots__}

    @classmethod
    def from_arrays(cls, users: Ids, arrays: Mapping[str, np.ndarray]) -> "Snapshot":
        return cls(
            users,
            Histories(*(arrays[f"history_{name}"] for name in Histories.__slots__)),
            Totals(*(arrays[f"totals_{name}"] for name in Totals.__slots__)),
        )


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """The share of some users in a snapshot; see Snapshot and Totals."""

    users: pa.Array
    histories: Histories
    totals: Totals


def snapshot_part(users: pa.Array, histories: Histories, category: np.ndarray, config: HistoryConfig) -> SnapshotPart:
    """Cut histories to size; category: int32 (n_items,), codes or UNKNOWN."""
    rows = np.flatnonzero(histories.lengths > config.max_events)
    heavy = histories.take(rows)
    pairs = np.unique(np.stack([heavy.rows, heavy.items.astype(np.int64)]), axis=1)
    kinds = np.unique(np.stack([pairs[0], category[pairs[1]].astype(np.int64)]), axis=1)
    totals = Totals(
        rows,
        heavy.counts(),
        heavy.times[heavy.offsets[:-1]],
        np.bincount(pairs[0], minlength=len(rows)),
        np.bincount(kinds[0][kinds[1] != UNKNOWN], minlength=len(rows)),
    )
    return SnapshotPart(users, histories.latest(config.max_events), totals)


def assemble(parts: Sequence[SnapshotPart], kind: IdKind) -> Snapshot:
    """One snapshot of disjoint users, ordered by id."""
    ids = pa.concat_arrays([part.users for part in parts]).cast(pa.int64() if kind == "int64" else pa.string())
    order = pc.sort_indices(ids).to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    starts = offsets_of(np.array([len(part.users) for part in parts]))
    totals = [part.totals for part in parts]
    rows = place[np.concatenate([t.rows + start for t, start in zip(totals, starts, strict=False)])]
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
