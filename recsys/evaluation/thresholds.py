"""Decisions from scores by a threshold that balances precision and recall."""

from typing import NamedTuple

import numpy as np

from recsys.evaluation.curves import Ranking


class Decision(NamedTuple):
    """Precision, recall and F1 of choosing the rows that score at least `threshold`; nan where undefined."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The threshold of the highest F1, the highest of equals; nan without a hit.

    Choose it on other data than the data it is evaluated on.
    labels: bool or 0/1 (n,); scores: finite floats (n,)
    """
    hit = np.asarray(labels, np.bool_)
    if not hit.any():
        return float("nan")
    ranking = Ranking.from_scores(hit, scores)
    return float(ranking.thresholds[np.argmax(ranking.f1)])


def decide(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Decision:
    """Precision, recall and F1 of choosing the rows that score at least `threshold`."""
    hit, chosen = np.asarray(labels, np.bool_), scores >= threshold
    n_both = int(np.count_nonzero(hit & chosen))
    n_hits, n_chosen = int(np.count_nonzero(hit)), int(np.count_nonzero(chosen))
    precision, recall, f1 = (
        2 * n_both / total if total else float("nan") for total in (2 * n_chosen, 2 * n_hits, n_hits + n_chosen)
    )
    return Decision(float(threshold), precision, recall, f1)
