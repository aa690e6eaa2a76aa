"""Which proposals become candidates: a logistic regression over what is known of each without further work.

It ranks before the ranker: the sources propose a thousand items to a busy user, and the ranker looks at `size` of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from pydantic import Field

from recsys.features.interactions import Interactions
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.schema import ALL, DAY, EVENT_TYPES, OBJECTIVES, SOURCES, UNKNOWN, Config

KNOTS: Final = 2 ** np.arange(11)
"""Places in a source's list, from 1, between which log-odds are interpolated by the logarithm of the place."""
MAX_RANK: Final = int(KNOTS[-1])
OWN_COLUMNS: Final = (
    *(f"weight_{speed}" for speed in ("fast", "medium", "slow")),
    *(f"{name}s" for name in EVENT_TYPES),
    "purchase_days",
    "days_since",
    "repeat_share",
    "items",
    "own",
)
"""What is known of a user and an item of theirs; logarithms but for the shares and `own`, which is 1."""
PRIOR_COLUMNS: Final = (
    "item_views",
    "item_carts",
    "item_purchases",
    "item_recent_carts",
    "item_recent_purchases",
    "item_popularity",
    "item_purchase_popularity",
)
"""Statistics of an item, whose logarithms count for every user."""
FAINT: Final = 1e-3
"""The decayed weight below which an item counts as forgotten."""
RIDGE: Final = 0.1
ITERATIONS: Final = 200

Weights = tuple[float, ...]


class PreRankerModel(Config):
    """Log-odds, but for a constant, that a proposal is a hit."""

    shares: float
    """Weight of the logarithm of the sum of share / place over the sources: where hits are few, most of what counts."""
    ranks: Annotated[tuple[Weights, ...], Field(min_length=len(SOURCES), max_length=len(SOURCES))]
    """For each source what a place in its list adds, at each of KNOTS."""
    own: Annotated[Weights, Field(min_length=len(OWN_COLUMNS), max_length=len(OWN_COLUMNS))]
    prior: Annotated[Weights, Field(min_length=len(PRIOR_COLUMNS), max_length=len(PRIOR_COLUMNS))]


class PreRankerModels(Config):
    """What was learned, None where nothing could be."""

    all: PreRankerModel | None = None
    discover: PreRankerModel | None = None
    """For items that are new to the user."""


NO_PRERANKERS: Final = PreRankerModels()
MODEL_OF_OBJECTIVE: Final = ("all", "discover", "all")
"""The selector of each of OBJECTIVES."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """What the sources propose to a batch of users, ascending by (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,)
    scores: float32 (n, len(SOURCES)), each source's score, NaN where it did not propose the item
    turns: int64 (n, len(SOURCES)), place in the source's list of the user from 0, at most MAX_TURN, which also says
    that the source did not propose the item
    own: int64 (n,), row in `Profiles.by_item`, UNKNOWN where the item is not the user's
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    own: np.ndarray


@dataclass(frozen=True, slots=True)
class PreRanker:
    """Selectors made ready for the tables of a cut, one for each of OBJECTIVES.

    places: float32 (len(SOURCES), MAX_TURN + 1), share / place, the last 0
    shares: float32 (len(OBJECTIVES),)
    turns: float32 (len(OBJECTIVES), len(SOURCES), MAX_TURN + 1), the last 0
    own: float32 (len(OWN_COLUMNS),), of ALL and REPEAT, since no item of the user's own is new
    prior: float32 (len(OBJECTIVES), n_items)
    """

    places: np.ndarray
    shares: np.ndarray
    ranks: np.ndarray
    own: np.ndarray
    prior: np.ndarray

    @classmethod
    def for_tables(cls, prerankers: PreRankerModels, shares: Sequence[float], statistics: Statistics) -> "PreRanker":
        """shares: of the sources, see SourceShares"""
        interpolation = _interpolation(np.arange(MAX_RANK))
        ranks = np.zeros((len(OBJECTIVES), len(SOURCES), MAX_RANK + 1), np.float32)
        each = [getattr(prerankers, name) or BY_SOURCE_WEIGHTS for name in MODEL_OF_OBJECTIVE]
        for at, model in enumerate(each):
            ranks[at, :, :-1] = np.array(model.ranks) @ interpolation.T
        columns = prior_columns(statistics)
        prior = np.array([columns @ np.array(model.prior, np.float32) for model in each])
        by_shares = np.array([model.shares for model in each], np.float32)
        return cls(_places(shares), by_shares, ranks, np.array(each[ALL].own, np.float32), prior)

    def __call__(
        self, profiles: Profiles, statistics: Statistics, proposals: Proposals, objectives: np.ndarray
    ) -> np.ndarray:
        """Log-odds of each proposal but for a constant, float32 (n,).

        objectives: int8 (n_users,), positions in OBJECTIVES
        """
        which = objectives[proposals.users]
        sources = np.arange(len(SOURCES))
        score = self.ranks[which[:, None], sources, proposals.ranks].sum(axis=1)
        score += self.shares[which] * _worth(self.places, proposals.ranks)
        score += self.prior[which, proposals.items]
        mine = (proposals.own != UNKNOWN).nonzero()[0]
        # Row by row, so that one user's sums do not depend on who else is in the batch.
        own = (own_columns(profiles, statistics) * self.own).sum(axis=1)
        score[mine] += own[proposals.own[mine]]
        return score


