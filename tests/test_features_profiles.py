import numpy as np
import pytest

from recsys.features.interactions import NEVER, InteractionConfig
from recsys.features.profiles import Profiles, days_since, pair_ranks, profiles, user_columns
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
def of() -> Profiles:
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
    return profiles(histories, statistics([1, 2, UNKNOWN], [[0, 0], [0, 1], [0, 2]]), NOW, CONFIG)


def test_user_columns_known_answer(of: Profiles) -> None:
    newest = 2 - 1 / 24 - 1 / 24 / 60
    expected = {
        "user_events": [5, 0],
        "user_views": [1, 0],
        "user_carts": [1, 0],
        "user_purchases": [3, 0],
        "user_purchase_rate": [3 / 5, np.nan],
        "user_items": [3, 0],
        "user_categories": [2, 0],
        "user_recent_events": [
            5 / 16 + 5 / 4 + 1 / 2 + 5 * 2 ** -((2 - 1 / 24) / 2) + 3 * 2 ** (-newest / 2),
            0,
        ],
        "user_days_idle": [newest, np.nan],
        "user_days_known": [8, np.nan],
        # of the items 0 and 1, item 0
        "user_repeat_share": [1 / 2, np.nan],
        "user_session_events": [2, 0],
        # Saturday, 1 August, 01:01
        "last_hour": [1, np.nan],
        "last_weekday": [2, np.nan],
        "last_weekend": [1, np.nan],
    }
    found = user_columns(of)
    assert list(found) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(found[name], column, err_msg=name)


def test_levels_leave_out_items_without_a_category(of: Profiles) -> None:
    root, leaf = of.by_level
    assert root.things.tolist() == [0]
    assert leaf.things.tolist() == [1, 2]
    assert leaf.counts.tolist() == [[0, 0, 2], [1, 0, 1]]
    assert root.counts.tolist() == [[1, 0, 3]]


def test_totals_are_of_all_items(of: Profiles) -> None:
    np.testing.assert_allclose(of.totals, [of.by_item.decayed.sum(axis=0), [0, 0, 0]])


def test_pair_ranks(of: Profiles) -> None:
    """By slow decay item 0 leads with 5/4 + 5/2 of 4 days; by time item 2 does."""
    by_weight, by_time = pair_ranks(of.by_item)
    assert by_time.tolist() == [2, 1, 0]
    assert by_weight.tolist() == np.argsort(np.argsort(-of.by_item.decayed[:, 2])).tolist()


def test_session_start(of: Profiles) -> None:
    assert of.session_start.tolist() == [NOW - 2 * DAY + HOUR, NEVER]


def test_a_shop_without_categories() -> None:
    histories = Histories.build(np.array([0]), np.array([0]), np.array([VIEW]), np.array([NOW]), 1)
    of = profiles(histories, statistics([UNKNOWN], []), NOW, CONFIG)
    assert [len(level.keys) for level in of.by_level] == [0, 0]
    assert user_columns(of)["user_categories"].tolist() == [0]


def test_nobody_has_a_history() -> None:
    none = np.zeros(0, np.int64)
    of = profiles(Histories.build(none, none, none, none, 3), statistics([UNKNOWN], []), NOW, CONFIG)
    assert len(of) == 3
    assert user_columns(of)["user_events"].tolist() == [0, 0, 0]
    assert np.isnan(user_columns(of)["user_days_idle"]).all()


def test_days_since_never_is_nan() -> None:
    np.testing.assert_array_equal(days_since(NOW, np.array([NEVER, NOW, NOW - DAY // 2])), [np.nan, 0, 0.5])
