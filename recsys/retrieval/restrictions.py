"""Filters of requests on candidates, and pairs that must become candidates although no source proposed them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from recsys.arrays import find, order_within
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.retrieval.preranker import MAX_RANK, PreRanker, Proposals
from recsys.schema import REPEAT, UNKNOWN

PairTest = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A test of pairs: users int64 (n,) and items int32 (n,) to bool (n,)."""
FILL_STEP = 1024
"""Items of an order that are checked at a time; more are checked only where these are not enough."""
NOTHING = np.zeros(0, np.int32)


def first_allowed(
    request: int, order: np.ndarray, n: int, allowed: PairTest, listed: np.ndarray = NOTHING
) -> np.ndarray:
    """The first `n` items of an order that a request may get and that are not listed yet."""
    parts: list[np.ndarray] = []
    for start in range(0, len(order), FILL_STEP):
        some = order[start : start + FILL_STEP]
        new = some[allowed(np.full(len(some), request), some) & ~np.isin(some, listed)][:n]
        parts.append(new)
        n -= len(new)
        if not n:
            break
    return np.concatenate([np.zeros(0, order.dtype), *parts])


@dataclass(frozen=True, slots=True)
class Further:
    """The items from which a pool that is too small is filled up.

    users, items: allowed proposals that did not become candidates, user after user, best first
    newest: int32 (n_users,), category of each user's newest event, or UNKNOWN
    own_items: for users whose lists hold items of their history alone, these items, int32 (n,); None for other users
    """

    users: np.ndarray
    items: np.ndarray
    newest: np.ndarray
    own_items: Sequence[np.ndarray | None] | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates so far.

    users: int64 (n,), ascending; items: int32 (n,)
    further: called where a pool is too small, which is seldom
    permitted: whether a user may get an item at all: filters, availability and what else the route demands
    counts: whether an item counts for the length of a list; None if each does. Items of the history do not where a cap
        bounds them.
    """

    users: np.ndarray
    items: np.ndarray
    further: Callable[[], Further]
    permitted: PairTest
    counts: PairTest | None = None


@dataclass(frozen=True, slots=True)
class Additions:
    """Pairs to rank besides the pool, user after user; users: int64 (n,); items: int32 (n,).

    place: int32 (n,), 1 for a user's first item of the order of popularity, then 2, …; 0 for pins and for proposals
    """

    users: np.ndarray
    items: np.ndarray
    place: np.ndarray

    @classmethod
    def concat(cls, parts: "Sequence[Additions]") -> "Additions":
        """All parts, one after the other."""
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(part.users for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.items for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.place for part in parts)]),
        )


class Restrictions(Protocol):
    """The rules of a batch, as far as candidates depend on them."""

    def allows(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each item is available and passes the filters of its user, bool (n,)."""

    def additions(self, pool: Pool) -> Additions:
        """The pairs that must become candidates too; none of them is in the pool."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Proposals with the scores of the pre-ranker, float32 (n,), and `best`, int64, the rows that became candidates."""

    proposals: Proposals
    scores: np.ndarray
    best: np.ndarray


@dataclass(frozen=True, slots=True)
class Extension:
    """Adds what the rules of a batch demand to its candidates.

    permitted: filters, availability, objective and earlier purchases
    objectives, repeat_caps: see `generate`
    """

    restrictions: Restrictions
    permitted: PairTest
    profiles: Profiles
    statistics: Statistics
    preranker: PreRanker
    objectives: np.ndarray
    repeat_caps: np.ndarray | None

    def __call__(self, before: Ranked) -> tuple[Ranked, np.ndarray]:
        """The proposals with the additions among the best, and the place of each of the best, int32 (n,)."""
        proposals = before.proposals
        pool = Pool(
            proposals.users[before.best],
            proposals.items[before.best],
            cache(lambda: self._further(before)),
            self.permitted,
            None if self.repeat_caps is None else self._counts,
        )
        more = self.restrictions.additions(pool)
        if not len(more.items):
            return before, np.zeros(len(before.best), np.int32)
        width = max(self.statistics.n_items, 1)
        rows = find(proposals.users * width + proposals.items, more.users * width + more.items)
        new = rows == UNKNOWN
        rows[new] = len(proposals.users) + np.arange(np.count_nonzero(new))
        blank = self._blank(more.users[new], more.items[new], proposals.scores.shape[1])
        joined = Proposals(
            *(np.concatenate([getattr(proposals, name), getattr(blank, name)]) for name in Proposals.__slots__)
        )
        scores = np.concatenate([before.scores, self._scores(blank)])
        best = np.concatenate([before.best, rows])
        place = np.concatenate([np.zeros(len(before.best), np.int32), more.place])
        order = np.lexsort((joined.items[best], joined.users[best]))
        return Ranked(joined, scores, best[order]), place[order]

    def _further(self, before: Ranked) -> Further:
        proposals = before.proposals
        rest = np.ones(len(proposals.users), bool)
        rest[before.best] = False
        rest_rows = rest.nonzero()[0]
        rest_rows = rest_rows[order_within(proposals.users[rest_rows], before.scores[rest_rows])]
        return Further(
            proposals.users[rest_rows],
            proposals.items[rest_rows],
            newest_category(self.profiles, self.statistics),
            _own_items(self.profiles, self.objectives),
        )

    def _counts(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        new: np.ndarray = self.profiles.by_item.find(users, items) == UNKNOWN
        return new if self.repeat_caps is None else new | (self.repeat_caps[users] >= 1)

    def _blank(self, users: np.ndarray, items: np.ndarray, n_sources: int) -> Proposals:
        """Pairs that no source proposed."""
        scores = np.full((len(users), n_sources), np.nan, np.float32)
        ranks = np.full((len(users), n_sources), MAX_RANK)
        return Proposals(users, items, scores, ranks, self.profiles.by_item.find(users, items))

    def _scores(self, blank: Proposals) -> np.ndarray:
        """The pre-ranker's scores of such pairs, as if they stood at the end of the first source's list.

        Without a position, the logarithm of the sources' value would be infinite.
        """
        weighted = self.preranker.values[:, 0] > 0
        if not len(blank.users) or not weighted.any():
            return np.zeros(len(blank.users), np.float32)
        ranks = blank.ranks.copy()
        ranks[:, weighted.argmax()] = MAX_RANK - 1
        last = Proposals(blank.users, blank.items, blank.scores, ranks, blank.history_rows)
        return self.preranker(self.profiles, self.statistics, last, self.objectives)


def newest_category(profiles: Profiles, statistics: Statistics) -> np.ndarray:
    """The category of each user's newest event on an item with a category, int32 (n_users,), UNKNOWN for none."""
    newest = np.full(len(profiles), UNKNOWN, np.int32)
    categories = statistics.category[profiles.histories.items]
    known = categories != UNKNOWN
    newest[profiles.histories.rows[known]] = categories[known]  # of several values for a user the last one stays
    return newest


def _own_items(profiles: Profiles, objectives: np.ndarray) -> list[np.ndarray | None] | None:
    """The items of the history of each user with objective REPEAT; None if there is no such user."""
    if not (objectives == REPEAT).any():
        return None
    borders = np.searchsorted(profiles.by_item.users, np.arange(len(profiles) + 1)).tolist()
    return [
        profiles.by_item.things[borders[user] : borders[user + 1]].astype(np.int32) if repeat else None
        for user, repeat in enumerate((objectives == REPEAT).tolist())
    ]
