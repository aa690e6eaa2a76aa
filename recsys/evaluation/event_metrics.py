"""Metrics of classified events: precision and recall of each user's ranked events, and an interval over users."""

from collections.abc import Iterator

import numpy as np

from recsys.arrays import rank_within
from recsys.evaluation.metrics import Difference, Resampling, roc_auc


def list_metrics(labels: np.ndarray, scores: np.ndarray, users: np.ndarray, k: int) -> tuple[float, float]:
    """Precision@k and recall@k: means over the users with a hit among their events; nan without such a user.

    The list of a user holds the user's k events with the highest scores; ties keep the order of the rows. Precision is
    the number of hits in the list divided by k, also if the user has fewer events. Recall is the number of hits in
    the list divided by all hits of the user.
    labels: bool or 0/1 (n,); scores: floats (n,); users: int64 (n,), any numbers
    """
    hit, user = np.asarray(labels, np.bool_), np.unique(users, return_inverse=True)[1]
    total = np.bincount(user[hit], minlength=int(user.max(initial=-1)) + 1)
    listed = np.bincount(user[hit & (rank_within(user, scores) < k)], minlength=len(total))
    with_hit = total > 0
    if not with_hit.any():
        return float("nan"), float("nan")
    return float(listed[with_hit].mean() / k), float((listed[with_hit] / total[with_hit]).mean())


def auc_difference(
    labels: np.ndarray, scores: tuple[np.ndarray, np.ndarray], users: np.ndarray, resampling: Resampling
) -> Difference:
    """ROC-AUC of the first scores minus ROC-AUC of the second scores, with an interval over resampled users.

    labels: bool or 0/1 (n_rows,); scores: floats (n_rows,) each; users: int64 (n_rows,), any numbers
    """
    first, second = (_resampled(labels, values, users, resampling) for values in scores)
    differences = np.array([a - b for a, b in zip(first, second, strict=True)])
    low, high = np.nanquantile(differences, resampling.quantiles)
    return Difference(roc_auc(labels, scores[0]) - roc_auc(labels, scores[1]), float(low), float(high))


def _resampled(labels: np.ndarray, scores: np.ndarray, users: np.ndarray, resampling: Resampling) -> Iterator[float]:
    """ROC-AUC of each resample of users; nan for a resample without hits or without misses.

    A user is drawn with all rows. The same seed draws the same users, so two calls give paired resamples.
    """
    rng = np.random.default_rng(resampling.seed)
    order = np.argsort(scores, kind="stable")
    distinct, user = np.unique(users, return_inverse=True)
    user, hit = user[order], np.asarray(labels, np.bool_)[order]
    starts = np.append(True, np.diff(scores[order]) > 0).nonzero()[0]
    for _ in range(resampling.samples):
        weight = np.bincount(rng.integers(len(distinct), size=len(distinct)), minlength=len(distinct))[user]
        hits, misses = (np.add.reduceat(np.where(chosen, weight, 0), starts) for chosen in (hit, ~hit))
        below = np.cumsum(misses) - misses / 2  # misses of equal score count half
        pairs = float(hits.sum()) * float(misses.sum())
        yield float(hits @ below) / pairs if pairs else float("nan")
