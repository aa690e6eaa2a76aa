"""The pre-ranker: a logistic regression that picks candidates from proposals.

The sources propose about a thousand items to an active user, but the ranker scores only `size` of them. All columns of
the pre-ranker are at hand when the sources have made their proposals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

import numpy as np
from pydantic import model_validator

from recsys.features.interactions import Interactions
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.schema import ALL, DAY, EVENT_TYPES, OBJECTIVES, UNKNOWN, Config

KNOTS: Final = tuple(2**power for power in range(11))
"""Positions in a source's list, counted from 1. Between two of them, log-odds are linear in log(position)."""
MAX_RANK: Final = KNOTS[-1]
"""Rank of an item that is not in a source's list. Ranks in a list go up to MAX_RANK - 1, which later items repeat."""
HISTORY_COLUMNS: Final = (
    *(f"weight_{speed}" for speed in ("fast", "medium", "slow")),
    *(f"{name}s" for name in EVENT_TYPES),
    "purchase_days",
    "days_since",
    "repeat_fraction",
    "items",
    "in_history",
)
"""Columns of a user and an item of the user's history.

All are logarithms except `repeat_fraction`, and `in_history`, which is 1.
"""
ITEM_COLUMNS: Final = (
    "item_views",
    "item_carts",
    "item_purchases",
    "item_recent_carts",
    "item_recent_purchases",
    "item_popularity",
    "item_purchase_popularity",
)
"""Statistics of an item; their logarithms are columns of every proposal."""
FAINT: Final = 1e-3
"""Unit of decayed weights: the column of a weight is log(1 + weight / FAINT), which is near 0 below FAINT."""
MAX_WEIGHT: Final = 1e6
"""Largest weight of a fitted model, by its absolute value."""
RIDGE: Final = 0.1
ITERATIONS: Final = 200


class PreRankerModel(Config):
    """A fitted regression: the log-odds that a proposal is a hit, up to an additive constant.

    Weights have names, so that later code with more columns or sources can still serve the version.
    """

    source_value: float
    """Weight of log(sum over the sources of weight / position), the column that decides where hits are few."""
    ranks: dict[str, tuple[float, ...]]
    """For each source, the log-odds that a position in its list adds, at each of `knots`."""
    history: dict[str, float]
    """Weights of HISTORY_COLUMNS."""
    items: dict[str, float]
    """Weights of ITEM_COLUMNS."""
    knots: tuple[int, ...] = KNOTS
    """Positions of the values in `ranks`, see KNOTS."""

    @model_validator(mode="after")
    def _consistent(self) -> "PreRankerModel":
        if not self.knots or self.knots[0] < 1 or any(a >= b for a, b in pairwise(self.knots)):
            raise ValueError(f"knots: expected ascending positions from 1, found {self.knots}")
        for source, values in self.ranks.items():
            if len(values) != len(self.knots):
                raise ValueError(f"ranks.{source}: {len(values)} values, expected {len(self.knots)}")
        for name, known in (("history", HISTORY_COLUMNS), ("items", ITEM_COLUMNS)):
            if unknown := sorted(set(getattr(self, name)) - set(known)):
                raise ValueError(f"{name}: this code does not make the columns {', '.join(unknown)}")
        weights = (self.source_value, *chain(*self.ranks.values()), *self.history.values(), *self.items.values())
        if max(map(abs, weights)) > MAX_WEIGHT:
            raise ValueError(f"a weight is beyond {MAX_WEIGHT:g}")
        return self


class PreRankerModels(Config):
    """The fitted regressions, None if nothing could be learned."""

    all: PreRankerModel | None = None
    discovery: PreRankerModel | None = None
    """For users who ask for items that are new to them."""

    @property
    def by_objective(self) -> tuple[PreRankerModel | None, ...]:
        """The model of each of OBJECTIVES."""
        return self.all, self.discovery, self.all


NO_PRERANKERS: Final = PreRankerModels()


def by_source_weights(source_names: Sequence[str]) -> PreRankerModel:
    """The model without any training: it ranks by the sum of weight / position over the sources."""
    return PreRankerModel(
        source_value=1.0,
        ranks=dict.fromkeys(source_names, (0.0,) * len(KNOTS)),
        history=dict.fromkeys(HISTORY_COLUMNS, 0.0),
        items=dict.fromkeys(ITEM_COLUMNS, 0.0),
    )


