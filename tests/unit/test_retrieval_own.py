import numpy as np
import pytest

from recsys.features.interactions import InteractionConfig, Interactions, interactions
from recsys.histories import Histories
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.sources.base import Scored, summed
from recsys.retrieval.sources.own import neighbours_of, own_items, seeds
from recsys.schema import CART, DAY, PURCHASE, VIEW

NOW = 50 * DAY
CONFIG = InteractionConfig(half_lives_days=(1.0, 2.0, 4.0))


@pytest.fixture
def by_item() -> Interactions:
    """User 0 bought item 3 four days ago and viewed 5 and 1 today; user 2 put item 0 into the cart."""
    rows = [(0, 3, PURCHASE, 4), (0, 5, VIEW, 0), (0, 1, VIEW, 0), (2, 0, CART, 4)]
    users, items, events, ages = np.array(rows).T
    histories = Histories.build(users, items, events, NOW - ages * DAY, 3)
    return interactions(histories, [histories.items], 6, NOW, CONFIG)


def as_rows(found: Scored) -> list[tuple[int, int, float]]:
    return list(zip(found.users.tolist(), found.items.tolist(), found.scores.tolist(), strict=True))


def test_own_items_by_slow_weight(by_item: Interactions) -> None:
    assert as_rows(own_items(by_item)[0]) == [(0, 3, 2.5), (0, 1, 1.0), (0, 5, 1.0), (2, 0, 1.5)]


def test_seeds_are_the_newest(by_item: Interactions) -> None:
    recency = np.array([0, 2, 1, 0])
    assert as_rows(seeds(by_item, recency, 1)) == [(0, 1, 1.0), (2, 0, 0.75)]
    assert as_rows(seeds(by_item, recency, 2)) == [(0, 1, 1.0), (0, 5, 1.0), (2, 0, 0.75)]
    assert as_rows(seeds(by_item, recency, 9))[1] == (0, 3, 1.25)


def test_neighbours_add_up_over_seeds() -> None:
    """Item 0 is near 1 (0.5) and 2 (1); item 2 near 1 (0.25); the seeds weigh 1 and 3."""
    table = Neighbours.build(np.array([0, 0, 2]), np.array([1, 2, 1]), np.float32([0.5, 1, 0.25]), 3, 9)
    near = Scored(np.array([1, 1]), np.array([0, 2], np.int32), np.array([1.0, 3.0]))
    assert as_rows(neighbours_of(near, table, 2)) == [(1, 1, 0.25 * 0.5 + 0.75 * 0.25), (1, 2, 0.25)]


def test_no_seeds_no_neighbours() -> None:
    table = Neighbours.build(np.array([0]), np.array([1]), np.float32([0.5]), 2, 9)
    none = Scored(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))
    assert as_rows(neighbours_of(none, table, 2)) == []
    isolated = Scored(np.array([0]), np.array([1], np.int32), np.array([1.0]))
    assert as_rows(neighbours_of(isolated, table, 2)) == []


def test_summed_rows_come_best_first() -> None:
    users, items = np.array([1, 0, 1, 0, 0]), np.array([2, 1, 2, 0, 2])
    found = summed(users, items, np.array([0.5, 1.0, 0.25, 1.0, 3.0]), 3)
    assert as_rows(found) == [(0, 2, 3.0), (0, 0, 1.0), (0, 1, 1.0), (1, 2, 0.75)]
