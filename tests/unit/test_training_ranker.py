"""The selection among rankers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.evaluation.metrics import Difference, Truth
from recsys.evaluation.protocol import TestCases as Cases  # pytest would collect TestCases by its name
from recsys.histories import Histories
from recsys.models.blend import AlphaCurves, Blend, Calibration
from recsys.models.rankers.rows import RankingData
from recsys.training.ranker import (
    DiscoveryRanker,
    SelectedRanker,
    SelectedRankers,
    Size,
    discovery_lead,
    smallest,
)
from recsys.training.scoring import ScoredCandidates
from recsys.training.validation import Validation
from tests.support.bundles import small_ranker
from tests.support.features import NAMES
from tests.support.world import NONE, small_config

USERS = 20
BLEND = Blend(alpha=0.0, lgb=Calibration(), mf=Calibration())


def test_the_smallest_ranker_that_is_about_as_good() -> None:
    sizes = [Size(20, 15, 0.2985), Size(40, 15, 0.2990), Size(10, 31, 0.2986), Size(30, 31, 0.3), Size(5, 31, 0.29)]
    assert smallest(sizes, 0.005) == Size(20, 15, 0.2985)
    assert smallest(sizes, 0.0) == Size(30, 31, 0.3)
    assert smallest(sizes, 0.1) == Size(5, 31, 0.29)


class FirstFeature:
    """A ranker whose score is the first feature."""

    n_trees = 1

    def predict(self, features: np.ndarray) -> np.ndarray:
        return features[:, 0].astype(np.float64)


def two_candidates(scores: np.ndarray) -> Validation:
    """Users with two candidates, of which the first is a hit; scores: float64 (2 * USERS,), of FirstFeature."""
    cases = Cases(
        pa.array(range(USERS)),
        Histories.build(NONE, NONE, NONE, NONE, USERS),
        Truth(np.arange(USERS + 1), np.zeros(USERS, np.int32)),
    )
    users, items = np.repeat(np.arange(USERS), 2), np.tile(np.arange(2, dtype=np.int32), USERS)
    n = len(users)
    features = np.zeros((n, len(NAMES)), np.float32)
    features[:, 0] = scores
    candidates = ScoredCandidates(
        users=users,
        items=items,
        source_scores=np.zeros((n, 0), np.float32),
        lgb=np.zeros((0, n)),
        mf=np.full(n, np.nan, np.float32),
        warm=np.ones(USERS, bool),
        features=features[:0],
    )
    rows = RankingData(features, (items == 0).astype(np.int8), np.full(USERS, 2))
    return Validation(cases, candidates, rows, Calibration())


def selected(scores: np.ndarray) -> SelectedRanker:
    ranker: Any = FirstFeature()
    return SelectedRanker(ranker, 7, (), BLEND, AlphaCurves({0.0: 0.5}), scores)


RIGHT, WRONG = [2.0, 1.0], [1.0, 2.0]


@pytest.mark.parametrize(
    ("own", "of_all_items", "adopted"),
    [
        ([RIGHT] * USERS, [WRONG] * USERS, True),
        ([RIGHT, WRONG] * (USERS // 2), [WRONG, RIGHT] * (USERS // 2), False),
        ([RIGHT] * USERS, [RIGHT] * USERS, False),
        ([WRONG] * USERS, [RIGHT] * USERS, False),
    ],
)
def test_a_second_ranker_is_adopted_where_its_lead_is_beyond_chance(
    own: list[list[float]], of_all_items: list[list[float]], adopted: bool
) -> None:
    theirs = np.concatenate(of_all_items)
    validation, all_items = two_candidates(theirs), selected(theirs)
    ours = selected(np.concatenate(own))
    lead = discovery_lead(validation, ours, all_items, small_config())
    inputs: Any = None
    trained = DiscoveryRanker(inputs, ours, lead)
    assert trained.adopted == adopted
    assert SelectedRankers(all_items, trained).discovery is (trained if adopted else None)


def test_without_a_second_ranker_the_first_serves_new_items() -> None:
    ranker = small_ranker()
    all_items = SelectedRanker(ranker, 7, (), BLEND, AlphaCurves({0.0: 0.25}), np.zeros(1))
    rankers = SelectedRankers(all_items, None)
    assert (rankers.discovery, rankers.discovery_alpha) == (None, BLEND.alpha)
    assert (all_items.n_trees, all_items.metric) == (ranker.n_trees, 0.25)


def test_alpha_for_new_items_is_that_of_the_ranker_which_serves_them() -> None:
    scores = np.array(RIGHT * USERS)
    all_items, own = selected(scores), replace(selected(scores), blend=BLEND.model_copy(update={"alpha": 0.3}))
    inputs: Any = None
    for lead, alpha in ((Difference(0.1, 0.05, 0.2), 0.3), (Difference(0.1, -0.05, 0.2), 0.0)):
        assert SelectedRankers(all_items, DiscoveryRanker(inputs, own, lead)).discovery_alpha == alpha