@dataclass(frozen=True, slots=True)
class Proposals:
    """Proposals of the sources to a batch of users, ascending by (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,)
    scores: float32 (n, n_sources), each source's score, NaN where it did not propose the item
    ranks: int64 (n, n_sources), position in the source's list for the user, from 0; MAX_RANK if it is not in the list
    history_rows: int64 (n,), row in `Profiles.by_item`, UNKNOWN where the item is new to the user
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    history_rows: np.ndarray


@dataclass(frozen=True, slots=True)
class PreRanker:
    """The models of all OBJECTIVES as arrays for the tables of one cut.

    values: float32 (n_sources, MAX_RANK + 1), weight / position of each source; the last column is 0
    source_value: float32 (n_objectives,), weight of the logarithm of the sum of `values`
    ranks: float32 (n_objectives, n_sources, MAX_RANK + 1), log-odds by rank; the last column is 0
    history: float32 (len(HISTORY_COLUMNS),), weights of the objectives ALL and REPEAT; discovery has no such items
    items: float32 (n_objectives, n_items), log-odds of each item
    """

    values: np.ndarray
    source_value: np.ndarray
    ranks: np.ndarray
    history: np.ndarray
    items: np.ndarray

    @classmethod
    def for_tables(
        cls, models: PreRankerModels, source_weights: Mapping[str, float], statistics: Statistics
    ) -> "PreRanker":
        """The pre-ranker for the statistics of a cut.

        source_weights: the weight of each source by its name, in the order of their columns; `ranks` of the models must
        have every source
        """
        untrained = by_source_weights(tuple(source_weights))
        by_objective = [model or untrained for model in models.by_objective]
        ranks = np.zeros((len(OBJECTIVES), len(source_weights), MAX_RANK + 1), np.float32)
        for row, model in enumerate(by_objective):
            knots = np.array([model.ranks[name] for name in source_weights]).reshape(-1, len(model.knots))
            ranks[row, :, :-1] = knots @ interpolation(np.arange(MAX_RANK), model.knots).T
        columns = item_columns(statistics)
        weights = [
            np.array([model.items.get(name, 0.0) for name in ITEM_COLUMNS], np.float32) for model in by_objective
        ]
        return cls(
            source_values(tuple(source_weights.values())),
            np.array([model.source_value for model in by_objective], np.float32),
            ranks,
            np.array([by_objective[ALL].history.get(name, 0.0) for name in HISTORY_COLUMNS], np.float32),
            np.array([columns @ weight for weight in weights]),
        )

    def __call__(
        self, profiles: Profiles, statistics: Statistics, proposals: Proposals, objectives: np.ndarray
    ) -> np.ndarray:
        """Log-odds of each proposal up to an additive constant, float32 (n,).

        objectives: int8 (n_users,), positions in OBJECTIVES
        """
        objective = objectives[proposals.users]
        sources = np.arange(len(self.values))
        score = self.ranks[objective[:, None], sources, proposals.ranks].sum(axis=1)
        score += self.source_value[objective] * log_source_value(self.values, proposals.ranks)
        score += self.items[objective, proposals.items]
        known = (proposals.history_rows != UNKNOWN).nonzero()[0]
        # Sums row by row: with a matrix product, a user's scores would depend on the other users of the batch.
        by_row = (history_columns(profiles, statistics) * self.history).sum(axis=1)
        score[known] += by_row[proposals.history_rows[known]]
        return score


def source_values(weights: Sequence[float]) -> np.ndarray:
    """weight / position for each source and position, float32 (n_sources, MAX_RANK + 1); the last is 0."""
    values = np.zeros((len(weights), MAX_RANK + 1), np.float32)
    values[:, :-1] = np.array(weights)[:, None] / np.arange(1, MAX_RANK + 1)
    return values


def log_source_value(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of the sources' values, float32 (n,); ranks: int64 (n, n_sources)."""
    logarithm: np.ndarray = np.log(values[np.arange(len(values)), ranks].sum(axis=1))
    return logarithm


