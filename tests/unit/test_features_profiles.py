import numpy as np
import pytest

from recsys.features.interactions import NEVER, InteractionConfig
from recsys.features.profiles import Profiles, build_profiles
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, UNKNOWN, VIEW

HOUR = DAY // 24
NOW = 16_650 * DAY
"""2015-08-03, a Monday, at midnight."""
CONFIG = InteractionConfig(half_lives_days=(1.0, 2.0, 4.0))


def statistics(category: list[int], ancestors: list[list[int]]) -> Statistics:
    """Without any numbers."""
    codes = np.array(category, np.int32)
    table = np.array(ancestors, np.int32).reshape(-1, 2)
    levels = np.full((len(codes), 2), UNKNOWN, np.int32)
    levels[codes != UNKNOWN] = table[codes[codes != UNKNOWN]]
    return Statistics(
        np.zeros((len(codes), len(ITEM_COLUMNS)), np.float32),
        np.zeros((len(table), len(CATEGORY_COLUMNS)), np.float32),
        codes,
        levels,
        np.ones(len(codes), bool),
    )


@pytest.fixture
def profiles() -> Profiles:
    """User 0 did something, user 1 nothing. Items 0 and 1 share a root, item 2 has no category."""
    rows = [
        (0, PURCHASE, NOW - 8 * DAY),
        (0, PURCHASE, NOW - 4 * DAY),
        (1, VIEW, NOW - 2 * DAY),
        (1, PURCHASE, NOW - 2 * DAY + HOUR),
        (2, CART, NOW - 2 * DAY + HOUR + 60_000),
    ]
    items, events, times = np.array(rows).T
    histories = Histories.build(np.zeros(5, int), items, events, times, 2)
    return build_profiles(histories, statistics([1, 2, UNKNOWN], [[0, 0], [0, 1], [0, 2]]), NOW, CONFIG)


def test_levels_leave_out_items_without_a_category(profiles: Profiles) -> None:
    """The tree has two levels and there are two users: users 2 and 3 of `by_level` are the leaves'."""
    assert profiles.by_level.users.tolist() == [0, 2, 2]
    assert profiles.by_level.things.tolist() == [0, 1, 2]
    assert profiles.by_level.counts.tolist() == [[1, 0, 3], [0, 0, 2], [1, 0, 1]]
    assert profiles.by_category.users.tolist() == [0, 0]
    assert profiles.by_category.things.tolist() == [1, 2]
    assert profiles.by_category.find(np.array([0, 1]), np.array([2, 2])).tolist() == [1, UNKNOWN]


def test_totals_are_of_all_items(profiles: Profiles) -> None:
    np.testing.assert_allclose(profiles.totals, [profiles.by_item.decayed.sum(axis=0), [0, 0, 0]])


def test_recency(profiles: Profiles) -> None:
    assert profiles.recency.tolist() == [2, 1, 0]


def test_session_start(profiles: Profiles) -> None:
    assert profiles.session_start.tolist() == [NOW - 2 * DAY + HOUR, NEVER]
    assert profiles.session_events.tolist() == [2, 0]


def test_a_shop_without_categories() -> None:
    histories = Histories.build(np.array([0]), np.array([0]), np.array([VIEW]), np.array([NOW]), 1)
    profiles = build_profiles(histories, statistics([UNKNOWN], []), NOW, CONFIG)
    assert len(profiles.by_item.keys) == 1
    assert len(profiles.by_level.keys) == len(profiles.by_category.keys) == 0


def test_nobody_has_a_history() -> None:
    none = np.zeros(0, np.int64)
    profiles = build_profiles(Histories.build(none, none, none, none, 3), statistics([UNKNOWN], []), NOW, CONFIG)
    assert len(profiles) == 3
    assert profiles.totals.tolist() == [[0, 0, 0]] * 3
    assert profiles.session_start.tolist() == [NEVER] * 3
