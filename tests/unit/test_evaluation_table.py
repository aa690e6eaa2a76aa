import json

import numpy as np
import pytest

from recsys.evaluation.metrics import Truth
from recsys.evaluation.settings import EvaluationConfig
from recsys.evaluation.table import summary, with_classification, with_seed_spread
from recsys.schema import UNKNOWN

RANKED = np.array([[0, 1], [2, 0], [3, UNKNOWN]], np.int32)
TRUTH = Truth(np.arange(4), np.array([0, 0, 1], np.int32))


def rows_of(ranked, warm):
    config = EvaluationConfig(k=2, ks=(1,), bootstrap_samples=200)
    return summary("ours", ranked, TRUTH, np.array(warm), n_items=4, config=config)


def test_summary_of_hand_computed_lists():
    everyone, warm, cold = rows_of(RANKED, [True, True, False])
    assert [row.group for row in (everyone, warm, cold)] == ["all", "warm", "cold"]
    assert [row.users for row in (everyone, warm, cold)] == [3, 2, 1]
    assert warm.metrics["hit@1"] == 0.5
    assert warm.metrics["hit@2"] == 1.0
    assert warm.metrics["mrr@2"] == 0.75
    assert warm.metrics["precision@2"] == 0.5
    assert warm.metrics["recall@2"] == 1.0
    assert warm.metrics["ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert warm.metrics["ndcg@2_low"] <= warm.metrics["ndcg@2"] <= warm.metrics["ndcg@2_high"]
    assert (everyone.metrics["coverage@2"], warm.metrics["coverage@2"], cold.metrics["coverage@2"]) == (1.0, 0.75, 0.25)
    assert cold.metrics["ndcg@2"] == 0.0


def as_json(rows):
    return json.loads(json.dumps([row.to_json() for row in rows], allow_nan=False))


def test_summary_is_json_also_where_a_group_is_empty():
    *_, cold = as_json(rows_of(RANKED, [True] * 3))
    assert cold["users"] == 0
    assert {value for name, value in cold.items() if "@" in name} == {None}


def test_seed_spread_is_beside_the_first_runs_figures():
    runs = [rows_of(RANKED, [True] * 3), rows_of(RANKED[:, ::-1], [True] * 3)]
    everyone, _, cold = with_seed_spread(runs, 2)
    figures = [run[0].metrics["ndcg@2"] for run in runs]
    assert everyone.metrics["ndcg@2"] == figures[0]
    assert everyone.metrics["ndcg@2_seeds"] == pytest.approx(abs(figures[0] - figures[1]) / np.sqrt(2))
    assert cold.metrics["ndcg@2_seeds"] is None
    assert with_seed_spread(runs[:1], 2)[0].metrics["ndcg@2_seeds"] is None


def test_classification_is_of_the_candidates_of_each_group_and_json():
    """Users 0 and 1 are warm; the candidate of user 0 without a score ranks last."""
    rows = rows_of(RANKED, [True, True, False])
    users, labels = np.array([0, 0, 0, 1, 2]), np.array([True, False, True, False, False])
    scores = {"ours": np.array([-3.0, -4.0, np.nan, -5.0, -1.0])}
    done = with_classification(rows, scores, labels, users, np.array([True, True, False]))
    everyone, warm, cold = as_json(done)
    assert everyone["roc_auc"] == pytest.approx(2 / 6)
    assert everyone["average_precision"] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert warm["roc_auc"] == pytest.approx(2 / 4)
    assert warm["average_precision"] == pytest.approx((1 + 2 / 4) / 2)
    assert (cold["roc_auc"], cold["average_precision"]) == (None, None)
    assert warm["ndcg@2"] == rows[1].metrics["ndcg@2"]
    [unscored, *_] = with_classification(rows, {}, labels, users, np.array([True, True, False]))
    assert unscored.metrics["roc_auc"] is None