def fit_preranker(columns: np.ndarray, hits: np.ndarray, source_names: Sequence[str]) -> PreRankerModel | None:
    """A model fitted on proposals with known outcomes; None if no proposal is a hit, or all are.

    columns: float32 (n, n_columns), as `preranker_columns` makes them; hits: bool (n,)
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second; only training needs it

    if not 0 < np.count_nonzero(hits) < len(hits):
        return None
    scale = np.maximum(np.abs(columns).max(axis=0), np.float32(1e-6))
    regression = LogisticRegression(C=RIDGE, max_iter=ITERATIONS, tol=1e-3)
    weights = regression.fit(columns / scale, hits).coef_[0] / scale
    n_ranks = 1 + len(source_names) * len(KNOTS)
    parts = np.split(weights.astype(np.float64), [1, n_ranks, n_ranks + len(HISTORY_COLUMNS)])
    value, ranks, history, items = (part.tolist() for part in parts)
    by_source = (tuple(ranks[start : start + len(KNOTS)]) for start in range(0, len(ranks), len(KNOTS)))
    return PreRankerModel(
        source_value=value[0],
        ranks=dict(zip(source_names, by_source, strict=True)),
        history=dict(zip(HISTORY_COLUMNS, history, strict=True)),
        items=dict(zip(ITEM_COLUMNS, items, strict=True)),
    )


def preranker_columns(
    profiles: Profiles, statistics: Statistics, proposals: Proposals, rows: np.ndarray, source_weights: Sequence[float]
) -> np.ndarray:
    """The columns of some proposals, float32 (n_rows, n_columns): source value, ranks, history, items.

    rows: int64 (n_rows,), positions in the proposals
    """
    value = log_source_value(source_values(source_weights), proposals.ranks[rows])
    by_rank = np.append(interpolation(np.arange(MAX_RANK)), np.zeros((1, len(KNOTS)), np.float32), axis=0)
    ranks = by_rank[proposals.ranks[rows]].reshape(len(rows), len(source_weights) * len(KNOTS))
    new = np.zeros((1, len(HISTORY_COLUMNS)), np.float32)
    history = np.append(history_columns(profiles, statistics), new, axis=0)[proposals.history_rows[rows]]
    return np.concatenate((value[:, None], ranks, history, item_columns(statistics, proposals.items[rows])), axis=1)


def history_columns(profiles: Profiles, statistics: Statistics) -> np.ndarray:
    """HISTORY_COLUMNS of each row of `profiles.by_item`, float32 (n_rows, len(HISTORY_COLUMNS))."""
    rows: Interactions = profiles.by_item
    table = np.empty((len(rows.users), len(HISTORY_COLUMNS)), np.float32)
    n_kinds = len(EVENT_TYPES)
    np.log1p(rows.decayed / FAINT, out=table[:, :3], casting="same_kind")
    np.log1p(rows.counts, out=table[:, 3 : 3 + n_kinds], casting="same_kind")
    np.log1p(rows.purchase_days, out=table[:, -5], casting="same_kind")
    np.log1p((profiles.now_of(rows.users) - rows.newest) / DAY, out=table[:, -4], casting="same_kind")
    table[:, -3] = np.nan_to_num(statistics.item("item_repeat_fraction")[rows.things])
    table[:, -2] = np.log1p(np.bincount(rows.users, minlength=len(profiles)))[rows.users]
    table[:, -1] = 1.0
    return table


def item_columns(statistics: Statistics, items: np.ndarray | None = None) -> np.ndarray:
    """Logarithms of ITEM_COLUMNS of some items, or of all; float32 (n, len(ITEM_COLUMNS))."""
    columns = [statistics.item(name) if items is None else statistics.item(name)[items] for name in ITEM_COLUMNS]
    return np.log1p(np.nan_to_num(np.stack(columns, axis=1)))


def interpolation(ranks: np.ndarray, knots: Sequence[int] = KNOTS) -> np.ndarray:
    """Weights of the knots for ranks from 0, float32 (n, n_knots); each row adds up to 1."""
    logarithm = np.log2(ranks + 1.0)
    return np.maximum(0, 1 - np.abs(logarithm[:, None] - np.log2(np.array(knots)))).astype(np.float32)