BY_SOURCE_WEIGHTS: Final = PreRankerModel(
    shares=1.0,
    ranks=((0.0,) * len(KNOTS),) * len(SOURCES),
    own=(0.0,) * len(OWN_COLUMNS),
    prior=(0.0,) * len(PRIOR_COLUMNS),
)
"""Of nothing learned."""


def _places(shares: Sequence[float]) -> np.ndarray:
    """What each place in the sources' lists is worth, float32 (len(SOURCES), MAX_TURN + 1); the last is 0."""
    worth = np.zeros((len(SOURCES), MAX_RANK + 1), np.float32)
    worth[:, :-1] = np.array(shares)[:, None] / np.arange(1, MAX_RANK + 1)
    return worth


def _worth(places: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of what places are worth, float32 (n,); turns: int64 (n, len(SOURCES))"""
    worth: np.ndarray = np.log(places[np.arange(len(SOURCES)), ranks].sum(axis=1))
    return worth


def fit_preranker(columns: np.ndarray, hits: np.ndarray) -> PreRankerModel | None:
    """Learned from proposals whose outcome is known, None where none is a hit or all are.

    columns: float32 (n, n_columns), as `selection_columns` makes them; hits: bool (n,)
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second, which only who learns should wait

    if not 0 < np.count_nonzero(hits) < len(hits):
        return None
    scale = np.maximum(np.abs(columns).max(axis=0), np.float32(1e-6))
    model = LogisticRegression(C=RIDGE, max_iter=ITERATIONS, tol=1e-3)
    weights = model.fit(columns / scale, hits).coef_[0] / scale
    n_turns = 1 + len(SOURCES) * len(KNOTS)
    by_shares, ranks, own, prior = np.split(weights.astype(np.float64), [1, n_turns, n_turns + len(OWN_COLUMNS)])
    return PreRankerModel(
        shares=float(by_shares[0]),
        ranks=tuple(tuple(row) for row in ranks.reshape(len(SOURCES), len(KNOTS)).tolist()),
        own=tuple(own.tolist()),
        prior=tuple(prior.tolist()),
    )


def preranker_columns(
    profiles: Profiles, statistics: Statistics, proposals: Proposals, rows: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    """What a Selector weighs of some proposals: shares, turns, own, prior; float32 (n_rows, n_columns)."""
    worth = _worth(_places(shares), proposals.ranks[rows])
    interpolation = np.append(_interpolation(np.arange(MAX_RANK)), np.zeros((1, len(KNOTS)), np.float32), axis=0)
    ranks = interpolation[proposals.ranks[rows]].reshape(len(rows), -1)
    nothing = np.zeros((1, len(OWN_COLUMNS)), np.float32)
    own = np.append(own_columns(profiles, statistics), nothing, axis=0)[proposals.own[rows]]
    return np.concatenate((worth[:, None], ranks, own, prior_columns(statistics, proposals.items[rows])), axis=1)


def own_columns(profiles: Profiles, statistics: Statistics) -> np.ndarray:
    """OWN_COLUMNS of each row of `of.by_item`, float32 (n_rows, len(OWN_COLUMNS))."""
    rows: Interactions = profiles.by_item
    table = np.empty((len(rows.users), len(OWN_COLUMNS)), np.float32)
    n_kinds = len(EVENT_TYPES)
    np.log1p(rows.decayed / FAINT, out=table[:, :3], casting="same_kind")
    np.log1p(rows.counts, out=table[:, 3 : 3 + n_kinds], casting="same_kind")
    np.log1p(rows.purchase_days, out=table[:, -5], casting="same_kind")
    np.log1p((profiles.now - rows.newest) / DAY, out=table[:, -4], casting="same_kind")
    table[:, -3] = np.nan_to_num(statistics.item("item_repeat_share")[rows.things])
    table[:, -2] = np.log1p(np.bincount(rows.users, minlength=len(profiles)))[rows.users]
    table[:, -1] = 1.0
    return table


def prior_columns(statistics: Statistics, items: np.ndarray | None = None) -> np.ndarray:
    """Logarithms of PRIOR_COLUMNS of some items, or of all; float32 (n, len(PRIOR_COLUMNS))."""
    columns = [statistics.item(name) if items is None else statistics.item(name)[items] for name in PRIOR_COLUMNS]
    return np.log1p(np.nan_to_num(np.stack(columns, axis=1)))


def _interpolation(ranks: np.ndarray) -> np.ndarray:
    """Weights of the knots at places from 0, which add up to 1; float32 (n, len(KNOTS))."""
    at = np.log2(ranks + 1.0)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.log2(KNOTS))).astype(np.float32)
