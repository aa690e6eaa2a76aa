"""The two baselines that a recommender has to beat: popularity, and each user's most frequent items."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from recsys.arrays import offsets_of
from recsys.evaluation import metrics
from recsys.evaluation.protocol import TestCases
from recsys.histories import Histories
from recsys.schema import DAY, UNKNOWN, EventWeights

POPULARITY_DAYS: Final = 30
"""Days before the cut whose events count for popularity."""
HALF_LIFE_DAYS: Final = 60.0
"""Half-life of the benchmark protocol. The protocol's event weights, 1/3/5, are the defaults of EventWeights."""
HALF_LIFE_GRID: Final = (7.0, 15.0, 30.0, 60.0, 120.0, 240.0)
"""Half-lives to choose from, days."""


def target_counts(
    histories: Histories, cut: int, targets: Sequence[int], n_items: int, days: int = POPULARITY_DAYS
) -> np.ndarray:
    """The number of target events of each item in the last `days` before `cut` (ms), int64 (n_items,).

    targets: event codes. The counts of several user partitions can be added.
    """
    recent = histories.between(cut - days * DAY, cut)
    return np.bincount(recent.items[np.isin(recent.events, targets)], minlength=n_items)


def most_popular(counts: np.ndarray, k: int) -> np.ndarray:
    """The k items with the highest counts above 0, ties by item code; int32 (k,), padded with UNKNOWN."""
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
    """Lists of each user's items by decayed frequency, filled up with popular items; int32 (n_users, k).

    The score of an item is the sum over the user's events on it of weight(type) * 0.5 ** (age / half_life); ties by
    item code. The lists hold items that the user had before.
    now: ms, the end of every age; no event may be later
    popular: int32 (k,), as `most_popular` returns
    half_life: days; weights: of the event types, by default those of EventWeights
    """
    users, items, scores = _decayed(histories, now, half_life, weights)
    order = np.lexsort((items, -scores, users))
    rank = np.arange(len(users)) - offsets_of(np.bincount(users, minlength=len(histories)))[users]
    best = rank < k
    personal = np.full((len(histories), k), UNKNOWN, np.int32)
    personal[users[best], rank[best]] = items[order][best]
    lists = np.hstack([personal, np.broadcast_to(popular, (len(histories), len(popular)))])
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
    """Scores of pairs (user, item), float64 (n_pairs,), in the same order as the lists of `personal_frequency`.

    If the user has an event on the item, the score is the decayed frequency (above 0), else -1 / (1 + popularity)
    (below 0).
    popularity: int (n_items,), as `target_counts` returns
    users: int64 (n_pairs,), positions in `histories`; items: int32 (n_pairs,)
    """
    owners, owned_items, frequencies = _decayed(histories, now, half_life, weights)
    keys, wanted = (a * len(popularity) + b for a, b in ((owners, owned_items), (users, items)))
    position = np.searchsorted(keys, wanted)
    owned = position < len(keys)
    owned[owned] = keys[position[owned]] == wanted[owned]
    scores = -1 / (1 + popularity[items])
    scores[owned] = frequencies[position[owned]]
    return scores


def _decayed(
    histories: Histories, now: int, half_life: float, weights: EventWeights | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and decayed frequency of each (user, item) with an event, ordered by user, then item.

    int64, int64 and float64, (n_pairs,) each
    """
    by_type = np.array((weights or EventWeights()).by_code())
    decayed = by_type[histories.events] * 0.5 ** ((now - histories.times) / (half_life * DAY))
    span = 1 + int(histories.items.max(initial=0))
    pairs, pair_of = np.unique(histories.rows * span + histories.items, return_inverse=True)
    # bincount adds in the order of the histories, which is fixed. So equal input gives equal bits.
    frequencies = np.bincount(pair_of, weights=decayed, minlength=len(pairs))
    return *np.divmod(pairs, span), frequencies


def tuned_half_life(
    cases: TestCases,
    now: int,
    popular: np.ndarray,
    *,
    k: int,
    grid: Sequence[float] = HALF_LIFE_GRID,
    weights: EventWeights | None = None,
) -> tuple[float, dict[float, float]]:
    """The half-life (days) with the best mean NDCG@k on `cases`, and the NDCG@k of each half-life.

    Of equal half-lives the shortest is returned. Tune on an earlier window than the test window: cases, now (ms) and
    popular must be as of the earlier cut.
    """
    curve: dict[float, float] = {}
    for half_life in sorted(grid):
        ranked = personal_frequency(cases.histories, now, popular, k=k, half_life=half_life, weights=weights)
        hit = metrics.hits(ranked, cases.truth)
        curve[half_life] = float(metrics.ndcg(hit, cases.truth.sizes, k).mean())
    return max(curve, key=curve.__getitem__), curve
