import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from recsys.errors import DataError
from recsys.evaluation import metrics
from recsys.evaluation.metrics import Resampling, Truth
from recsys.schema import UNKNOWN

RANKED = np.array([[4, 1, 2, 3], [7, 8, 7, UNKNOWN], [5, 6, UNKNOWN, UNKNOWN]], np.int32)
TRUTH = Truth(np.array([0, 2, 4, 5]), np.array([1, 3, 7, 9, 8], np.int32))
HITS = [[False, True, False, True], [True, False, False, False], [False, False, False, False]]


@pytest.fixture
def hit():
    return metrics.hits(RANKED, TRUTH)


def test_hits_ignore_padding_and_repeats(hit):
    assert hit.tolist() == HITS


def test_an_item_of_another_users_truth_is_no_hit():
    # With the codes packed into one key a user, the largest code of one user borders on the next user's.
    truth = Truth(np.array([0, 1, 2]), np.array([9, 0], np.int32))
    assert not metrics.hits(np.array([[0, UNKNOWN], [9, UNKNOWN]], np.int32), truth).any()


def test_ndcg_of_hand_computed_lists(hit):
    ideal = 1 + 1 / math.log2(3)
    expected = [(1 / math.log2(3) + 1 / math.log2(5)) / ideal, 1 / ideal, 0]
    np.testing.assert_allclose(metrics.ndcg(hit, TRUTH.sizes, 4), expected, rtol=1e-15)
    np.testing.assert_allclose(metrics.ndcg(hit, TRUTH.sizes, 1), [0, 1, 0])


def test_ndcg_of_a_perfect_list_is_exactly_one():
    for size in range(1, 30):
        truth = Truth(np.array([0, size]), np.arange(size, dtype=np.int32))
        found = metrics.hits(np.arange(20, dtype=np.int32)[None], truth)
        assert metrics.ndcg(found, truth.sizes, 20)[0] == 1.0


def test_ndcg_of_a_short_list_counts_what_is_missing():
    truth = Truth(np.array([0, 2]), np.array([0, 1], np.int32))
    found = metrics.hits(np.array([[0]], np.int32), truth)
    assert metrics.ndcg(found, truth.sizes, 10)[0] == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_recall_divides_by_the_truth_and_precision_by_k(hit):
    assert metrics.recall(hit, TRUTH.sizes, 3).tolist() == [0.5, 0.5, 0]
    assert metrics.precision(hit, 4).tolist() == [0.5, 0.25, 0]
    assert metrics.precision(hit, 10).tolist() == [0.2, 0.1, 0]


def test_hit_rate_and_reciprocal_rank(hit):
    assert metrics.hit_rate(hit, 1).tolist() == [0, 1, 0]
    assert metrics.hit_rate(hit, 2).tolist() == [1, 1, 0]
    assert metrics.mrr(hit, 4).tolist() == [0.5, 1, 0]
    assert metrics.mrr(hit, 1).tolist() == [0, 1, 0]


def test_coverage_counts_distinct_items_shown():
    assert metrics.coverage(RANKED, 4, 16) == 8 / 16
    assert metrics.coverage(RANKED, 1, 16) == 3 / 16


def test_empty_truth_is_refused():
    with pytest.raises(DataError, match="truth of 1 of 2 users is empty"):
        metrics.hits(RANKED[:2], Truth(np.array([0, 0, 1]), np.array([3], np.int32)))


def test_lists_of_other_users_are_refused():
    with pytest.raises(DataError, match="lists of 2 users, truth of 3 users"):
        metrics.hits(RANKED[:2], TRUTH)


def test_compact_keeps_the_order_and_pads():
    keep = np.array([[False, True, False, True], [True, False, False, False], [True, True, False, False]])
    assert metrics.compact(RANKED, keep, 3).tolist() == [[1, 3, -1], [7, -1, -1], [5, 6, -1]]
    assert metrics.compact(RANKED, keep, 1).tolist() == [[1], [7], [5]]
    assert metrics.compact(RANKED[:, :1], keep[:, :1], 2).tolist() == [[-1, -1], [7, -1], [5, -1]]


def test_classification_metrics_of_a_known_order():
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert metrics.roc_auc(labels, scores) == pytest.approx(3 / 4)
    assert metrics.average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("levels", [7, 10**6])
def test_classification_metrics_are_those_of_scikit_learn_also_with_ties(levels):
    rng = np.random.default_rng(levels)
    labels, scores = rng.random(500) < 0.2, rng.integers(levels, size=500) / levels
    assert metrics.roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert metrics.average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_classification_metrics_without_a_class_are_nan(labels):
    scores = np.linspace(0, 1, len(labels))
    assert math.isnan(metrics.roc_auc(np.array(labels), scores))
    assert math.isnan(metrics.average_precision(np.array(labels), scores))


def test_bootstrap_is_that_of_the_seed_and_covers_the_normal_interval():
    values = np.random.default_rng(1).normal(3, 2, 2000)
    low, high = metrics.bootstrap_interval(values, Resampling(5))
    assert (low, high) == metrics.bootstrap_interval(values, Resampling(5))
    assert (low, high) != metrics.bootstrap_interval(values, Resampling(6))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_bootstrap_in_blocks_is_the_bootstrap_at_once(monkeypatch):
    values = np.random.default_rng(1).normal(size=99)
    whole = metrics.bootstrap_interval(values, Resampling(0, samples=101))
    monkeypatch.setattr(metrics, "BOOTSTRAP_BLOCK", 500)
    assert metrics.bootstrap_interval(values, Resampling(0, samples=101)) == whole


def test_bootstrap_of_equal_values_and_of_nobody():
    assert metrics.bootstrap_interval(np.full(7, 0.25), Resampling(0)) == (0.25, 0.25)
    assert all(map(math.isnan, metrics.bootstrap_interval(np.zeros(0), Resampling(0))))


def test_paired_difference_is_tighter_than_the_spread_of_users():
    b = np.random.default_rng(2).normal(size=500)
    a = b + np.random.default_rng(3).normal(0.1, 0.01, 500)
    difference = metrics.paired_difference(a, b, Resampling(0))
    assert difference.mean == pytest.approx(0.1, abs=0.002)
    assert 0.095 < difference.low < difference.mean < difference.high < 0.105
    with pytest.raises(DataError, match="500 and 1 users"):
        metrics.paired_difference(a, b[:1], Resampling(0))
