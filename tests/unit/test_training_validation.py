"""The selection of the blend on a validation window of a few users."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from recsys.evaluation.metrics import Truth
from recsys.evaluation.protocol import TestCases as Cases  # pytest would collect TestCases by its name
from recsys.features.definitions import Feature
from recsys.histories import Histories
from recsys.models.blend import Calibration
from recsys.models.rankers.registry import RankerConfig, train
from recsys.models.rankers.rows import RankingData
from recsys.training.scoring import ScoredCandidates
from recsys.training.validation import NewCandidates, Validation, choose_blend, new_candidates, new_metric, training_set
from tests.support.features import NAMES
from tests.support.world import small_config

ITEMS = np.arange(4, dtype=np.int32)
"""Every user has these candidates. Item 0 is in the history of users 0 and 1; user 2 has a history of item 3."""
TRUTHS = ((0,), (0, 1), (2,))


def window(truths: tuple[tuple[int, ...], ...] = TRUTHS) -> tuple[Cases, ScoredCandidates]:
    n_users = len(truths)
    owned = np.array([0, 0, 3], np.int32)[:n_users]
    histories = Histories.build(np.arange(n_users), owned, np.zeros(n_users), np.arange(n_users), n_users)
    truth = Truth(np.cumsum([0, *map(len, truths)]), np.array([item for items in truths for item in items], np.int32))
    users, items = np.repeat(np.arange(n_users), len(ITEMS)), np.tile(ITEMS, n_users)
    candidates = ScoredCandidates(
        users=users,
        items=items,
        source_scores=np.zeros((len(users), 0), np.float32),
        lgb=np.zeros((0, len(users))),
        mf=np.tile(np.float32([0, 3, 2, 0]), n_users),
        warm=np.ones(n_users, bool),
        features=np.zeros((0, len(NAMES)), np.float32),
    )
    return Cases(pa.array(range(n_users)), histories, truth), candidates


def test_the_candidates_that_are_new_to_users_who_chose_something_new() -> None:
    cases, candidates = window()
    new = new_candidates(candidates, cases)
    assert new is not None
    assert new.rows.tolist() == [5, 6, 7, 8, 9, 10]  # of users 1 and 2, without their own items 0 and 3
    assert new.users.tolist() == [0, 0, 0, 1, 1, 1]
    assert new.items.tolist() == [1, 2, 3, 0, 1, 2]
    assert (new.truth.offsets.tolist(), new.truth.items.tolist()) == ([0, 1, 2], [1, 2])


def test_a_truth_without_new_items_has_no_such_candidates() -> None:
    cases, candidates = window(((0,), (0,)))
    assert new_candidates(candidates, cases) is None


def test_the_metric_over_new_candidates_reads_their_rows_alone() -> None:
    cases, candidates = window()
    new = new_candidates(candidates, cases)
    assert isinstance(new, NewCandidates)
    scores = np.zeros(12)
    scores[[4, 11]] = 9  # the users' own items, which must not count
    scores[[5, 9]] = 2  # item 1 for both users: a hit of the first one
    scores[10] = 1  # item 2 for the second one: a hit in second place
    assert new_metric(new, "ndcg@10", scores) == pytest.approx((1 + 1 / np.log2(3)) / 2)


def selected_alpha(truths: tuple[tuple[int, ...], ...] = TRUTHS, *settings: str) -> float:
    """The alpha for a ranker that puts each user's own items first, and the factorization that knows new ones."""
    cases, candidates = window(truths)
    labels = np.isin(candidates.users * 10 + candidates.items, [u * 10 + i for u, t in enumerate(truths) for i in t])
    rows = RankingData(
        np.zeros((len(labels), len(NAMES)), np.float32), labels.astype(np.int8), np.full(len(cases), len(ITEMS))
    )
    validation = Validation(
        cases, candidates, rows, Calibration(slope=1.0, intercept=-2.0), new_candidates(candidates, cases)
    )
    scores = np.tile([4.0, 0.0, 0.1, 0.0], len(cases))
    scores[8:] = [0.2, 0.2, 0.1, 4.0][: len(scores[8:])]
    grid = small_config("hybrid.grid=[0.0, 0.3, 1.0]", "hybrid.tolerance=0.3", *settings)
    blend, curves = choose_blend(validation, scores, grid)
    assert set(curves.all_items) == ({0.0, 0.3, 1.0} if grid.hybrid.alpha is None else {grid.hybrid.alpha})
    assert set(curves.discovery) == (set() if validation.new is None else set(curves.all_items))
    return blend.alpha


def test_of_alphas_about_as_good_the_best_for_new_items_is_selected() -> None:
    """Alone, the ranker puts item 2 before item 1, which user 1 chose; a little of the factorization mends that."""
    assert expit(0.1) > expit(0.0)
    assert selected_alpha() == 0.3


def test_without_new_items_the_smallest_alpha_is_selected() -> None:
    assert selected_alpha(((0,), (0,))) == 0.0


def test_a_fixed_alpha_stays() -> None:
    assert selected_alpha(TRUTHS, "hybrid.alpha=0.0") == 0.0


def test_a_ranker_learns_nothing_from_features_that_are_left_out() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((400, 2)).astype(np.float32)
    rows = RankingData(features, (features[:, 0] > 0.8).astype(np.int8), np.full(20, 20))
    known = [Feature("useful", "item", ""), Feature("noise", "item", "")]
    config = RankerConfig(min_child_samples=5)
    assert train(training_set([rows], rows, known), config).importance()["useful"] > 0
    without = train(training_set([rows], rows, known, ("useful",)), config)
    assert without.importance().get("useful", 0) == 0
    assert not np.isnan(rows.features).any()  # the rows themselves stay as they are
