"""Item factors, and user factors folded in from histories: all that serving needs of a factorization."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.arrays import offsets_of
from recsys.histories import Histories
from recsys.schema import UNKNOWN

PAIRS_AT_ONCE = 1 << 16
EVENTS_AT_ONCE = 1 << 14
"""Bounds of the working memory."""


@dataclass(frozen=True)
class ItemFactors:
    """Item factors and what it takes to compute a user's from a history.

    factors: float32 (n_known, k), B
    rows: int32 (n_items,), position of each item in `factors`, or UNKNOWN
    gram: float64 (k, k), BᵀB
    regularization, alpha: λ and alpha of the fit, in absolute terms
    log_values: whether a cell's value is ln(1 + sum of weights) or the sum
    weights: float64 (n_types,), event weights by code
    """

    factors: np.ndarray
    rows: np.ndarray
    gram: np.ndarray
    weights: np.ndarray
    regularization: float
    alpha: float
    log_values: bool

    @cached_property
    def _ridge(self) -> np.ndarray:
        """BᵀB + λI, float64 (k, k)."""
        return self.gram + self.regularization * np.eye(len(self.gram))

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self._ridge)

    @property
    def known(self) -> np.ndarray:
        """Whether an item has a factor, bool (n_items,)."""
        return self.rows != UNKNOWN

    def warm(self, histories: Histories) -> np.ndarray:
        """Who has an event of positive weight on an item with a factor, bool (n_users,)."""
        counts = (self.weights[histories.events] > 0) & (self.rows[histories.items] != UNKNOWN)
        return np.asarray(np.bincount(histories.rows[counts], minlength=len(histories)) > 0)

    def fold_in(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """User factors, float32 (n_users, k), and who is warm, bool (n_users,).

        Warm is who has an event on an item with a factor. Their factors are, over their items S with
        w = alpha * value, (BᵀB + λI + B_Sᵀ W B_S)⁻¹ B_Sᵀ (1 + w) (Hu, Koren, Volinsky 2008, eq. 4); items
        without a factor are ignored, and the factors of those who are not warm are zero. Users with equally
        many items are solved together, each by operations of its own, so that the result for one user does
        not depend on the others.
        """
        users, items, values = cells(histories, self.weights, self.log_values, self.rows)
        lengths = np.bincount(users, minlength=len(histories))
        starts = offsets_of(lengths)[:-1]
        result = np.zeros((len(histories), len(self.gram)), np.float32)
        for n_items, batch in _equal_lengths(lengths):
            index = starts[batch][:, None] + np.arange(n_items)
            result[batch] = self._solve(self.factors[self.rows[items[index]]], self.alpha * values[index])
        return result, lengths > 0

    def _solve(self, factors: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Fold-in of m users with n items each; factors (m, n, k), weights (m, n); float64 (m, k).

        With fewer items than dimensions the same solution comes from a system of n equations instead of k:
        (G + BᵀWB)⁻¹Bᵀ = G⁻¹Bᵀ(I + WBG⁻¹Bᵀ)⁻¹.
        """
        left = factors.astype(np.float64)
        right = left.transpose(0, 2, 1)
        n_items = left.shape[1]
        preference = 1 + weights[:, :, None]
        if n_items > len(self.gram):
            system = self._ridge + right @ (weights[:, :, None] * left)
            return np.linalg.solve(system, right @ preference)[:, :, 0]
        projected = left @ self._inverse
        system = np.eye(n_items) + weights[:, :, None] * (projected @ right)
        return (projected.transpose(0, 2, 1) @ np.linalg.solve(system, preference))[:, :, 0]

    def score(self, user_factors: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Dot products of user and item factors, float32 (n_pairs,); NaN where the item has no factor.

        user_factors: float32 (n_users, k); users: int (n_pairs,), rows of it; items: int (n_pairs,), item
        codes. A user who is not warm has zero factors and gets NaN as well.
        """
        rows = self.rows[items]
        warm = np.any(user_factors != 0, axis=1)
        result = np.full(len(items), np.nan, np.float32)
        pairs = np.flatnonzero((rows != UNKNOWN) & warm[users])
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            part = pairs[start : start + PAIRS_AT_ONCE]
            result[part] = np.einsum("ij,ij->i", user_factors[users[part]], self.factors[rows[part]])
        return result

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name; `settings` is float64 [λ, alpha, log_values, event weights …]."""
        settings = np.array([self.regularization, self.alpha, self.log_values, *self.weights], np.float64)
        return {"factors": self.factors, "rows": self.rows, "gram": self.gram, "settings": settings}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ItemFactors":
        """From what `arrays` gave; memory-mapped arrays stay so."""
        regularization, alpha, log_values, *weights = arrays["settings"].tolist()
        return cls(
            arrays["factors"],
            arrays["rows"],
            arrays["gram"],
            np.array(weights),
            regularization,
            alpha,
            log_values > 0,
        )


def cells(
    histories: Histories, weights: np.ndarray, log_values: bool, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and value of every (user, item) with events of positive weight, by user and then item.

    With `rows`, only of items that have one. Events are counted by type and the counts weighted, so that a
    cell's value does not depend on the order of its events.
    """
    keep = weights[histories.events] > 0
    if rows is not None:
        keep &= rows[histories.items] != UNKNOWN
    users, items, events = histories.rows[keep], histories.items[keep], histories.events[keep]
    width = int(items.max(initial=0)) + 1
    distinct, cell = np.unique(users * width + items, return_inverse=True)
    counts = np.bincount(cell * len(weights) + events, minlength=len(distinct) * len(weights))
    values = (counts.reshape(-1, len(weights)) * weights).sum(axis=1)
    return distinct // width, distinct % width, np.log1p(values) if log_values else values


def _equal_lengths(lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each length above 0 with the positions that have it, a bounded number at once."""
    order = np.argsort(lengths, kind="stable")
    distinct, counts = np.unique(lengths, return_counts=True)
    for length, end, count in zip(distinct.tolist(), np.cumsum(counts), counts, strict=True):
        if length:
            step = max(1, EVENTS_AT_ONCE // length)
            for start in range(end - count, end, step):
                yield length, order[start : min(start + step, end)]
