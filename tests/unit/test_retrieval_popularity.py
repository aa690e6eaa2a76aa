from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from recsys.features.interactions import InteractionConfig
from recsys.features.profiles import build_profiles
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.retrieval.sources.base import Batch, Known
from recsys.retrieval.sources.category import Category, CategoryConfig
from recsys.retrieval.sources.item_lists import for_everybody
from recsys.retrieval.sources.popular import Popular, PopularConfig
from recsys.retrieval.sources.recent import Recent, RecentConfig
from recsys.schema import DAY, UNKNOWN, VIEW, EventType
from recsys.specs import Arrays


def statistics(
    purchases: Sequence[float],
    recent: Sequence[float],
    interest: Sequence[float],
    category: Sequence[int],
    available: Sequence[bool] | None = None,
) -> Statistics:
    n_items = len(purchases)
    items = np.zeros((n_items, len(ITEM_COLUMNS)), np.float32)
    for name, column in (
        ("item_purchases", purchases),
        ("item_recent_purchases", recent),
        ("item_popularity", interest),
    ):
        items[:, ITEM_COLUMNS.index(name)] = column
    items[np.isnan(interest)] = np.nan
    codes = np.array(category, np.int32)
    return Statistics(
        items,
        np.zeros((2, len(CATEGORY_COLUMNS)), np.float32),
        codes,
        codes[:, None],
        np.ones(n_items, bool) if available is None else np.array(available),
    )


@dataclass(frozen=True)
class Lists:
    """What the three sources learn."""

    recent: np.ndarray
    popular: np.ndarray
    category: Arrays


def lists_of(
    stats: Statistics, size: int = 100, per_category: int = 20, targets: tuple[EventType, ...] = ("transaction",)
) -> Lists:
    none = np.zeros(0)
    known = Known(stats, none, none, none, targets)
    return Lists(
        Recent().fit(known, None, RecentConfig(size=size))["items"],
        Popular().fit(known, None, PopularConfig(size=size))["items"],
        Category().fit(known, None, CategoryConfig(per_category=per_category)),
    )


def by_category(lists: Lists) -> list[list[int]]:
    return [part.tolist() for part in np.split(lists.category["items"], lists.category["offsets"][1:-1])]


FIVE = {
    "purchases": [1, 5, 3, 3, np.nan],
    "recent": [1, 0, 1, 3, np.nan],
    "interest": [9, 2, 4, 4, np.nan],
    "category": [0, 0, 1, 1, 0],
}
"""Item 4 has no event yet."""


def test_known_answer() -> None:
    lists = lists_of(statistics(**FIVE))
    assert lists.popular.tolist() == [1, 2, 3, 0]
    assert lists.recent.tolist() == [3, 0, 2, 1]
    assert by_category(lists) == [[0, 1], [2, 3]]
    assert {array.dtype for array in (lists.popular, lists.recent, lists.category["items"])} == {np.dtype(np.int32)}


def test_ties_go_to_the_smaller_code() -> None:
    lists = lists_of(statistics([2] * 5, [1] * 5, [3] * 5, [1] * 5))
    assert lists.popular.tolist() == lists.recent.tolist() == [0, 1, 2, 3, 4]
    assert by_category(lists) == [[], [0, 1, 2, 3, 4]]


def test_sizes() -> None:
    lists = lists_of(statistics(**FIVE), size=2, per_category=1)
    assert lists.popular.tolist() == [1, 2]
    assert lists.recent.tolist() == [3, 0]
    assert by_category(lists) == [[0], [2]]


def test_unavailable_items_are_in_no_list() -> None:
    lists = lists_of(statistics(**FIVE, available=[True, False, True, False, True]))
    assert lists.popular.tolist() == lists.recent.tolist()[::-1] == [2, 0]
    assert by_category(lists) == [[0], [2]]


def test_items_without_a_category_are_in_no_category_list() -> None:
    lists = lists_of(statistics(**(FIVE | {"category": [UNKNOWN, 0, UNKNOWN, 1, 0]})))
    assert by_category(lists) == [[1], [3]]
    assert 0 in lists.popular


def test_interest_fills_up_where_targets_are_rare() -> None:
    lists = lists_of(statistics([0, 1, 0], [0, 0, 0], [3, 1, 5], [0, 0, 0]))
    assert lists.popular.tolist() == [1, 2, 0]
    assert lists.recent.tolist() == [2, 0, 1]


def test_several_targets_add_up() -> None:
    profiles = statistics(**FIVE)
    profiles.items[:, ITEM_COLUMNS.index("item_views")] = [7, 0, 0, 0, np.nan]
    lists = lists_of(profiles, targets=("view", "transaction"))
    assert lists.popular.tolist() == [0, 1, 2, 3]


def test_no_events_no_lists() -> None:
    nan = [np.nan] * 3
    lists = lists_of(statistics(nan, nan, nan, [0, 1, UNKNOWN]))
    assert lists.popular.tolist() == lists.recent.tolist() == []
    assert by_category(lists) == [[], []]


def test_each_user_gets_the_list() -> None:
    found = for_everybody(np.array([4, 2], np.int32), 2)
    assert found.users.tolist() == [0, 0, 1, 1]
    assert found.items.tolist() == [4, 2, 4, 2]
    assert found.scores.tolist() == [1, 0.5, 1, 0.5]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [(0, 2, 1), (0, 3, 1 / 2)]),
        (2, [(0, 2, 3 / 4), (0, 3, 3 / 8), (0, 0, 1 / 4), (0, 1, 1 / 8)]),
    ],
)
def test_categories_of_a_user(limit: int, expected: list[tuple[int, int, float]]) -> None:
    """User 0 looked three times at category 1 and once at category 0; user 1 did nothing."""
    histories = Histories.build(np.zeros(4, int), np.array([0, 2, 2, 3]), np.full(4, VIEW), np.full(4, DAY), 2)
    stats = statistics(**FIVE)
    batch = Batch(build_profiles(histories, stats, DAY, InteractionConfig()), 1)
    settings = CategoryConfig(categories=limit)
    found = Category().propose(lists_of(stats).category, batch, settings)
    assert list(zip(found.users, found.items, found.scores, strict=True)) == expected
