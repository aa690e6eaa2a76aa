from collections.abc import Sequence

import numpy as np
import pytest

from recsys.features.interactions import InteractionConfig, interactions
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.retrieval.sources.popularity import (
    PopularityConfig,
    PopularityLists,
    everywhere,
    in_categories,
    popularity_lists,
)
from recsys.schema import DAY, UNKNOWN, VIEW


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


def lists_of(profiles: Statistics, **settings: int) -> PopularityLists:
    return popularity_lists(profiles, ("transaction",), PopularityConfig(**settings))


def by_category(lists: PopularityLists) -> list[list[int]]:
    return [part.tolist() for part in np.split(lists.category_items, lists.category_offsets[1:-1])]


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
    assert {array.dtype for array in (lists.popular, lists.recent, lists.category_items)} == {np.dtype(np.int32)}


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
    lists = popularity_lists(profiles, ("view", "transaction"), PopularityConfig())
    assert lists.popular.tolist() == [0, 1, 2, 3]


def test_no_events_no_lists() -> None:
    nan = [np.nan] * 3
    lists = lists_of(statistics(nan, nan, nan, [0, 1, UNKNOWN]))
    assert lists.popular.tolist() == lists.recent.tolist() == []
    assert by_category(lists) == [[], []]


def test_everywhere_gives_each_user_the_list() -> None:
    found = everywhere(np.array([4, 2], np.int32), 2)
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
    interest = interactions(histories, [np.array([0, 1, 1, 1])], 2, DAY, InteractionConfig())
    found = in_categories(lists_of(statistics(**FIVE)), interest, 2, limit)
    assert list(zip(found.users, found.items, found.scores, strict=True)) == expected
