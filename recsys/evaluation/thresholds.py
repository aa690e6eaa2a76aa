"""Decisions by a threshold on scores: the threshold with the best F1, and the metrics of a decision."""

from typing import NamedTuple

import numpy as np

from recsys.evaluation.curves import Ranking


class Decision(NamedTuple):
    """Precision, recall and F1 if all rows with a score of at least `threshold` are chosen; nan where undefined."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The threshold with the highest F1 (of equals, the highest threshold); nan without a hit.

    Do not evaluate the threshold on the data that it was chosen on.
    labels: bool or 0/1 (n,); scores: finite floats (n,)
    """
    hit = np.asarray(labels, np.bool_)
    if not hit.any():
        return float("nan")
    ranking = Ranking.from_scores(hit, scores)
    return float(ranking.thresholds[np.argmax(ranking.f1)])


def decide(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Decision:
    """Precision, recall and F1 if all rows with a score of at least `threshold` are chosen.

    labels: bool or 0/1 (n,); scores: floats (n,)
    """
    hit, chosen = np.asarray(labels, np.bool_), scores >= threshold
    n_chosen_hits = int(np.count_nonzero(hit & chosen))
    n_hits, n_chosen = int(np.count_nonzero(hit)), int(np.count_nonzero(chosen))
    precision, recall, f1 = (
        2 * n_chosen_hits / total if total else float("nan") for total in (2 * n_chosen, 2 * n_hits, n_hits + n_chosen)
    )
    return Decision(float(threshold), precision, recall, f1)
