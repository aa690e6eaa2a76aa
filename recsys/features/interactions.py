"""What users did with things (items or categories): the aggregates behind candidates and features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from recsys.arrays import find, runs, sums_within
from recsys.histories import Histories
from recsys.schema import DAY, EVENT_TYPES, PURCHASE, UNKNOWN, Config, EventWeights

NEVER = np.iinfo(np.int64).min
"""The time of what has not happened."""


HalfLife = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class InteractionConfig(Config):
    """How past events fade."""

    half_lives_days: tuple[HalfLife, HalfLife, HalfLife] = (3.0, 14.0, 60.0)
    """Half-lives of the three decayed sums, from fast to slow."""
    weights: EventWeights = EventWeights()
    """Weight of an event by type in the decayed sums."""
    session_gap_minutes: float = Field(30.0, gt=0)
    """A pause longer than this starts a new session."""


@dataclass(frozen=True, slots=True)
class Interactions:
    """One row for every (user, thing) that occurs, ascending by key = user * width + thing.

    users, things, keys: int64 (n,)
    counts: int64 (n, 3), events by type
    decayed: float64 (n, 3), event weights decayed with each half-life
    bought: float64 (n,), purchases alone, decayed with the slowest half-life
    last: int64 (n, 3), ms of the newest event by type, NEVER where there is none
    oldest, newest: int64 (n,), ms of the first and the last event
    purchase_days: int64 (n,), distinct days (of 24 h, counted back from now) with a purchase
    first_purchase: int64 (n,), ms, NEVER where there is none
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
        """The row of each (user, thing), UNKNOWN where they never met; int64 (n_pairs,)."""
        at = find(self.keys, users.astype(np.int64) * self.width + things)
        return np.where(things >= 0, at, UNKNOWN)

    def of_users(self, start: int, end: int) -> "Interactions":
        """The rows of the users in [start, end), who then count from 0; views where that is possible."""
        first, last = np.searchsorted(self.keys, (start * self.width, end * self.width)).tolist()
        own = {name: getattr(self, name)[first:last] for name in self.__slots__[1:]}
        own |= {"users": own["users"] - start, "keys": own["keys"] - start * self.width}
        return Interactions(self.width, **own)


def interactions(
    histories: Histories, things: Sequence[np.ndarray], width: int, now: int, config: InteractionConfig
) -> Interactions:
    """Aggregate events by (user, thing), for several kinds of things in one pass: the user of a row of kind k is
    k * n_users + user.

    things: for each kind int (n_events,) in [0, width), or negative to leave the event out. Sums run in time order
    within a group, so a user's numbers do not depend on who else is in the batch.
    """
    types = len(EVENT_TYPES)
    stacked = np.concatenate(things)
    known = (stacked >= 0).nonzero()[0]
    kind, event = np.divmod(known, max(len(histories.times), 1))
    keys = (kind * len(histories) + histories.rows[event]) * width + stacked[known]
    order = keys.argsort(kind="stable")
    event, keys = event[order], keys[order]
    starts, group = runs(keys)
    keys, n = keys[starts], len(starts)
    users = keys // width
    events, times = histories.events[event], histories.times[event]

    bought = events == PURCHASE
    decay = np.exp2(((times - now) / DAY)[:, None] / np.array(config.half_lives_days))
    weights = np.array(config.weights.by_code())[events]
    sums = sums_within(group, np.column_stack((weights[:, None] * decay, bought * decay[:, -1])), n)

    cells = group * types + events
    last, first_purchase = np.full(n * types, NEVER), np.full(n, NEVER)
    last[cells] = times  # the last of repeated indices stays, and groups are in time order
    buys, when = group[bought], times[bought]
    first_purchase[buys[::-1]] = when[::-1]
    day = (now - when) // DAY
    fresh = np.ones(len(buys), bool)
    fresh[1:] = (buys[1:] != buys[:-1]) | (day[1:] != day[:-1])
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
        purchase_days=np.bincount(buys[fresh], minlength=n),
        first_purchase=first_purchase,
    )


def sessions(histories: Histories, gap_minutes: float) -> tuple[np.ndarray, np.ndarray]:
    """Each user's newest session: its start in ms, NEVER without events, and its events; int64 (n_users,) each."""
    times, offsets = histories.times, histories.offsets
    some = (offsets[1:] > offsets[:-1]).nonzero()[0]
    opens = np.ones(len(times), bool)
    np.greater(times[1:] - times[:-1], gap_minutes * 60_000, out=opens[1:])
    opens[offsets[some]] = True
    opening = opens.nonzero()[0]
    ends = offsets[some + 1]
    first = opening[np.searchsorted(opening, ends) - 1]
    starts, lengths = np.full(len(histories), NEVER), np.zeros(len(histories), np.int64)
    starts[some], lengths[some] = times[first], ends - first
    return starts, lengths
