"""Decisions from scores: the threshold that balances precision and recall best."""

from typing import NamedTuple

import numpy as np

from recsys.evaluation.curves import Ranking


class Decision(NamedTuple):
    """What deciding for every row that scores at least `threshold` comes to; nan where a figure is undefined."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The score of the best F1 when all rows that score as high are chosen, the highest of equals; nan without a hit.

    labels: bool or 0/1 (n,); scores: finite floats (n,). Choose it on other data than what it is judged on.
    """
    hit = np.asarray(labels, np.bool_)
    if not hit.any():
        return float("nan")
    ranking = Ranking.from_scores(hit, scores)
    return float(ranking.thresholds[np.argmax(ranking.f1)])


def decide(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Decision:
    """Precision, recall and F1 of choosing the rows that score at least `threshold`."""
    hit, chosen = np.asarray(labels, np.bool_), scores >= threshold
    found = int(np.count_nonzero(hit & chosen))
    n_hits, n_chosen = int(np.count_nonzero(hit)), int(np.count_nonzero(chosen))
    precision, recall, f1 = (
        2 * found / total if total else float("nan") for total in (2 * n_chosen, 2 * n_hits, n_hits + n_chosen)
    )
    return Decision(float(threshold), precision, recall, f1)
