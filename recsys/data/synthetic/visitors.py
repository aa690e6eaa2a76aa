"""The visitors: casual visitors and shoppers, their tastes, sessions and views."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of
from recsys.data.synthetic.catalogue import Shelves
from recsys.data.synthetic.settings import DAYS, END, START, Behaviour, Shape
from recsys.schema import DAY, UNKNOWN

HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 7, 8, 8, 8, 8, 7, 6, 4], float)
"""Relative numbers of visits by hour, counted from the hour of START, with a peak in the evening."""

PASSES = 2
"""How often a view of an item seen before can be drawn again. The oracle uses the same number."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """Latents of n visitors with events; shoppers come first.

    ids: int64 (n,), unique, unordered
    tastes: int64 (n + 1,); visitor v has the tastes tastes[v]:tastes[v + 1]
    cells: int32 (n_tastes,), the cell of each taste
    fractions: float64 (n_tastes,), the fraction of the visitor's sessions for each taste, which sum to 1
    rate: float32 (n,), sessions a day, 0 for a casual visitor
    propensity: float32 (n,), purchases per view, relative
    """

    ids: np.ndarray
    tastes: np.ndarray
    cells: np.ndarray
    fractions: np.ndarray
    rate: np.ndarray
    propensity: np.ndarray


@dataclass(frozen=True, slots=True)
class Views:
    """Browsing views, session after session; visitor, session, item: int32 (m,); time: int64 (m,), ms."""

    visitor: np.ndarray
    session: np.ndarray
    item: np.ndarray
    time: np.ndarray


@dataclass(frozen=True, slots=True)
class Sightings:
    """The first times at which visitors saw items.

    keys: int64 (n,), ascending, each a visitor and an item; first: float64 (n,), times in any unit
    """

    keys: np.ndarray
    first: np.ndarray

    @staticmethod
    def key(visitor: np.ndarray, item: np.ndarray) -> np.ndarray:
        """One int64 for each visitor and item."""
        return visitor.astype(np.int64) << 32 | item

    @classmethod
    def build(cls, visitor: np.ndarray, item: np.ndarray, time: np.ndarray) -> "Sightings":
        """The sightings of views that come in any order."""
        keys, pair = np.unique(cls.key(visitor, item), return_inverse=True)
        first = np.full(len(keys), np.inf)
        np.minimum.at(first, pair, time)
        return cls(keys, first)

    def before(self, visitor: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """True where the visitor had seen the item before that time, bool (m,)."""
        wanted = self.key(visitor, item)
        position = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return (self.keys[position] == wanted) & (self.first[position] < time)


def shopper_sessions(
    shape: Shape, behaviour: Behaviour, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shopper and the start (days) of each session in the log, and the session rate of each shopper.

    Arrivals are uniform over the lead and the log. Stays are exponential. Sessions are a Poisson process with a
    lognormal rate, and the first session opens the stay. Shoppers without a session in the log are left out.
    """
    drawn = round(shape.visitors * behaviour.shopper_fraction)
    arrival = rng.uniform(-behaviour.shopper_lead, DAYS, drawn)
    stay = rng.exponential(behaviour.shopper_life, drawn)
    rate = behaviour.session_rate * rng.lognormal(0, behaviour.session_rate_spread, drawn)
    later = np.repeat(np.arange(drawn), rng.poisson(rate * stay))
    who = np.concatenate([np.arange(drawn), later])
    start = np.concatenate([arrival, arrival[later] + rng.random(len(later)) * stay[later]])
    inside = (start >= 0) & (start < DAYS)
    seen, who = np.unique(who[inside], return_inverse=True)
    return who, start[inside], rate[seen]


