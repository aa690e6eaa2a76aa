"""The last stage of a list: diversity, caps and pins, chosen position after position for a batch of users."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of
from recsys.rules.items import RuleItems
from recsys.rules.program import Program
from recsys.schema import UNKNOWN

ROUNDING = 1e-9
"""Added before a quotient is rounded down, as in `cap_repeats`: the caps of both are the same."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """Ordered lists, user after user. rows: int64 (n_kept,), rows of the input; lengths: int64 (n_users,)."""

    rows: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True, slots=True)
class Lists:
    """The users whose lists are picked; n: int64 (n_users,), largest lengths."""

    known: RuleItems
    programs: Sequence[Program]
    n: np.ndarray


def pick(
    lists: Lists,
    items: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    repeats: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each list, int64 (n_kept,), user after user and in the order of the list, and their numbers.

    Each position gets the best item that no cap forbids. With diversity d, the best is the one with the largest
    (1 - d) * score / highest score - d * largest similarity to an item before it (Carbonell, Goldstein 1998). A pinned
    item stands at its position. It counts for the caps from the start, so that other items give way to it; caps never
    remove it. Where a list is too short for a position, the pinned item
    stands at its end.

    items: int32 (n,); scores: float64 (n,): user after user, by falling score; lengths: int64 (n_users,), rows of each
    repeats: bool (n,), whether an item is in the user's history, and float64 (n_users,), see `cap_repeats`
    """
    table = _Table.build(lists, items, scores, lengths)
    n_users = len(lengths)
    chosen = np.full((n_users, int(lists.n.max(initial=0))), UNKNOWN)
    known = np.zeros((n_users, table.valid.shape[1]), bool)
    caps = np.ones(n_users)
    if repeats is not None:
        known[table.valid], caps = repeats
    n_known = np.zeros(n_users, np.int64)
    users = np.arange(n_users)
    for position in range(chosen.shape[1]):
        feasible = table.feasible()
        if repeats is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                # The i-th item of the history (i from 0) may stand at position p (from 1) if caps * p > i.
                first = np.where(caps > 0, np.floor(n_known / caps + ROUNDING) + 1, np.inf)
            feasible &= ~known | (position + 1 >= first)[:, None]
        value = np.where(feasible, table.value(), -np.inf)
        column = value.argmax(axis=1)
        column = np.where(value[users, column] > -np.inf, column, UNKNOWN)
        column = table.with_pins(column, position)
        live = ((column != UNKNOWN) & (position < lists.n)).nonzero()[0]
        if not len(live):
            break
        chosen[live, position] = column[live]
        n_known[live] += known[live, column[live]]
        table.take(live, column[live])
    listed = chosen != UNKNOWN
    starts = offsets_of(lengths)[:-1]
    return (starts[:, None] + chosen)[listed], listed.sum(axis=1)


@dataclass(slots=True)
class _Table:
    """The rows of all users side by side, (n_users, width), and what is left of them.

    keys: int64 (n_users, width, n_caps), 0 for no cap; left: float64 (n_keys,), items that each cap still allows
    pins: int64 (n_users, n_positions), column of the pinned item of each position, or UNKNOWN
    """

    valid: np.ndarray
    free: np.ndarray
    score: np.ndarray
    keys: np.ndarray
    left: np.ndarray
    pins: np.ndarray
    diversity: np.ndarray
    likeness: "_Likeness | None"

    @classmethod
    def build(cls, lists: Lists, items: np.ndarray, scores: np.ndarray, lengths: np.ndarray) -> "_Table":
        width = max(1, int(lengths.max(initial=0)))
        valid = np.arange(width) < lengths[:, None]
        codes = np.full(valid.shape, UNKNOWN, np.int64)
        codes[valid] = items
        diversity = np.array([program.diversity for program in lists.programs])
        score = np.zeros(valid.shape)
        score[valid] = scores
        score = score / np.maximum(score.max(axis=1, initial=0.0), 1e-300)[:, None]
        # Without diversity the order of the rows is the order of the list, also where scores tie.
        score = np.where(diversity[:, None] > 0, (1 - diversity[:, None]) * score, -np.arange(width, dtype=float))
        keys, left = _caps(lists, codes, lengths)
        pins = _pins(lists, codes)
        table = cls(valid, valid.copy(), score, keys, left, pins, diversity, None)
        if diversity.any():
            table.likeness = _Likeness(lists.known, codes, valid)
        reserved = (pins != UNKNOWN).nonzero()
        table.free[reserved[0], pins[reserved]] = False
        np.subtract.at(table.left, keys[reserved[0], pins[reserved]].ravel(), 1)
        return table

    def feasible(self) -> np.ndarray:
        """Whether each row may be chosen, bool (n_users, width)."""
        return np.asarray(self.free & (self.left[self.keys] > 0).all(axis=2))

    def value(self) -> np.ndarray:
        """The value by which rows are chosen, float64 (n_users, width); the best row has most of it."""
        if self.likeness is None:
            return self.score
        return self.score - self.diversity[:, None] * self.likeness.nearest

    def with_pins(self, column: np.ndarray, position: int) -> np.ndarray:
        """The chosen columns: the pin of this position, or where nothing else is left the pin of the last position.

        So all pins up to the end of the list stand at their positions.
        """
        if not self.pins.shape[1]:
            return column
        if position < self.pins.shape[1]:
            column = np.where(self.pins[:, position] != UNKNOWN, self.pins[:, position], column)
        waiting = self.pins != UNKNOWN
        last = waiting.shape[1] - 1 - waiting[:, ::-1].argmax(axis=1)
        fallback = np.where(waiting.any(axis=1), self.pins[np.arange(len(last)), last], UNKNOWN)
        return np.where(column == UNKNOWN, fallback, column)

    def take(self, users: np.ndarray, columns: np.ndarray) -> None:
        """Move rows into the lists; a pinned row has its place under the caps already."""
        own = self.pins[users] == columns[:, None]
        pinned = own.any(axis=1)
        self.pins[users] = np.where(own, UNKNOWN, self.pins[users])
        self.free[users, columns] = False
        np.subtract.at(self.left, self.keys[users[~pinned], columns[~pinned]].ravel(), 1)
        self.left[0] = np.inf
        if self.likeness is not None:
            self.likeness.add(users, columns)


