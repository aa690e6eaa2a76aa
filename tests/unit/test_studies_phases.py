"""Parts of the five phases that need no shop."""

import numpy as np
import pytest

from recsys.evaluation.metrics import Difference
from recsys.models.rankers.rows import RankingData
from recsys.studies.phases.folds import group_ndcg, rolling
from recsys.studies.phases.models import basic_features, rich_features
from recsys.studies.phases.table import BETTER, LEVEL, WORSE, relative, verdict
from tests.support.features import FEATURES


def test_feature_sets() -> None:
    """The first phase counts users' and items' events; the second knows all that is a number and no candidate's."""
    group = {feature.name: feature.group for feature in FEATURES}
    assert {group[name] for name in basic_features()} == {"user", "item"}
    assert set(basic_features()) < set(rich_features())
    assert {group[name] for name in rich_features()} >= {"user", "item", "user-item", "user-category"}
    assert {group[name] for name in rich_features()}.isdisjoint({"candidate"})
    assert {f.kind for f in FEATURES if f.name in rich_features()} == {"number"}


def test_rolling_cuts_learn_from_windows_that_have_ended() -> None:
    assert rolling([42, 56, 70], 14) == [(42, [56, 70]), (56, [70])]
    assert rolling([42, 49, 56], 14) == [(42, [56])]
    assert rolling([42], 14) == []


def test_group_ndcg_known_answer() -> None:
    """Hits first, hits second, none."""
    rows = RankingData(np.zeros((7, 1)), np.array([1, 0, 0, 1, 0, 0, 0]), np.array([2, 3, 2]))
    scores = np.array([2.0, 1, 5, 4, 3, 1, 1])
    assert group_ndcg(scores, rows, 10) == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_improvements_are_relative() -> None:
    assert relative({"auc": 0.9, "x": None}, {"auc": 0.6, "x": 1.0}, ["auc", "x"]) == {
        "auc": pytest.approx(0.5),
        "x": None,
    }
    assert relative({"auc": 0.9, "x": 1.0}, {"auc": 0.5, "x": 0.0}, ["auc", "x"]) == {
        "auc": pytest.approx(0.8),
        "x": None,
    }
    gaps = [Difference(0, low, high) for low, high in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))]
    assert [verdict(gap) for gap in gaps] == [BETTER, WORSE, LEVEL]
