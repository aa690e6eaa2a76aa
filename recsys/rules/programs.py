"""The programs of a batch: which items each user may get, which must be ranked besides, and their order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from scipy.special import expit, logit

from recsys.arrays import find, offsets_of, order_within, ragged_indices
from recsys.histories import Histories
from recsys.retrieval.restrictions import Additions, Pool
from recsys.rules.additions import added
from recsys.rules.items import RuleItems
from recsys.rules.pick import Arranged, Lists, pick
from recsys.rules.program import ItemOrder, Program
from recsys.schema import PURCHASE, UNKNOWN

EXCLUSIONS: Final = ("exclude_seen", "exclude_purchased")
NEVER_ONE: Final = 1e-12
"""Scores are kept this far from 0 and 1, where odds would be 0 or infinite."""


class Programs:
    """The programs of a batch of users.

    Every answer is the same whatever other users are in the batch.
    """

    def __init__(
        self,
        known: RuleItems,
        programs: Sequence[Program],
        which: np.ndarray,
        n: np.ndarray,
        histories: Histories,
        order: Callable[[Program], ItemOrder],
    ) -> None:
        """which, n: int64 (n_users,), the program of each user and the largest length of the list"""
        self._known, self._programs, self._which, self.n = known, programs, which, n
        self._histories, self._order = histories, order
        self._excluded = self._excluded_keys()
        self.kept_out = 0
        """Pairs that `allows` has kept out so far, a pair that was asked for twice counted twice."""

    def __len__(self) -> int:
        return len(self._which)

    def allows(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each item is available and passes the filters of its user, bool (n,)."""
        allowed = np.empty(len(items), bool)
        for program, rows in self._by_program(users):
            allowed[rows] = program.allows(items[rows])
        if self._excluded is not None:
            allowed &= find(self._excluded, users * len(self._known) + items) == UNKNOWN
        self.kept_out += len(allowed) - int(np.count_nonzero(allowed))
        return allowed

    def additions(self, pool: Pool, *, of_all: bool = False) -> Additions:
        """The pairs that must be ranked besides the pool: pins, and items that fill the lists up.

        With them, min(n, allowed) items come back to each user who has a rule: see `added`.
        of_all: whether the lists of users without a rule are filled up too
        """
        counted = pool.users if pool.counts is None else pool.users[pool.counts(pool.users, pool.items)]
        enough = np.bincount(counted, minlength=len(self)) >= self.n
        parts = []
        for user, number in enumerate(self._which.tolist()):
            program = self._programs[number]
            if (of_all or not program.trivial) and not (enough[user] and program.only_filters):
                n, events = int(self.n[user]), self._items_of(user)
                parts.append(added(user, program, pool, n, self._order, events))
        return Additions.concat(parts)

    def adjusted(self, users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The scores by which lists are ordered, float64 (n,).

        Boosts multiply the odds s / (1 - s), burials divide them. So a boost of 2 counts an item as if it were twice as
        likely, the result stays on [0, 1], and the order of equally boosted items stays. Without boosts and burials a
        user's scores are returned as they are.
        scores: float64 (n,), on [0, 1]
        """
        result = scores
        for program, rows in self._by_program(users):
            if program.moving:
                result = scores.copy() if result is scores else result
                odds = logit(np.clip(scores[rows], NEVER_ONE, 1 - NEVER_ONE)) + program.log_factors(items[rows])
                result[rows] = expit(odds)
        return result

    def arrange(
        self,
        users: np.ndarray,
        items: np.ndarray,
        scores: np.ndarray,
        in_history: np.ndarray | None = None,
        repeat_caps: np.ndarray | None = None,
    ) -> Arranged:
        """The list of each user: at most n items by falling adjusted score, under diversity, caps and pins.

        users: int64 (n,); items: int32 (n,); scores: float64 (n,), on [0, 1]; in any order, no pair twice
        in_history: bool (n,); repeat_caps: float64 (n_users,), largest fraction of each first part of a list for items
            of the history, 1 for no cap
        """
        adjusted = self.adjusted(users, items, scores)
        order = order_within(users, adjusted, items)
        lengths = np.bincount(users, minlength=len(self))
        starts = offsets_of(lengths)
        chosen = np.array([self._programs[one].arranges for one in self._which.tolist()], bool)
        for user in chosen.nonzero()[0].tolist():
            first = order[starts[user] : starts[user + 1]][: self.n[user]]
            chosen[user] = not self._programs[self._which[user]].permits(items[first])
        if repeat_caps is not None:
            chosen |= repeat_caps < 1
        kept = np.where(chosen, 0, np.minimum(lengths, self.n))
        rows = order[ragged_indices(starts[:-1], kept)]
        if chosen.any():
            picked = chosen.nonzero()[0]
            lists = Lists(self._known, [self._programs[self._which[user]] for user in picked.tolist()], self.n[picked])
            own = order[ragged_indices(starts[picked], lengths[picked])]
            repeats = None if repeat_caps is None or in_history is None else (in_history[own], repeat_caps[picked])
            picks, n_picks = pick(lists, items[own], adjusted[own], lengths[picked], repeats)
            owners = np.concatenate([np.arange(len(self)).repeat(kept), picked.repeat(n_picks)])
            rows = np.concatenate([rows, own[picks]])[owners.argsort(kind="stable")]
            kept[picked] = n_picks
        return Arranged(rows, kept)

    def note(self, user: int) -> str | None:
        """The reason why the list of a user may be empty; None where no rule is at fault."""
        program = self._programs[self._which[user]]
        return None if program.trivial else program.note()

    def names(self, users: np.ndarray, items: np.ndarray) -> list[tuple[str, ...]]:
        """The rules that moved or pinned each item, see `Program.names`; for the few items of a response."""
        names: list[tuple[str, ...]] = [()] * len(items)
        for program, rows in self._by_program(users):
            positions = np.arange(len(items))[rows].tolist()
            for position, own in zip(positions, program.names(items[rows], self.n[users[rows]]), strict=True):
                names[position] = own
        return names

    def _by_program(self, users: np.ndarray) -> Iterator[tuple[Program, slice | np.ndarray]]:
        """Each program with its rows."""
        if len(self._programs) == 1:
            yield self._programs[0], slice(None)
            return
        which = self._which[users]
        order = which.argsort(kind="stable")
        borders = offsets_of(np.bincount(which, minlength=len(self._programs))).tolist()
        for number, program in enumerate(self._programs):
            if borders[number] < borders[number + 1]:
                yield program, order[borders[number] : borders[number + 1]]

    def _excluded_keys(self) -> np.ndarray | None:
        """Pairs that users exclude by their events, as user * n_items + item, ascending; None where nobody does."""
        requests = [program.request for program in self._programs]
        if not any(one.exclude_seen or one.exclude_purchased for one in requests):
            return None
        seen, bought = (np.array([getattr(one, name) for one in requests], bool) for name in EXCLUSIONS)
        users = self._histories.rows
        which = self._which[users]
        left_out = seen[which] | (bought[which] & (self._histories.events == PURCHASE))
        return np.unique(users[left_out] * len(self._known) + self._histories.items[left_out])

    def _items_of(self, user: int) -> np.ndarray:
        """The items of a user's events."""
        return self._histories.items[slice(*self._histories.offsets[user : user + 2].tolist())]