def _caps(lists: Lists, codes: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys of all rows, different for each user, and the bound of each key."""
    parts, bounds, start = [], [np.array([np.inf])], 1
    for user, program in enumerate(lists.programs):
        keys, own = NO_KEYS, NO_BOUNDS
        if program.capped:
            keys, own = program.limits(codes[user, : lengths[user]].astype(np.int32))
        parts.append(np.where(keys > 0, keys + start - 1, 0))
        bounds.append(own[1:])
        start += len(own) - 1
    table = np.zeros((*codes.shape, max(part.shape[1] for part in parts)), np.int64)
    for user, part in enumerate(parts):
        table[user, : len(part), : part.shape[1]] = part
    return table, np.concatenate(bounds)


NO_KEYS = np.zeros((0, 1), np.int64)
NO_BOUNDS = np.array([np.inf])


def _pins(lists: Lists, codes: np.ndarray) -> np.ndarray:
    """See _Table; pins beyond the end of a list, and those that are not among the rows, are left out."""
    last = max((int(program.pins[1].max(initial=0)) for program in lists.programs), default=0)
    table = np.full((len(codes), min(last, int(lists.n.max(initial=0)))), UNKNOWN)
    for user, program in enumerate(lists.programs):
        for item, position in zip(*program.pins, strict=True):
            columns = (codes[user] == item).nonzero()[0]
            if position <= lists.n[user] and len(columns):
                table[user, position - 1] = columns[0]
    return table


class _Likeness:
    """The largest similarity of each row to a chosen row of its user, on [0, 1].

    The similarity of two items is the mean of two parts, of those that are known: the fraction of the levels of the
    category tree on which they agree, and the cosine of their item factors where it is positive.
    """

    def __init__(self, known: RuleItems, codes: np.ndarray, valid: np.ndarray) -> None:
        items = np.where(valid, codes, 0)
        self._levels = known.statistics.levels[items]
        rows = known.factors.rows[items]
        factors = known.factors.factors
        vectors = factors[np.maximum(rows, 0)] if len(factors) else np.zeros((*rows.shape, 1))
        norms = np.sqrt(np.einsum("uwk,uwk->uw", vectors, vectors))
        self._known = (rows != UNKNOWN) & (norms > 0)
        self._vectors = vectors / np.where(self._known, norms, 1.0)[:, :, None]
        self.nearest = np.zeros(valid.shape)

    def add(self, users: np.ndarray, columns: np.ndarray) -> None:
        """Let rows be chosen, one of each of some users."""
        levels, own = self._levels[users], self._levels[users, columns][:, None]
        by_level = (levels == own) & (own != UNKNOWN)
        has_level = (levels[:, :, -1:] != UNKNOWN) & (own[:, :, -1:] != UNKNOWN)
        tree = by_level.mean(axis=2) if levels.shape[2] else np.zeros(levels.shape[:2])
        cosine = np.einsum("uwk,uk->uw", self._vectors[users], self._vectors[users, columns])
        has_cosine = self._known[users] & self._known[users, columns][:, None]
        parts = has_level[:, :, 0].astype(int) + has_cosine
        total = np.where(has_level[:, :, 0], tree, 0) + np.where(has_cosine, np.maximum(cosine, 0), 0)
        self.nearest[users] = np.maximum(self.nearest[users], total / np.maximum(parts, 1))
