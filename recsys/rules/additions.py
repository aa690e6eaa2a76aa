"""Pairs that must be ranked although no source proposed them, or the pre-ranker dropped them: pins and the fill-up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.arrays import positions
from recsys.retrieval.restrictions import Additions, PairTest, Pool, first_allowed
from recsys.rules.pick import Lists, pick
from recsys.rules.program import ItemOrder, Program
from recsys.schema import UNKNOWN


def added(
    user: int, program: Program, pool: Pool, n: int, order: Callable[[Program], ItemOrder], events: np.ndarray
) -> Additions:
    """The additions of one user, with whom a list of min(n, allowed) items exists under the caps.

    Where the pool is too small, it is filled up from the user's other proposals, then by the popularity of the category
    of the user's newest event, then by the popularity of the whole catalogue.

    order: the items that a program allows; events: int32 (n_events,), items of the user's events
    """
    own = pool.items[slice(*np.searchsorted(pool.users, (user, user + 1)))]
    pins = program.pins[0][program.pins[1] <= n]
    pins = pins[~np.isin(pins, own)]
    pins = pins[_test(pool.permitted, user, pins)]
    own = np.concatenate([pins, own]).astype(np.int32)
    counted = own if pool.counts is None else own[_test(pool.counts, user, own)]
    reach = _Reach.build(program, counted, n)
    if reach.enough:
        return _additions(user, pins, len(pins))
    more = pool.further()
    rest = more.items[slice(*np.searchsorted(more.users, (user, user + 1)))]
    further = _usable(pool, user, rest, own)
    reach = _Reach.build(program, np.concatenate([counted, further]), n)
    popular = further[:0]
    if not reach.enough:
        in_pool = np.concatenate([own, further])
        own_items = None if more.own_items is None else more.own_items[user]
        if own_items is not None:
            popular = _usable(pool, user, own_items, in_pool)
        else:
            known = np.concatenate([in_pool, events]).astype(np.int32)
            popular = _popular(_Wanted(user, n, program, pool), order(program), known, in_pool)
        reach = _Reach.build(program, np.concatenate([counted, further, popular]), n)
    if reach.enough or reach.caps < 2:
        further, popular = further[np.isin(further, reach.items)], popular[np.isin(popular, reach.items)]
    return _additions(user, np.concatenate([pins, further, popular]), len(pins) + len(further))


def _additions(user: int, items: np.ndarray, n_proposed: int) -> Additions:
    place = np.maximum(np.arange(len(items), dtype=np.int32) - n_proposed + 1, 0)
    return Additions(np.full(len(items), user, np.int64), items.astype(np.int32), place)


def _test(test: PairTest, user: int, items: np.ndarray) -> np.ndarray:
    return test(np.full(len(items), user, np.int64), items.astype(np.int32))


def _usable(pool: Pool, user: int, items: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The first of equal items, of those that are permitted, count, and are not in the pool."""
    _, first = np.unique(items, return_index=True)
    items = items[np.sort(first)]
    items = items[~np.isin(items, known)]
    items = items[_test(pool.permitted, user, items)]
    return items if pool.counts is None else items[_test(pool.counts, user, items)]


@dataclass(frozen=True, slots=True)
class _Reach:
    """The length that a list of some items gets.

    enough: whether every order of the items gives a list of n; items: the items of one such list
    caps: the largest number of caps that an item falls under
    """

    enough: bool
    items: np.ndarray
    caps: int

    @classmethod
    def build(cls, program: Program, items: np.ndarray, n: int) -> "_Reach":
        """The reach of items in their order.

        If each item falls under at most k caps, a list that no further item fits in has at least 1 / k of the items of
        the longest one (independence systems of rank quotient 1 / k; Korte, Hausmann 1978). So k * n items are enough.
        """
        if not program.capped:
            return cls(len(items) >= n, items[:n], 0)
        keys, bounds = program.limits(items)
        n_caps = (keys > 0).sum(axis=1)
        free = n_caps == 0
        if free.sum() >= n:  # they fit into every list
            return cls(True, items[free][:n], int(n_caps.max()))
        caps = max(1, int(n_caps.max(initial=0)))
        # Rows that fit even if all rows before them were in the list. With one cap an item these are all that fit.
        fits = np.ones(len(items), bool)
        for column in keys.T:
            fits &= (column == 0) | (_rank_of(keys, column) < bounds[column])
        if fits.sum() >= n * caps or caps == 1:
            return cls(bool(fits.sum() >= n * caps), items[fits][: n * caps], caps)
        plain = replace(program, pins=(program.pins[0][:0], program.pins[1][:0]), diversity=0.0)
        falling = -np.arange(len(items), dtype=np.float64)
        rows, _ = pick(Lists(program.known, [plain], np.array([n * caps])), items, falling, np.array([len(items)]))
        return cls(len(rows) >= n * caps, items[rows], caps)


def _rank_of(keys: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The number of rows before each row with the key of the row's `column`, in any column, int64 (n,)."""
    flat = keys.ravel()
    rank = np.empty(len(flat), np.int64)
    order = flat.argsort(kind="stable")
    rank[order] = positions(flat[order])
    place = (keys == column[:, None]).argmax(axis=1)
    return rank.reshape(keys.shape)[np.arange(len(column)), place]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A list that is filled up."""

    user: int
    n: int
    program: Program
    pool: Pool


def _popular(wanted: _Wanted, order: ItemOrder, known: np.ndarray, pool_items: np.ndarray) -> np.ndarray:
    """Items that fill a list up, in their order: the category of the newest event first, then the whole catalogue.

    known: items that may not come in question; pool_items: those that are in the pool
    """
    category = wanted.program.known.statistics.category[order.items]
    newest = wanted.pool.further().newest[wanted.user]
    near = (category == newest) & (newest != UNKNOWN)
    if not wanted.program.capped:
        return _first_usable(wanted, (order.items[near], order.items), pool_items)
    kinds = order.kinds[np.isin(order.items, known)]
    depth = wanted.n + np.bincount(kinds, minlength=int(order.kinds.max(initial=0)) + 1)
    while True:
        inside = order.rank < depth[order.kinds]
        listed = np.concatenate([order.items[inside & near], order.items[inside & ~near]])
        usable = _usable(wanted.pool, wanted.user, listed, pool_items)
        lost = len(listed) - len(usable) > np.isin(listed, known).sum()
        if not lost or inside.all() or _Reach.build(wanted.program, usable, wanted.n).enough:
            return usable
        depth = 4 * depth


def _first_usable(wanted: _Wanted, orders: Sequence[np.ndarray], pool_items: np.ndarray) -> np.ndarray:
    """The first items of some orders, one after the other, that fill a list up, at most n and none twice.

    Unlike `_popular` with caps it reads no more of an order than it needs, since every short list comes here.
    """
    pool = wanted.pool

    def usable(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        fits = pool.permitted(users, items)
        return fits if pool.counts is None else fits & pool.counts(users, items)

    chosen = np.zeros(0, np.int32)
    for order in orders:
        listed = np.concatenate([pool_items, chosen])
        chosen = np.concatenate([chosen, first_allowed(wanted.user, order, wanted.n - len(chosen), usable, listed)])
    return chosen
