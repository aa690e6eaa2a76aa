import numpy as np
import pytest

from recsys.evaluation.event_metrics import auc_difference, list_metrics
from recsys.evaluation.metrics import Resampling, roc_auc


def test_lists_known_answer() -> None:
    """User 7 has hits at ranks 1 and 3 of three events, user 9 one at rank 2 of two, user 8 none."""
    users = np.array([7, 7, 7, 9, 9, 8])
    labels = np.array([1, 0, 1, 1, 0, 0])
    scores = np.array([0.9, 0.5, 0.1, 0.2, 0.4, 0.8])
    assert list_metrics(labels, scores, users, 2) == pytest.approx(((1 / 2 + 1 / 2) / 2, (1 / 2 + 1) / 2))
    assert np.isnan(list_metrics(labels * 0, scores, users, 2)).all()
    assert np.isnan(list_metrics(labels[:0], scores[:0], users[:0], 2)).all()


def test_the_difference_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    users, labels = np.repeat(np.arange(100), 5), rng.random(500) < 0.2
    good, bad = labels + rng.normal(0, 1, 500), np.round(rng.normal(0, 1, 500))
    found = auc_difference(labels, (good, bad), users, Resampling(0, 200, 0.95))
    assert found.mean == pytest.approx(roc_auc(labels, good) - roc_auc(labels, bad))
    assert 0 < found.low < found.mean < found.high
    assert auc_difference(labels, (bad, bad), users, Resampling(0, 100, 0.95)) == (0, 0, 0)
