"""From views to purchases: intents, carts, purchases at once, purchases days later, and repeats."""

from dataclasses import dataclass

import numpy as np

from recsys.data.synthetic.catalogue import Shelves
from recsys.data.synthetic.settings import DAYS, END, START, Behaviour, Shape
from recsys.data.synthetic.visitors import PASSES, Sightings, Views, Visitors
from recsys.schema import CART, DAY, PURCHASE, VIEW

MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Events:
    """Rows of the log in any order.

    visitor, item: int32 (n,), positions; event: int8 (n,); time: int64 (n,), ms
    order: int64 (n,), the transaction, -1 for events that are no purchases
    """

    visitor: np.ndarray
    item: np.ndarray
    event: np.ndarray
    time: np.ndarray
    order: np.ndarray

    @classmethod
    def build(
        cls, event: int, visitor: np.ndarray, item: np.ndarray, time: np.ndarray, order: np.ndarray | None = None
    ) -> "Events":
        """Events of one type. Times are moved into the period of the log."""
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
        """The rows of all parts."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Intents:
    """Intents to buy, the most urgent first, as many as give the sales of the shop.

    view: int64 (n,), rows of Views
    item: int32 (n,), the item bought, for some not the item viewed
    pending: bool (n,), True if the purchase is not in the session of the view
    times: float64 (n, 1 + repeat_limit), ms, of the purchase and of its repeats, NaN for repeats that do not happen
    level: cumulated hazard at which the sales are reached; P(intent | view) = 1 - exp(-level * hazard)
    """

    view: np.ndarray
    item: np.ndarray
    pending: np.ndarray
    times: np.ndarray
    level: float


def hazard_of(views: Views, visitors: Visitors, shelves: Shelves) -> np.ndarray:
    """The relative rate at which each view becomes an intent, float64 (m,), zero for items out of stock."""
    stock = shelves.available[(views.time - START) // (7 * DAY), views.item]
    return visitors.propensity[views.visitor] * shelves.conversion[views.item] * stock


def draw_intents(
    views: Views, visitors: Visitors, shelves: Shelves, behaviour: Behaviour, sales: int, rng: np.random.Generator
) -> Intents:
    """The intents, drawn from the views by exponential clocks, until `sales` purchases fall into the log."""
    hazard = hazard_of(views, visitors, shelves)
    clock = np.full(len(hazard), np.inf)
    np.divide(rng.exponential(1, len(hazard)), hazard, out=clock, where=hazard > 0)
    urgent = np.argpartition(clock, min(4 * sales, len(clock) - 1))[: 4 * sales]
    urgent = urgent[np.argsort(clock[urgent], kind="stable")]
    # Later views of an intended item have no effect. Repeats have a distribution of their own.
    pair = Sightings.key(views.visitor[urgent], views.item[urgent])
    urgent = urgent[np.sort(np.unique(pair, return_index=True)[1])]

    pending = rng.random(len(urgent)) >= behaviour.immediate_fraction
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
    """The time of the purchase of each intent, float64 (n,), ms: at the end of the session, or days after the view."""
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
    """The item bought by each intent, int32 (n,).

    Some visitors who come back days later buy another item of the cell that they had viewed.
    """
    day = np.minimum((time - START) // DAY, DAYS - 1).astype(np.int64)
    item = views.item[rows].copy()
    change = np.flatnonzero(pending & (rng.random(len(rows)) < behaviour.switch_fraction))
    cells = np.empty(len(change), np.int32)
    for today in range(DAYS):
        on_day = day[change] == today
        cells[on_day] = shelves.cells_on(today)[item[change[on_day]]]
    item[change] = shelves.sample(day[change], cells, behaviour, rng, appeal=shelves.conversion)
    seen, who = Sightings.build(views.visitor, views.item, views.time), views.visitor[rows[change]]
    for _ in range(PASSES):
        known = seen.before(who, item[change], time[change])
        over = np.flatnonzero(known & (rng.random(len(change)) < behaviour.novelty))
        item[change[over]] = shelves.sample(day[change[over]], cells[over], behaviour, rng, shelves.conversion)
    return item


def with_repeats(
    time: np.ndarray, item: np.ndarray, shelves: Shelves, behaviour: Behaviour, rng: np.random.Generator
) -> np.ndarray:
    """Purchase times as in Intents.times. The chain ends with the log, or when the item is out of stock."""
    times = np.full((len(time), 1 + behaviour.repeat_limit), np.nan)
    going = np.ones(len(time), bool)
    for step in range(times.shape[1]):
        week = np.minimum((time - START) // (7 * DAY), len(shelves.available) - 1).astype(np.int64)
        going &= (time < END) & shelves.available[week, item]
        times[going, step] = time[going]
        going &= shelves.staple[item] & (rng.random(len(time)) < behaviour.repeat_fraction)
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
    """The whole log in any order, and the two rates that the oracle uses: `level` and `abandon`.

    The numbers of purchases and carts are exactly those of the shape.
    1 - exp(-abandon * conversion) is P(cart | view, no intent).
    """
    intents = draw_intents(views, visitors, shelves, behaviour, shape.purchases, rng)
    intent, step = np.nonzero(~np.isnan(intents.times))
    intent, step = intent[: shape.purchases], step[: shape.purchases]
    row, time = intents.view[intent], intents.times[intent, step]
    who, item = views.visitor[row], intents.item[intent]
    later = intents.pending[intent] | (step > 0)
    # All purchases at the end of a session are one order. Each later purchase is an order of its own.
    order = np.where(later, len(views.time) + np.arange(len(row)), views.session[row])
    order = rng.permutation(shape.purchases)[np.unique(order, return_inverse=True)[1]]

    early = intents.pending & (rng.random(len(intents.view)) < behaviour.pending_carted)
    wanted = intents.view[~intents.pending | early]
    # An item is put in the cart before its purchase: at the view, or else late.
    late = (step > 0) | (item != views.item[row]) | (intents.pending & ~early)[intent]
    others = np.setdiff1d(np.arange(len(views.time)), intents.view)
    left = max(0, shape.carts - len(wanted) - int(late.sum()))
    clock = rng.exponential(1, len(others)) / shelves.conversion[views.item[others]]
    sooner = np.argpartition(clock, left)
    abandoned = others[sooner[:left]]
    carted = np.concatenate([wanted, abandoned])
    events = Events.concat(
        [
            Events.build(VIEW, views.visitor, views.item, views.time),
            Events.build(VIEW, who[later], item[later], time[later] - 3 * MINUTE),
            Events.build(CART, views.visitor[carted], views.item[carted], views.time[carted] + MINUTE // 2),
            Events.build(CART, who[late], item[late], time[late] - MINUTE),
            Events.build(PURCHASE, who, item, time, order),
        ]
    )
    return events, {"level": intents.level, "abandon": float(clock[sooner[left]])}
