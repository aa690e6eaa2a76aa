"""What users did with things (items or categories): the aggregates behind candidates and features."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from recsys.histories import Histories, runs
from recsys.ids import find
from recsys.schema import CART, DAY, EVENT_TYPES, PURCHASE, UNKNOWN, VIEW, Config, EventWeights

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

    keys: int64 (n,)
    counts: int64 (n, 3), events by type
    decayed: float64 (n, 3), event weights decayed with each half-life
    bought: float64 (n,), purchases alone, decayed with the slowest half-life
    last: int64 (n, 3), ms of the newest event by type, NEVER where there is none
    first: int64 (n,), ms of the oldest event
    purchase_days: int64 (n,), distinct days (of 24 h, counted back from now) with a purchase
    first_purchase: int64 (n,), ms, NEVER where there is none
    """

    width: int
    keys: np.ndarray
    counts: np.ndarray
    decayed: np.ndarray
    bought: np.ndarray
    last: np.ndarray
    first: np.ndarray
    purchase_days: np.ndarray
    first_purchase: np.ndarray

    @property
    def users(self) -> np.ndarray:
        return self.keys // self.width

    @property
    def things(self) -> np.ndarray:
        return self.keys % self.width

    def find(self, users: np.ndarray, things: np.ndarray) -> np.ndarray:
        """The row of each (user, thing), -1 where they never met; int64 (n_pairs,)."""
        at = find(self.keys, users.astype(np.int64) * self.width + things)
        return np.where(things >= 0, at, UNKNOWN)


def interactions(
    histories: Histories, things: np.ndarray, width: int, now: int, config: InteractionConfig
) -> Interactions:
    """Aggregate events by (user, thing).

    things: int (n_events,) in [0, width), or negative to leave the event out. Sums run in time order
    within a group, so a user's numbers do not depend on who else is in the batch.
    """
    rows, events, times = histories.rows, histories.events, histories.times
    if len(things) and things.min() < 0:
        known = things >= 0
        rows, events, times, things = rows[known], events[known], times[known], things[known]
    keys = rows * width + things
    order = np.argsort(keys, kind="stable")
    keys, events, times = keys[order], events[order], times[order]
    starts, group = runs(keys)
    n = len(starts)

    kinds = len(EVENT_TYPES)
    counts = np.bincount(group * kinds + events, minlength=n * kinds).reshape(n, kinds)
    age = (now - times) / DAY
    weight = np.array(config.weights.by_code())[events]
    decay = [np.exp2(-age / half_life) for half_life in config.half_lives_days]
    decayed = np.empty((n, len(decay)))
    for column, factor in enumerate(decay):
        decayed[:, column] = np.bincount(group, weight * factor, minlength=n)
    purchased = events == PURCHASE
    bought = np.bincount(group[purchased], decay[-1][purchased], minlength=n)

    last = np.full((n, kinds), NEVER)
    first_purchase = np.full(n, NEVER)
    purchase_days = np.zeros(n, np.int64)
    first = times[starts]
    for kind in (VIEW, CART, PURCHASE):
        mine = events == kind
        # Assignment keeps the last of repeated indices, and groups are in time order.
        last[group[mine], kind] = times[mine]
    buys, when = group[purchased], times[purchased]
    first_purchase[buys[::-1]] = when[::-1]
    day = (now - when) // DAY
    fresh = np.ones(len(buys), bool)
    fresh[1:] = (buys[1:] != buys[:-1]) | (day[1:] != day[:-1])
    purchase_days += np.bincount(buys[fresh], minlength=n)
    return Interactions(width, keys[starts], counts, decayed, bought, last, first, purchase_days, first_purchase)


def rank_within(users: np.ndarray, score: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """Position (0 = best) of each row among its user's rows by falling score, then rising `tie`; int64 (n,)."""
    order = np.lexsort((tie, -score, users))
    starts, group = runs(users[order])
    rank = np.empty(len(users), np.int64)
    rank[order] = np.arange(len(users)) - starts[group]
    return rank


def session_starts(histories: Histories, gap_minutes: float) -> np.ndarray:
    """Start of each user's newest session, ms, NEVER for users without events; int64 (n_users,)."""
    times, rows = histories.times, histories.rows
    opens = np.ones(len(times), bool)
    opens[1:] = (rows[1:] != rows[:-1]) | (np.diff(times) > gap_minutes * 60_000)
    starts = np.full(len(histories), NEVER)
    starts[rows[opens]] = times[opens]
    return starts
