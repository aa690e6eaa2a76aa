import numpy as np
import pytest

from recsys.features.interactions import InteractionConfig
from recsys.features.profiles import Profiles, build_profiles
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.retrieval.neighbours import Neighbours, propose_neighbours
from recsys.retrieval.sources.base import Batch, Scored, summed
from recsys.retrieval.sources.own import Own, OwnConfig
from recsys.schema import CART, DAY, PURCHASE, UNKNOWN, VIEW

NOW = 50 * DAY
CONFIG = InteractionConfig(half_lives_days=(1.0, 2.0, 4.0))


@pytest.fixture
def profiles() -> Profiles:
    """User 0 bought item 3 four days ago and viewed 5 and 1 today; user 2 put item 0 into the cart."""
    rows = [(0, 3, PURCHASE, 4), (0, 5, VIEW, 0), (0, 1, VIEW, 0), (2, 0, CART, 4)]
    users, items, events, ages = np.array(rows).T
    histories = Histories.build(users, items, events, NOW - ages * DAY, 3)
    none = np.full(6, UNKNOWN, np.int32)
    statistics = Statistics(
        np.zeros((6, len(ITEM_COLUMNS)), np.float32),
        np.zeros((0, len(CATEGORY_COLUMNS)), np.float32),
        none,
        none[:, None],
        np.ones(6, bool),
    )
    return build_profiles(histories, statistics, NOW, CONFIG)


def as_rows(found: Scored) -> list[tuple[int, int, float]]:
    return list(zip(found.users.tolist(), found.items.tolist(), found.scores.tolist(), strict=True))


def test_own_items_by_slow_weight(profiles: Profiles) -> None:
    proposed = Own().propose({}, Batch(profiles, 1), OwnConfig())
    assert as_rows(proposed) == [(0, 3, 2.5), (0, 1, 1.0), (0, 5, 1.0), (2, 0, 1.5)]
    assert proposed.history_rows is not None
    np.testing.assert_array_equal(profiles.by_item.things[proposed.history_rows], proposed.items)


def test_seeds_are_the_newest(profiles: Profiles) -> None:
    assert as_rows(Batch(profiles, 1).seeds) == [(0, 1, 1.0), (2, 0, 0.75)]
    assert as_rows(Batch(profiles, 2).seeds) == [(0, 1, 1.0), (0, 5, 1.0), (2, 0, 0.75)]
    assert as_rows(Batch(profiles, 9).seeds)[1] == (0, 3, 1.25)


def test_neighbours_add_up_over_seeds() -> None:
    """Item 0 is near 1 (0.5) and 2 (1); item 2 near 1 (0.25); the seeds weigh 1 and 3."""
    table = Neighbours.build(np.array([0, 0, 2]), np.array([1, 2, 1]), np.float32([0.5, 1, 0.25]), 3, 9).arrays()
    near = Scored(np.array([1, 1]), np.array([0, 2], np.int32), np.array([1.0, 3.0]))
    assert as_rows(propose_neighbours(table, near, 2)) == [(1, 1, 0.25 * 0.5 + 0.75 * 0.25), (1, 2, 0.25)]


def test_no_seeds_no_neighbours() -> None:
    table = Neighbours.build(np.array([0]), np.array([1]), np.float32([0.5]), 2, 9).arrays()
    none = Scored(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))
    assert as_rows(propose_neighbours(table, none, 2)) == []
    isolated = Scored(np.array([0]), np.array([1], np.int32), np.array([1.0]))
    assert as_rows(propose_neighbours(table, isolated, 2)) == []


def test_summed_rows_come_best_first() -> None:
    users, items = np.array([1, 0, 1, 0, 0]), np.array([2, 1, 2, 0, 2])
    found = summed(users, items, np.array([0.5, 1.0, 0.25, 1.0, 3.0]), 3)
    assert as_rows(found) == [(0, 2, 3.0), (0, 0, 1.0), (0, 1, 1.0), (1, 2, 0.75)]
