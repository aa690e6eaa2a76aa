import numpy as np
import pytest

from recsys.evaluation.thresholds import best_threshold, decide

LABELS = np.array([1, 0, 1, 0, 0, 1])
SCORES = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])


def test_the_best_f1_known_answer() -> None:
    """Choosing the first three rows finds two of three hits: F1 2/3, as high as no other threshold."""
    threshold = best_threshold(LABELS, SCORES)
    assert threshold == 0.7
    assert decide(LABELS, SCORES, threshold) == pytest.approx((0.7, 2 / 3, 2 / 3, 2 / 3))
    assert max(decide(LABELS, SCORES, t).f1 for t in SCORES) == pytest.approx(2 / 3)


def test_equal_scores_are_chosen_together() -> None:
    labels, scores = np.array([1, 0, 0, 0]), np.array([0.5, 0.5, 0.5, 0.2])
    assert best_threshold(labels, scores) == 0.5
    assert decide(labels, scores, 0.5) == pytest.approx((0.5, 1 / 3, 1, 1 / 2))


def test_undefined() -> None:
    assert np.isnan(best_threshold(np.zeros(2), np.array([0.1, 0.2])))
    found = decide(np.array([0, 1]), np.array([0.1, 0.2]), 0.5)
    assert np.isnan(found.precision)
    assert (found.recall, found.f1) == (0, 0)
