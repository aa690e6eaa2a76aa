"""The sessions of a log up to a cut, and the labelled prefixes of the window after it, from partitions of users.

The results do not depend on the partitions: ties are broken, and prefixes are drawn, by hashes of the users' ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.arrays import positions
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.ids import fractions
from recsys.sessions.log import SessionLog, cut_sessions
from recsys.sessions.prefixes import Prefixes, labelled
from recsys.timeline import Cut

GOLDEN: Final = 0.618033988749895
"""Multiples of the golden ratio modulo 1 lie evenly, so a draw spreads over the prefixes of a user."""


@dataclass(frozen=True, slots=True)
class SessionPart:
    """Sessions of some users; keys: float64 (n_sessions,), the hash of each session's user, on [0, 1)."""

    log: SessionLog
    keys: np.ndarray


@dataclass(frozen=True, slots=True)
class WindowPart:
    """Labelled prefixes of a window.

    known: the events of each prefix's user up to the cut
    keys: float64 (n,), on [0, 1); the prefixes with the smallest keys are the drawn ones
    total: number of all prefixes of the window, before the draw
    """

    prefixes: Prefixes
    known: Histories
    keys: np.ndarray
    total: int

    def take(self, rows: np.ndarray) -> "WindowPart":
        """Some of the prefixes; rows: int64 (n,)."""
        return WindowPart(self.prefixes.take(rows), self.known.take(rows), self.keys[rows], self.total)

    def drawn(self, limit: int) -> "WindowPart":
        """The `limit` prefixes with the smallest keys, in the order of the keys."""
        return self.take(np.lexsort((self.prefixes.targets, self.keys))[:limit])


def past_sessions(partition: UserPartition, cut: Cut, gap_minutes: float, limit: int, seed: int) -> SessionPart:
    """The `limit` newest sessions of a partition's events up to the cut."""
    log = cut_sessions(partition.histories.until(cut.time), gap_minutes)
    log = log.take(np.arange(max(len(log) - limit, 0), len(log)))
    return SessionPart(log, fractions(partition.users, "sessions", seed)[log.owners])


def joined_sessions(parts: Sequence[SessionPart]) -> SessionLog:
    """The sessions of all parts in the order of their ends."""
    histories = Histories.concat([part.log.sessions for part in parts])
    log = SessionLog(histories, np.concatenate([part.log.owners for part in parts]))
    return log.take(np.lexsort((np.concatenate([part.keys for part in parts]), log.ends)))


def window_prefixes(
    partition: UserPartition, cut: Cut, end: int, gap_minutes: float, limits: tuple[int, int], seed: int
) -> WindowPart:
    """The drawn prefixes of sessions that begin after the cut and lie before `end` (ms).

    limits: largest numbers of prefixes and of events of a user's history
    """
    log = cut_sessions(partition.histories.until(end), gap_minutes)
    log = log.take(log.sessions.times[log.sessions.offsets[:-1]] > cut.time)
    prefixes = labelled(log)
    order = np.argsort(prefixes.owners, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = positions(prefixes.owners[order])
    keys = (fractions(partition.users, "sessions", seed)[prefixes.owners] + place * GOLDEN) % 1.0
    past = partition.histories.until(cut.time).latest(limits[1])
    rows = np.lexsort((prefixes.targets, keys))[: limits[0]]
    prefixes = prefixes.take(rows)
    return WindowPart(prefixes, past.take(prefixes.owners), keys[rows], len(keys))


def joined_window(parts: Sequence[WindowPart], limit: int) -> WindowPart:
    """The drawn prefixes of all parts. The owners are positions in their own partition, so they mean nothing here."""
    prefixes = Prefixes(
        Histories.concat([part.prefixes.sessions for part in parts]),
        np.concatenate([part.prefixes.targets for part in parts]),
        np.concatenate([part.prefixes.owners for part in parts]),
    )
    known = Histories.concat([part.known for part in parts])
    keys = np.concatenate([part.keys for part in parts])
    return WindowPart(prefixes, known, keys, sum(part.total for part in parts)).drawn(limit)