def casual_sessions(visitors: int, behaviour: Behaviour, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The visitor and the start (days) of each session: one for each visitor, and for some a second days later."""
    start = rng.uniform(0, DAYS, visitors)
    back = np.flatnonzero(rng.random(visitors) < behaviour.return_fraction)
    again = start[back] + rng.exponential(behaviour.return_days, len(back))
    who, start = np.concatenate([np.arange(visitors), back]), np.concatenate([start, again])
    return who[start < DAYS], start[start < DAYS]


def draw_tastes(
    rate: np.ndarray, visitors: int, shelves: Shelves, behaviour: Behaviour, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, cells and fractions of tastes as in Visitors: one for a casual visitor, more for busy shoppers."""
    count = np.ones(visitors, np.int64)
    count[: len(rate)] += rng.poisson(behaviour.tastes * rate / behaviour.session_rate)
    offsets = offsets_of(np.minimum(count, behaviour.taste_limit))
    law = np.cumsum(shelves.interest)
    cells = np.searchsorted(law, rng.random(offsets[-1]) * law[-1], side="right").astype(np.int32)
    fractions = rng.exponential(1, len(cells))
    fractions /= np.repeat(np.add.reduceat(fractions, offsets[:-1]), np.diff(offsets))
    return offsets, cells, fractions


def draw_visitors(
    shape: Shape, behaviour: Behaviour, shelves: Shelves, rng: np.random.Generator
) -> tuple[Visitors, Views]:
    """All visitors with an event, and all browsing views. The number of views is that of the shape on average."""
    who, start, rate = shopper_sessions(shape, behaviour, rng)
    shoppers, casual = len(rate), shape.visitors - len(rate)
    guest, guest_start = casual_sessions(casual, behaviour, rng)
    length = rng.geometric(1 / behaviour.session_views, len(who))
    # Every purchase in a later session adds one more view, see journeys.py.
    spare = shape.views - length.sum() - 0.6 * shape.purchases
    guest_length = rng.geometric(min(1, len(guest) / spare), len(guest))

    tastes, cells, fractions = draw_tastes(rate, shape.visitors, shelves, behaviour, rng)
    # Frequent guests buy less per view. Otherwise a few of them would make most of the sales.
    keen = rng.lognormal(0, behaviour.propensity_spread, shoppers) * (rate / behaviour.session_rate) ** -0.5
    visitors = Visitors(
        ids=rng.permutation(shape.visitors).astype(np.int64),
        tastes=tastes,
        cells=cells,
        fractions=fractions,
        rate=np.concatenate([rate, np.zeros(casual)]).astype(np.float32),
        propensity=np.concatenate([keen, np.full(casual, behaviour.casual_propensity)]).astype(np.float32),
    )
    views = draw_views(
        visitors,
        np.concatenate([who, guest + shoppers]).astype(np.int32),
        np.concatenate([start, guest_start]),
        np.concatenate([length, guest_length]),
        shelves,
        behaviour,
        rng,
    )
    return visitors, views


def draw_views(
    visitors: Visitors,
    who: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
    shelves: Shelves,
    behaviour: Behaviour,
    rng: np.random.Generator,
) -> Views:
    """The views of sessions. A session follows one taste, with views about 80 s apart and some from the shelf."""
    # The fractions of a visitor sum to 1, so visitor v has [v, v + 1) of their running total.
    taste = np.searchsorted(np.cumsum(visitors.fractions), who + rng.random(len(who)), side="right")
    taste = np.clip(taste, visitors.tastes[who], visitors.tastes[who + 1] - 1)
    session = np.repeat(np.arange(len(who), dtype=np.int32), length)
    shelf = rng.random(len(session)) < behaviour.shelf_fraction
    cell = np.where(shelf, UNKNOWN, visitors.cells[taste][session])
    day = start.astype(np.int64)[session]
    item = shelves.sample(day, cell, behaviour, rng)
    for _ in range(PASSES):
        seen = Sightings.build(who[session], item, start[session])
        known = seen.before(who[session], item, start[session])
        passed_over = np.flatnonzero(known & (rng.random(len(item)) < behaviour.novelty))
        item[passed_over] = shelves.sample(day[passed_over], cell[passed_over], behaviour, rng)

    time_of_day = np.interp(start % 1, np.concatenate([[0], np.cumsum(HOURS) / HOURS.sum()]), np.linspace(0, 1, 25))
    gap = rng.exponential(80_000, len(session)) + 1_000
    first = np.cumsum(length) - length
    passed = np.cumsum(gap)
    passed -= np.repeat(passed[first], length)
    time = START + ((np.floor(start) + time_of_day) * DAY)[session] + passed
    views = Views(who[session], session, item, np.minimum(time.astype(np.int64), END - 1))
    return cover(views, visitors, shelves, rng)


def cover(views: Views, visitors: Visitors, shelves: Shelves, rng: np.random.Generator) -> Views:
    """The views, changed so that every item has one.

    An item without a view gets one from a casual visitor, on a day when the item is in the shop.
    """
    item, day = views.item.copy(), (views.time - START) // DAY
    casual = np.flatnonzero(visitors.rate[views.visitor] == 0)
    casual = casual[np.argsort(day[casual], kind="stable")]
    while len(missing := np.flatnonzero(np.bincount(item, minlength=len(shelves.weight)) == 0)):
        # Only items with more than four views give one.
        spare = casual[np.bincount(item)[item[casual]] > 4]
        first = np.searchsorted(day[spare], shelves.born[missing])
        given = first + (rng.random(len(missing)) * (len(spare) - first)).astype(np.int64)
        item[spare[np.minimum(given, len(spare) - 1)]] = missing
    return Views(views.visitor, views.session, item, views.time)
