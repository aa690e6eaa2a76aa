"""From views to purchases: intents, carts, purchases at once, days later, and again."""

from dataclasses import dataclass

import numpy as np

from recsys.data.synthetic.catalogue import Shelves
from recsys.data.synthetic.settings import DAYS, END, START, Behaviour, Shape
from recsys.data.synthetic.visitors import PASSES, Sightings, Views, Visitors
from recsys.schema import CART, DAY, PURCHASE, VIEW

MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Events:
    """Rows of the log, (n,): visitor, item int32 positions; event int8; time int64 ms; order int64, or -1."""

    visitor: np.ndarray
    item: np.ndarray
    event: np.ndarray
    time: np.ndarray
    order: np.ndarray

    @classmethod
    def of(
        cls, event: int, visitor: np.ndarray, item: np.ndarray, time: np.ndarray, order: np.ndarray | None = None
    ) -> "Events":
        n = len(visitor)
        return cls(
            visitor.astype(np.int32),
            item.astype(np.int32),
            np.full(n, event, np.int8),
            np.clip(time, START, END - 1).astype(np.int64),
            np.full(n, -1) if order is None else order,
        )

    @classmethod
    def concat(cls, parts: "list[Events]") -> "Events":
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Intents:
    """Intents to buy, in order of urgency, of which the shop serves as many as its sales allow.

    view: int64 (n,), rows of Views; item: int32 (n,), what is bought, another than was viewed for some
    pending: bool (n,), not bought in the session
    times: float64 (n, 1 + repeat_limit), ms of the purchase and of its repeats, NaN where there is none
    level: cumulated hazard at which the shop's sales are reached; P(intent | view) = 1 - exp(-level * hazard)
    """

    view: np.ndarray
    item: np.ndarray
    pending: np.ndarray
    times: np.ndarray
    level: float


