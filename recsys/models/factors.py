"""Item factors, and user factors computed from histories (fold-in). Serving needs no more of a factorization."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.arrays import offsets_of
from recsys.histories import Histories
from recsys.schema import UNKNOWN

PAIRS_AT_ONCE = 1 << 16
"""Pairs scored in one step; bounds the working memory."""
CELLS_AT_ONCE = 1 << 14
"""Cells (user, item) folded in in one step; bounds the working memory."""


@dataclass(frozen=True)
class ItemFactors:
    """Item factors, and the settings that turn a history into user factors.

    factors: float32 (n_known, k), the matrix B
    rows: int32 (n_items,), row of each item in `factors`, or UNKNOWN
    gram: float64 (k, k), BᵀB
    weights: float64 (n_types,), event weights by code
    regularization, alpha: λ and alpha of the fit, as absolute numbers
    log_values: whether the value of a cell is ln(1 + sum of weights) instead of the sum
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
        """(BᵀB + λI)⁻¹, float64 (k, k)."""
        return np.linalg.inv(self._ridge)

    @property
    def known(self) -> np.ndarray:
        """Whether an item has a factor, bool (n_items,)."""
        return self.rows != UNKNOWN

    def warm(self, histories: Histories) -> np.ndarray:
        """Whether each user has an event of positive weight on an item with a factor, bool (n_users,)."""
        counts = (self.weights[histories.events] > 0) & (self.rows[histories.items] != UNKNOWN)
        return np.asarray(np.bincount(histories.rows[counts], minlength=len(histories)) > 0)

    def fold_in(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """User factors, float32 (n_users, k), and whether each user is warm (see `warm`), bool (n_users,).

        The factors of a warm user with the items S are (BᵀB + λI + B_Sᵀ W B_S)⁻¹ B_Sᵀ (1 + w), where w = alpha * value
        for each item and W = diag(w) (Hu, Koren, Volinsky 2008, eq. 4). Items without a factor are ignored. The
        factors of other users are zero. Users with the same number of items are solved in one batch. Each user has
        its own system there, so the result for one user does not depend on the others.
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
        """User factors of m users with n items each, float64 (m, k); factors: (m, n, k); weights: w, (m, n).

        With at most as many items as dimensions, n equations are solved instead of k. With G = BᵀB + λI:
        (G + B_SᵀWB_S)⁻¹B_Sᵀ = G⁻¹B_Sᵀ(I + WB_SG⁻¹B_Sᵀ)⁻¹.
        """
        items = factors.astype(np.float64)
        transposed = items.transpose(0, 2, 1)
        n_items = items.shape[1]
        preference = 1 + weights[:, :, None]
        if n_items > len(self.gram):
            system = self._ridge + transposed @ (weights[:, :, None] * items)
            return np.linalg.solve(system, transposed @ preference)[:, :, 0]
        projected = items @ self._inverse
        system = np.eye(n_items) + weights[:, :, None] * (projected @ transposed)
        return (projected.transpose(0, 2, 1) @ np.linalg.solve(system, preference))[:, :, 0]

    def score(self, user_factors: np.ndarray, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Dot products of user and item factors, float32 (n_pairs,).

        A pair has NaN where the item has no factor or the user is not warm (all user factors are zero).
        user_factors: float32 (n_users, k); users: int (n_pairs,), rows of `user_factors`
        items: int (n_pairs,), item codes
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
        """The factors stored as `arrays` returns them. Memory-mapped arrays are not copied."""
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
    """User, item and value of each (user, item) with events of positive weight, ordered by user, then item.

    The users int64, the items int64 and the values float64, (n_cells,) each.
    weights: float64 (n_types,), event weights by code; log_values: see ItemFactors
    rows: int32 (n_items,); if given, items with UNKNOWN here are left out
    The events of a cell are counted by type before they are weighted, so the value does not depend on their order.
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
    """Each length above 0, with the positions of that length in batches of at most CELLS_AT_ONCE cells."""
    order = np.argsort(lengths, kind="stable")
    distinct, counts = np.unique(lengths, return_counts=True)
    for length, end, count in zip(distinct.tolist(), np.cumsum(counts), counts, strict=True):
        if length:
            step = max(1, CELLS_AT_ONCE // length)
            for start in range(end - count, end, step):
                yield length, order[start : min(start + step, end)]
