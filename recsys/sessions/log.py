"""The sessions of a log, cut at pauses, and their steps."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of, positions, runs
from recsys.histories import Histories


@dataclass(frozen=True, slots=True)
class SessionLog:
    """Sessions in the order of their last events; the events of a session are in the order of time.

    sessions: one row for each session
    owners: int64 (n_sessions,), position of each session's user
    """

    sessions: Histories
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def ends(self) -> np.ndarray:
        """The time of the last event of each session, int64 (n_sessions,), ms."""
        return self.sessions.times[self.sessions.offsets[1:] - 1]

    def take(self, rows: np.ndarray) -> "SessionLog":
        """Some of the sessions; rows: int64 (n,) or bool (n_sessions,)."""
        index = rows.nonzero()[0] if rows.dtype == bool else rows
        return SessionLog(self.sessions.take(index), self.owners[index])


def cut_sessions(histories: Histories, gap_minutes: float) -> SessionLog:
    """All sessions of some users; a pause of more than `gap_minutes` starts a new one."""
    times, rows = histories.times, histories.rows
    starts = np.ones(len(times), bool)
    starts[1:] = (np.diff(times) > gap_minutes * 60_000) | (np.diff(rows) != 0)
    first = starts.nonzero()[0]
    lengths = np.diff(np.append(first, len(times)))
    cut = Histories(offsets_of(lengths), histories.items, histories.events, histories.times)
    owners = rows[first]
    ends = times[first + lengths - 1]
    return SessionLog(cut, owners).take(np.lexsort((owners, ends)))


def step_starts(sessions: Histories) -> np.ndarray:
    """Whether each event starts a step, bool (n_events,).

    An event on the same item as the one before, of another type, continues the step: a view and its add-to-cart are
    one step, and two views are two.
    """
    items, events, rows = sessions.items, sessions.events, sessions.rows
    new = np.ones(len(items), bool)
    new[1:] = (items[1:] != items[:-1]) | (events[1:] == events[:-1]) | (rows[1:] != rows[:-1])
    return new


def steps_of(sessions: Histories) -> Histories:
    """The sessions with one event for each step, see `step_starts`. A step has its strongest type and its last time."""
    new = step_starts(sessions)
    if new.all():
        return sessions
    first = new.nonzero()[0]
    last = np.append(first[1:], len(new)) - 1
    before = np.append(0, np.cumsum(new))
    return Histories(
        before[sessions.offsets],
        sessions.items[first],
        np.maximum.reduceat(sessions.events, first),
        sessions.times[last],
    )


@dataclass(frozen=True, slots=True)
class Steps:
    """The newest distinct items of each session, session after session, the newest first.

    rows: int64 (n,), session; items: int32 (n,)
    distance: int64 (n,), steps from the item's last step to the session's last step
    slot: int64 (n,), rank of the item in its session, 0 for the last item
    weight: float64 (n,), weight of the type of the item's last step
    count: int64 (n,), steps on the item
    strongest: int8 (n,), strongest type of these steps
    """

    rows: np.ndarray
    items: np.ndarray
    distance: np.ndarray
    slot: np.ndarray
    weight: np.ndarray
    count: np.ndarray
    strongest: np.ndarray

    def where(self, keep: np.ndarray) -> "Steps":
        """The rows where `keep`, bool (n,), is true."""
        return Steps(*(getattr(self, name)[keep] for name in self.__slots__))


def distinct_steps(sessions: Histories, n_items: int, weights: tuple[float, ...], limit: int) -> Steps:
    """The `limit` newest distinct items of each session; sessions: with one event for each step."""
    rows = sessions.rows
    distance = sessions.offsets[1:][rows] - 1 - np.arange(len(rows))
    keys = (rows * n_items + sessions.items) * (1 << 20) + np.minimum(distance, (1 << 20) - 1)
    order = keys.argsort()
    starts, run = runs(rows[order] * n_items + sessions.items[order])
    newest = order[starts]
    count = np.bincount(run, minlength=len(starts))
    strongest = np.maximum.reduceat(sessions.events[order], starts) if len(starts) else np.zeros(0, np.int8)
    by_time = (rows[newest] * (1 << 20) + distance[newest]).argsort()
    newest, count, strongest = newest[by_time], count[by_time], strongest[by_time]
    slot = positions(rows[newest])
    every = Steps(
        rows[newest],
        sessions.items[newest],
        distance[newest],
        slot,
        np.array(weights)[sessions.events[newest]],
        count,
        strongest,
    )
    return every if slot.max(initial=0) < limit else every.where(slot < limit)