def hazard_of(views: Views, visitors: Visitors, shelves: Shelves) -> np.ndarray:
    """Relative rate at which a view becomes an intent, float64 (m,); zero where the item is out of stock."""
    stock = shelves.available[(views.time - START) // (7 * DAY), views.item]
    return visitors.propensity[views.visitor] * shelves.conversion[views.item] * stock


def draw_intents(
    views: Views, visitors: Visitors, shelves: Shelves, behaviour: Behaviour, sales: int, rng: np.random.Generator
) -> Intents:
    """Views become intents in the order of exponential clocks, until `sales` purchases fall into the log."""
    hazard = hazard_of(views, visitors, shelves)
    clock = np.full(len(hazard), np.inf)
    np.divide(rng.exponential(1, len(hazard)), hazard, out=clock, where=hazard > 0)
    urgent = np.argpartition(clock, min(4 * sales, len(clock) - 1))[: 4 * sales]
    urgent = urgent[np.argsort(clock[urgent], kind="stable")]
    # Once an item is intended, further views of it mean nothing; repeats have their own law.
    pair = Sightings.key(views.visitor[urgent], views.item[urgent])
    urgent = urgent[np.sort(np.unique(pair, return_index=True)[1])]

    pending = rng.random(len(urgent)) >= behaviour.immediate_share
    first = first_times(views, urgent, pending, behaviour, rng)
    item = switched(views, urgent, first, pending, shelves, behaviour, rng)
    times = with_repeats(first, item, shelves, behaviour, rng)
    made = np.cumsum((~np.isnan(times)).sum(axis=1))
    served = int(np.searchsorted(made, sales)) + 1
    level = float(clock[urgent[min(served, len(urgent)) - 1]])
    return Intents(urgent[:served], item[:served], pending[:served], times[:served], level)


def first_times(
    views: Views, rows: np.ndarray, pending: np.ndarray, behaviour: Behaviour, rng: np.random.Generator
) -> np.ndarray:
    """When each intent leads to its purchase, float64 ms: as the session ends, or days after the view."""
    session_end = np.maximum.reduceat(views.time, np.flatnonzero(np.diff(views.session, prepend=-1)))
    now = session_end[views.session[rows]] + 5.0 * MINUTE
    later = views.time[rows] + rng.exponential(behaviour.pending_days * DAY, len(rows))
    return np.where(pending, np.maximum(later, now + 30 * MINUTE), now)


def switched(
    views: Views,
    rows: np.ndarray,
    time: np.ndarray,
    pending: np.ndarray,
    shelves: Shelves,
    behaviour: Behaviour,
    rng: np.random.Generator,
) -> np.ndarray:
    """The items bought, int32: some who come back prefer another item of the cell they had looked at."""
    day = np.minimum((time - START) // DAY, DAYS - 1).astype(np.int64)
    item = views.item[rows].copy()
    change = np.flatnonzero(pending & (rng.random(len(rows)) < behaviour.switch_share))
    cells = np.empty(len(change), np.int32)
    for today in range(DAYS):
        on_day = day[change] == today
        cells[on_day] = shelves.cells_on(today)[item[change[on_day]]]
    item[change] = shelves.sample(day[change], cells, behaviour, rng, appeal=shelves.conversion)
    seen, who = Sightings.of(views.visitor, views.item, views.time), views.visitor[rows[change]]
    for _ in range(PASSES):
        known = seen.before(who, item[change], time[change])
        over = np.flatnonzero(known & (rng.random(len(change)) < behaviour.novelty))
        item[change[over]] = shelves.sample(day[change[over]], cells[over], behaviour, rng, shelves.conversion)
    return item


def with_repeats(
    time: np.ndarray, item: np.ndarray, shelves: Shelves, behaviour: Behaviour, rng: np.random.Generator
) -> np.ndarray:
    """Purchase times as in Intents.times; an item out of stock or the end of the log ends the chain."""
    times = np.full((len(time), 1 + behaviour.repeat_limit), np.nan)
    going = np.ones(len(time), bool)
    for step in range(times.shape[1]):
        week = np.minimum((time - START) // (7 * DAY), len(shelves.available) - 1).astype(np.int64)
        going &= (time < END) & shelves.available[week, item]
        times[going, step] = time[going]
        going &= shelves.staple[item] & (rng.random(len(time)) < behaviour.repeat_share)
        mean = behaviour.repeat_days * DAY / behaviour.repeat_shape
        time = time + rng.gamma(behaviour.repeat_shape, mean, len(time))
    return times


def draw_events(
    shape: Shape,
    behaviour: Behaviour,
    visitors: Visitors,
    views: Views,
    shelves: Shelves,
    rng: np.random.Generator,
) -> tuple[Events, dict[str, float]]:
    """The whole log, unordered, and the two rates that an oracle needs: `level` and `abandon`.

    Purchases and carts meet the shape exactly; 1 - exp(-abandon * conversion) is P(cart | view, no intent).
    """
    intents = draw_intents(views, visitors, shelves, behaviour, shape.purchases, rng)
    at, step = np.nonzero(~np.isnan(intents.times))
    at, step = at[: shape.purchases], step[: shape.purchases]
    row, time = intents.view[at], intents.times[at, step]
    who, item = views.visitor[row], intents.item[at]
    later = intents.pending[at] | (step > 0)
    # One order for everything bought at the end of a session, and one for each later purchase.
    order = np.where(later, len(views.time) + np.arange(len(row)), views.session[row])
    order = rng.permutation(shape.purchases)[np.unique(order, return_inverse=True)[1]]

    early = intents.pending & (rng.random(len(intents.view)) < behaviour.pending_carted)
    wanted = intents.view[~intents.pending | early]
    # What is bought was put in the cart at once, or it is now.
    late = (step > 0) | (item != views.item[row]) | (intents.pending & ~early)[at]
    others = np.setdiff1d(np.arange(len(views.time)), intents.view)
    left = max(0, shape.carts - len(wanted) - int(late.sum()))
    clock = rng.exponential(1, len(others)) / shelves.conversion[views.item[others]]
    sooner = np.argpartition(clock, left)
    abandoned = others[sooner[:left]]
    carted = np.concatenate([wanted, abandoned])
    events = Events.concat(
        [
            Events.of(VIEW, views.visitor, views.item, views.time),
            Events.of(VIEW, who[later], item[later], time[later] - 3 * MINUTE),
            Events.of(CART, views.visitor[carted], views.item[carted], views.time[carted] + MINUTE // 2),
            Events.of(CART, who[late], item[late], time[late] - MINUTE),
            Events.of(PURCHASE, who, item, time, order),
        ]
    )
    return events, {"level": intents.level, "abandon": float(clock[sooner[left]])}
