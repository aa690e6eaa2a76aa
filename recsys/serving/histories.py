"""Events of users up to now, by user id. Today they come from the version's snapshot, later also from live events."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recsys.errors import DataError
from recsys.histories import Histories
from recsys.inference.servable import Servable
from recsys.models.snapshot import UserTotals
from recsys.schema import EVENT_TYPES, UNKNOWN
from recsys.serving.user_ids import UserId


@dataclass(frozen=True, slots=True)
class UserHistories:
    """The events of a batch of users, in the order of the request.

    histories: items are codes of the version
    exists: bool (n_users,), whether there is any event of the user
    newest: ms, the newest time that the source has data of; no event is later
    """

    histories: Histories
    exists: np.ndarray
    newest: int

    def check(self, n_users: int, n_items: int) -> None:
        """Raises DataError where a source broke its contract: its events would give wrong recommendations."""
        histories = self.histories
        if not len(self.exists) == len(histories) == n_users:
            raise DataError(f"histories of {len(histories)} users ({len(self.exists)} in exists); expected {n_users}")
        for name, values, size in (("items", histories.items, n_items), ("events", histories.events, len(EVENT_TYPES))):
            if len(values) and not 0 <= values.min() <= values.max() < size:
                raise DataError(f"histories: {name} from {values.min()} to {values.max()}; expected 0 to {size - 1}")
        times = histories.times
        if len(times) and times.max() > self.newest:
            raise DataError(f"histories: an event at {times.max()} ms; expected none after newest, {self.newest}")
        later = np.diff(times) >= 0
        if not later.all() and not (later | (np.diff(histories.rows) != 0)).all():
            raise DataError("histories: the events of a user are not in the order of their times")

    def take(self, users: Sequence[int]) -> "UserHistories":
        """The users at some positions, in the order given."""
        positions = np.asarray(users, np.int64)
        return UserHistories(self.histories.take(positions), self.exists[positions], self.newest)


class HistorySource(Protocol):
    """Where the service gets events of users.

    A source answers for one version, whose item codes and snapshot it may use. It may wait for a network, and must not
    block the event loop. The service waits until a request's deadline. Every method may raise Unavailable.
    """

    async def histories(self, servable: Servable, user_ids: Sequence[UserId]) -> UserHistories:
        """The events of these users; those of a user without events are empty."""

    async def totals(self, servable: Servable, user_id: UserId) -> UserTotals | None:
        """Exact totals of a user's events, None where there are none."""

    async def random_users(self, servable: Servable, n: int) -> Sequence[UserId]:
        """At most `n` different users with events, drawn at random."""


class SnapshotHistories:
    """The events that a version was trained on. Nothing here waits, so a batch is not delayed."""

    async def histories(self, servable: Servable, user_ids: Sequence[UserId]) -> UserHistories:
        """See HistorySource."""
        snapshot = servable.bundle.snapshot
        rows = np.array([snapshot.users.code(user_id) for user_id in user_ids], np.int64)
        return UserHistories(snapshot.take(rows), rows != UNKNOWN, servable.bundle.manifest.live_watermark)

    async def totals(self, servable: Servable, user_id: UserId) -> UserTotals | None:
        """See HistorySource."""
        snapshot = servable.bundle.snapshot
        row = snapshot.users.code(user_id)
        if row == UNKNOWN:
            return None
        return snapshot.totals_of(row, servable.bundle.tables.statistics.category)

    async def random_users(self, servable: Servable, n: int) -> Sequence[UserId]:
        """See HistorySource."""
        users = servable.bundle.snapshot.users
        return [users[row] for row in random.sample(range(len(users)), min(n, len(users)))]
