"""Cross-validation over rolling cuts: learn from older cuts, judge on the next newer one."""

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.arrays import rank_within
from recsys.evaluation import metrics
from recsys.models.rankers.base import RankingData
from recsys.studies.phases.five import Phase


def rolling(ages: Sequence[int], horizon: int) -> list[tuple[int, list[int]]]:
    """Each cut to judge on with the older ones whose label windows (of `horizon` days) ended by it, newest first."""
    folds = [(age, [older for older in ages if older >= age + horizon]) for age in sorted(ages)]
    return [fold for fold in folds if fold[1]]


def cross_validate(
    examples: Mapping[int, RankingData], horizon: int, phases: Sequence[Phase], k: int
) -> dict[str, dict[int, float]]:
    """NDCG@k of each phase that learns from rows alone, by the age of the cut that it was judged on.

    examples: the rows of the cuts by age, hits and a sample of the other candidates: the figures say how steady a
    model is from window to window, and lie above those over all candidates.
    """
    learnable = {age: rows for age, rows in examples.items() if rows.learnable}
    folds = rolling(list(learnable), horizon)
    return {
        phase.name: {
            age: group_ndcg(
                phase.fit([learnable[o] for o in older]).predict(learnable[age].features), learnable[age], k
            )
            for age, older in folds
        }
        for phase in phases
        if phase.fit is not None
    }


def group_ndcg(scores: np.ndarray, rows: RankingData, k: int) -> float:
    """Mean NDCG@k over the query groups with a hit; scores: float64 (n_rows,), ties in the order of the rows."""
    group, hit = np.repeat(np.arange(len(rows.groups)), rows.groups), rows.labels > 0
    rank = rank_within(group, scores)
    found = np.zeros((len(rows.groups), k), bool)
    top = hit & (rank < k)
    found[group[top], rank[top]] = True
    sizes = np.bincount(group[hit], minlength=len(rows.groups))
    judged = sizes > 0
    return float(metrics.ndcg(found[judged], sizes[judged], k).mean())
