"""Cross-validation over rolling cuts: train on older cuts, evaluate on the next newer one."""

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.arrays import rank_within
from recsys.evaluation import metrics
from recsys.models.rankers.rows import RankingData
from recsys.studies.phases.models import Phase


def rolling(ages: Sequence[int], horizon: int) -> list[tuple[int, list[int]]]:
    """Each cut to evaluate on, newest first, with the older cuts whose label windows ended by it.

    ages: days before the newest event; horizon: days of a label window
    """
    folds = [(age, [older for older in ages if older >= age + horizon]) for age in sorted(ages)]
    return [fold for fold in folds if fold[1]]


def cross_validate(
    examples: Mapping[int, RankingData], horizon: int, phases: Sequence[Phase], k: int
) -> dict[str, dict[int, float]]:
    """NDCG@k of each phase that trains on rows alone, by the age of the cut it was evaluated on.

    The rows are hits and a sample of the other candidates, so the figures are above those over all candidates. They
    show how steady a model is from window to window.
    examples: rows by the age of their cut
    """
    learnable = {age: rows for age, rows in examples.items() if rows.learnable}
    folds = rolling(list(learnable), horizon)
    return {
        phase.name: {
            age: group_ndcg(
                phase.train([learnable[o] for o in older]).predict(learnable[age].features), learnable[age], k
            )
            for age, older in folds
        }
        for phase in phases
        if phase.train is not None
    }


def group_ndcg(scores: np.ndarray, rows: RankingData, k: int) -> float:
    """Mean NDCG@k over the query groups with a hit; scores: float64 (n_rows,), ties in the order of the rows."""
    group, hit = np.repeat(np.arange(len(rows.groups)), rows.groups), rows.labels > 0
    rank = rank_within(group, scores)
    hit_at = np.zeros((len(rows.groups), k), bool)
    top = hit & (rank < k)
    hit_at[group[top], rank[top]] = True
    sizes = np.bincount(group[hit], minlength=len(rows.groups))
    with_hit = sizes > 0
    return float(metrics.ndcg(hit_at[with_hit], sizes[with_hit], k).mean())
