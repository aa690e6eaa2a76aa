"""Baselines that every recommender has to beat: popularity, and the items that a user meets most often."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from recsys.arrays import offsets_of
from recsys.evaluation import metrics
from recsys.evaluation.protocol import TestCases
from recsys.histories import Histories
from recsys.schema import DAY, UNKNOWN, EventWeights

POPULARITY_DAYS: Final = 30
HALF_LIFE_DAYS: Final = 60.0
"""Half-life of the benchmark protocol, whose event weights 1/3/5 are the defaults of EventWeights."""
HALF_LIFE_GRID: Final = (7.0, 15.0, 30.0, 60.0, 120.0, 240.0)
"""Half-lives to choose from, days."""


def target_counts(
    histories: Histories, cut: int, targets: Sequence[int], n_items: int, days: int = POPULARITY_DAYS
) -> np.ndarray:
    """Target events of each item in the last `days` up to `cut` (ms), int64 (n_items,).

    Counts of user partitions add up to those of all users.
    """
    recent = histories.between(cut - days * DAY, cut)
    return np.bincount(recent.items[np.isin(recent.events, targets)], minlength=n_items)


def most_popular(counts: np.ndarray, k: int) -> np.ndarray:
    """The k items of the highest positive counts, ties by item code; int32 (k,), padded with UNKNOWN."""
    top = np.argsort(-counts, kind="stable")[:k]
    top = top[counts[top] > 0]
    return np.pad(top, (0, k - len(top)), constant_values=UNKNOWN).astype(np.int32)


def personal_frequency(
    histories: Histories,
    now: int,
    popular: np.ndarray,
    *,
    k: int,
    half_life: float = HALF_LIFE_DAYS,
    weights: EventWeights | None = None,
) -> np.ndarray:
    """Each user's items by decayed frequency, then the popular ones; int32 (n_users, k). Seen items are allowed.

    An item scores the sum over its events of weight(type) * 0.5 ** (age / half_life); ties by item code. Ages count
    back from `now` (ms), and no event may be later.
    popular: int32 (k,), as `most_popular` returns; they fill the lists up
    half_life: days
    """
    users, items, scores = _decayed(histories, now, half_life, weights)
    order = np.lexsort((items, -scores, users))
    rank = np.arange(len(users)) - offsets_of(np.bincount(users, minlength=len(histories)))[users]
    best = rank < k
    own = np.full((len(histories), k), UNKNOWN, np.int32)
    own[users[best], rank[best]] = items[order][best]
    lists = np.hstack([own, np.broadcast_to(popular, (len(histories), len(popular)))])
    return metrics.compact(lists, metrics.first_occurrences(lists), k)


def frequency_scores(
    histories: Histories,
    now: int,
    popularity: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    *,
    half_life: float = HALF_LIFE_DAYS,
    weights: EventWeights | None = None,
) -> np.ndarray:
    """Scores of pairs (user, item) that rank as `personal_frequency` does, float64 (n_pairs,).

    The decayed frequency, above 0, where the user has an event on the item. Else -1 / (1 + popularity), below 0.
    popularity: int (n_items,), as `target_counts` returns; users: int64 (n_pairs,), positions in `histories`;
    items: int32 (n_pairs,)
    """
    owners, own, strength = _decayed(histories, now, half_life, weights)
    keys, wanted = (a * len(popularity) + b for a, b in ((owners, own), (users, items)))
    position = np.searchsorted(keys, wanted)
    mine = position < len(keys)
    mine[mine] = keys[position[mine]] == wanted[mine]
    scores = -1 / (1 + popularity[items])
    scores[mine] = strength[position[mine]]
    return scores


def _decayed(
    histories: Histories, now: int, half_life: float, weights: EventWeights | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and decayed frequency of each (user, item) with an event, by user and then item."""
    by_type = np.array((weights or EventWeights()).by_code())
    strength = by_type[histories.events] * 0.5 ** ((now - histories.times) / (half_life * DAY))
    span = 1 + int(histories.items.max(initial=0))
    pairs, pair_of = np.unique(histories.rows * span + histories.items, return_inverse=True)
    # bincount adds in the order of the histories, which is canonical: equal input gives equal bits.
    scores = np.bincount(pair_of, weights=strength, minlength=len(pairs))
    return *np.divmod(pairs, span), scores


def tuned_half_life(
    cases: TestCases,
    now: int,
    popular: np.ndarray,
    *,
    k: int,
    grid: Sequence[float] = HALF_LIFE_GRID,
    weights: EventWeights | None = None,
) -> tuple[float, dict[float, float]]:
    """The half-life (days) of the best mean NDCG@k on `cases`, the shorter of equals, and NDCG@k by half-life.

    Tune on an earlier window than the one to evaluate on: cases, now (ms) and popular are as of the earlier cut.
    """
    curve: dict[float, float] = {}
    for half_life in sorted(grid):
        ranked = personal_frequency(cases.histories, now, popular, k=k, half_life=half_life, weights=weights)
        hit = metrics.hits(ranked, cases.truth)
        curve[half_life] = float(metrics.ndcg(hit, cases.truth.sizes, k).mean())
    return max(curve, key=curve.__getitem__), curve
