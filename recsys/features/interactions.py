"""Aggregated events of each pair of a user and a thing, where a thing is an item or a category.

Candidates and features are computed from these aggregates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from recsys.arrays import find, runs, sums_within
from recsys.histories import Histories
from recsys.schema import DAY, EVENT_TYPES, PURCHASE, UNKNOWN, Config, EventWeights
from recsys.timeline import Present

NEVER = np.iinfo(np.int64).min
"""The time of an event that does not exist."""

HalfLife = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class InteractionConfig(Config):
    """Decay of past events, and the end of a session."""

    half_lives_days: tuple[HalfLife, HalfLife, HalfLife] = (3.0, 14.0, 60.0)
    """Half-lives of the three decayed sums, from fast to slow."""
    weights: EventWeights = EventWeights()
    """Weight of an event by type in the decayed sums."""
    session_gap_minutes: float = Field(30.0, gt=0)
    """A pause longer than this starts a new session."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """One row for each (user, thing) with an event, ascending by key = user * width + thing.

    users, things, keys: int64 (n,)
    counts: int64 (n, 3), number of events of each type
    decayed: float64 (n, 3), sum of the event weights, decayed with each half-life
    bought: float64 (n,), number of purchases, decayed with the slowest half-life
    last: int64 (n, 3), time of the newest event of each type, ms; NEVER without such an event
    oldest, newest: int64 (n,), times of the first and the last event, ms
    purchase_days: int64 (n,), distinct days (of 24 h, counted back from now) with a purchase
    first_purchase: int64 (n,), time of the first purchase, ms; NEVER without a purchase
    """

    width: int
    users: np.ndarray
    things: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    decayed: np.ndarray
    bought: np.ndarray
    last: np.ndarray
    oldest: np.ndarray
    newest: np.ndarray
    purchase_days: np.ndarray
    first_purchase: np.ndarray

    def find(self, users: np.ndarray, things: np.ndarray) -> np.ndarray:
        """The row of each (user, thing), int64 (n_pairs,); UNKNOWN if the user has no event on the thing.

        users: int (n_pairs,); things: int (n_pairs,), codes, negative if unknown
        """
        rows = find(self.keys, users.astype(np.int64) * self.width + things)
        return np.where(things >= 0, rows, UNKNOWN)

    def of_users(self, start: int, end: int) -> "Interactions":
        """The rows of the users in [start, end), renumbered from 0. Arrays without user numbers are not copied."""
        first, last = np.searchsorted(self.keys, (start * self.width, end * self.width)).tolist()
        columns = {name: getattr(self, name)[first:last] for name in self.__slots__[1:]}
        columns |= {"users": columns["users"] - start, "keys": columns["keys"] - start * self.width}
        return Interactions(self.width, **columns)


def interactions(
    histories: Histories, things: Sequence[np.ndarray], width: int, now: Present, config: InteractionConfig
) -> Interactions:
    """Events aggregated by (user, thing), for several kinds of things; user u of kind k is k * n_users + u.

    things: for each kind the thing of each event, int (n_events,) in [0, width); negative to leave the event out
    now: not before any event of the user. Sums run in time order within a row, so a user does not depend on others.
    """
    types = len(EVENT_TYPES)
    stacked = np.concatenate(things)
    used = (stacked >= 0).nonzero()[0]
    kind, event = np.divmod(used, max(len(histories.times), 1))
    keys = (kind * len(histories) + histories.rows[event]) * width + stacked[used]
    order = keys.argsort(kind="stable")
    event, keys = event[order], keys[order]
    starts, row = runs(keys)
    keys, n = keys[starts], len(starts)
    users = keys // width
    events, times = histories.events[event], histories.times[event]

    bought = events == PURCHASE
    present = now[histories.rows[event]] if isinstance(now, np.ndarray) else now
    decay = np.exp2(((times - present) / DAY)[:, None] / np.array(config.half_lives_days))
    weights = np.array(config.weights.by_code())[events]
    sums = sums_within(row, np.column_stack((weights[:, None] * decay, bought * decay[:, -1])), n)

    cells = row * types + events
    last, first_purchase = np.full(n * types, NEVER), np.full(n, NEVER)
    last[cells] = times  # of repeated indices the last one stays, and the events of a row are in time order
    purchase_rows, purchase_times = row[bought], times[bought]
    first_purchase[purchase_rows[::-1]] = purchase_times[::-1]
    day = ((present[bought] if isinstance(present, np.ndarray) else present) - purchase_times) // DAY
    new_day = np.ones(len(purchase_rows), bool)
    new_day[1:] = (purchase_rows[1:] != purchase_rows[:-1]) | (day[1:] != day[:-1])
    return Interactions(
        width,
        users,
        keys - users * width,
        keys,
        counts=np.bincount(cells, minlength=n * types).reshape(n, types),
        decayed=sums[:, :-1],
        bought=sums[:, -1],
        last=last.reshape(n, types),
        oldest=times[starts],
        newest=times[np.append(starts[1:], len(times))[:n] - 1],
        purchase_days=np.bincount(purchase_rows[new_day], minlength=n),
        first_purchase=first_purchase,
    )


def sessions(histories: Histories, gap_minutes: float) -> tuple[np.ndarray, np.ndarray]:
    """Start (ms) and number of events of each user's newest session, int64 (n_users,) each.

    Without events the start is NEVER and the number 0. A pause of more than `gap_minutes` starts a new session.
    """
    times, offsets = histories.times, histories.offsets
    active = (offsets[1:] > offsets[:-1]).nonzero()[0]
    is_start = np.ones(len(times), bool)
    np.greater(times[1:] - times[:-1], gap_minutes * 60_000, out=is_start[1:])
    is_start[offsets[active]] = True
    session_starts = is_start.nonzero()[0]
    ends = offsets[active + 1]
    first = session_starts[np.searchsorted(session_starts, ends) - 1]
    starts, lengths = np.full(len(histories), NEVER), np.zeros(len(histories), np.int64)
    starts[active], lengths[active] = times[first], ends - first
    return starts, lengths
