from collections.abc import Sequence

import numpy as np
import pytest

from recsys.data.catalog import CatalogState
from recsys.data.shop import DailyCounts
from recsys.features.statistics import CATEGORY_COLUMNS, RepeatCounts, Statistics, StatisticsConfig, statistics
from recsys.schema import CART, PURCHASE, UNKNOWN, VIEW

CONFIG = StatisticsConfig(recent_days=10, half_life_days=5, prior=2)
ANCESTORS = np.array([[0, 0], [0, 1], [0, 2]], np.int32)
"""Category 0 is the root of 1 and 2."""


def daily(*rows: tuple[int, int, int, int]) -> DailyCounts:
    """From rows (item, age, event, count)."""
    item, age, event, count = np.array(sorted(rows)).reshape(-1, 4).T
    return DailyCounts(item.astype(np.int32), age.astype(np.int32), event.astype(np.int8), count)


def fitted(
    counts: DailyCounts, age: int = 0, category: Sequence[int] = (1, 2, 1, UNKNOWN), **settings: float
) -> Statistics:
    n_items = len(category)
    state = CatalogState(np.array(category, np.int32), np.ones(n_items, bool))
    repeats = RepeatCounts(np.array([4, 0, 0, 0]), np.array([1, 0, 0, 0]))
    return statistics(counts, age, state, ANCESTORS, repeats, CONFIG.model_copy(update=settings))


COUNTS = daily(
    (0, 0, PURCHASE, 1),
    (0, 5, VIEW, 4),
    (0, 10, CART, 2),
    (2, 20, VIEW, 6),
    (3, 5, VIEW, 2),
)


def test_items_known_answer() -> None:
    found = fitted(COUNTS)
    expected = {
        "item_views": [4, np.nan, 6, 2],
        "item_carts": [2, np.nan, 0, 0],
        "item_purchases": [1, np.nan, 0, 0],
        # ages 0 to 9 are recent, 10 is not
        "item_recent_views": [4, np.nan, 0, 2],
        "item_recent_carts": [0, np.nan, 0, 0],
        "item_recent_purchases": [1, np.nan, 0, 0],
        "item_popularity": [5 + 4 / 2 + 3 * 2 / 4, np.nan, 6 / 16, 2 / 2],
        "item_purchase_popularity": [1, np.nan, 0, 0],
        # overall 2 carts and 1 purchase in 12 views; 1 recent purchase in 6 recent views
        "item_cart_rate": [(2 + 2 / 6) / 6, np.nan, (2 / 6) / 8, (2 / 6) / 4],
        "item_purchase_rate": [(1 + 2 / 12) / 6, np.nan, (2 / 12) / 8, (2 / 12) / 4],
        "item_days_known": [10, np.nan, 20, 5],
        "item_trend": [(5 / 7) / (10 / 11), np.nan, 0, 1],
        # overall a quarter of the buyers
        "item_repeat_fraction": [(1 + 2 / 4) / 6, np.nan, (2 / 4) / 2, (2 / 4) / 2],
        "item_category_fraction": [8.5 / 8.875, np.nan, 0.375 / 8.875, np.nan],
    }
    for name, column in expected.items():
        np.testing.assert_allclose(found.item(name), column, rtol=1e-6, err_msg=name)


def test_categories_known_answer() -> None:
    found = fitted(COUNTS)
    expected = {
        "category_views": [0, 10, 0],
        "category_purchases": [0, 1, 0],
        "category_popularity": [0, 8.875, 0],
        # 1 purchase in 13 events of items with a category
        "category_purchase_rate": [1 / 13, (1 + 2 / 13) / 15, 1 / 13],
        "category_items": [0, 2, 0],
    }
    for name, column in expected.items():
        values = found.categories[:, CATEGORY_COLUMNS.index(name)]
        np.testing.assert_allclose(values, column, rtol=1e-6, err_msg=name)


def test_levels_follow_the_tree() -> None:
    assert fitted(COUNTS).levels.tolist() == [[0, 1], [0, 2], [0, 1], [UNKNOWN, UNKNOWN]]


def test_a_cut_sees_its_past_alone_and_counts_ages_from_itself() -> None:
    moved = daily((0, 0, CART, 2), (2, 10, VIEW, 6))
    early, alike = fitted(COUNTS, age=10), fitted(moved)
    np.testing.assert_array_equal(early.items, alike.items)
    np.testing.assert_array_equal(early.categories, alike.categories)
    assert np.isnan(early.items[3]).all()


def test_totals_are_the_number_of_events() -> None:
    rng = np.random.default_rng(0)
    counts = daily(*{(*row, 1 + row[1] % 3) for row in map(tuple, rng.integers(0, [4, 60, 3], (200, 3)).tolist())})
    found = fitted(counts)
    for kind, name in ((VIEW, "item_views"), (CART, "item_carts"), (PURCHASE, "item_purchases")):
        assert np.nansum(found.item(name)) == counts.count[counts.event == kind].sum()


def test_no_events_before_the_cut() -> None:
    found = fitted(COUNTS, age=21)
    assert np.isnan(found.items).all()
    assert np.isfinite(found.categories).all()


def test_no_categories_at_all() -> None:
    state = CatalogState(np.full(4, UNKNOWN, np.int32), np.ones(4, bool))
    repeats = RepeatCounts(np.zeros(4, np.int64), np.zeros(4, np.int64))
    found = statistics(COUNTS, 0, state, np.zeros((0, 2), np.int32), repeats, CONFIG)
    assert found.categories.shape == (0, len(CATEGORY_COLUMNS))
    assert (found.levels == UNKNOWN).all()
    assert np.isnan(found.item("item_category_fraction")).all()
    assert found.item("item_views")[0] == 4


def test_rates_without_a_prior_are_plain() -> None:
    found = fitted(COUNTS, prior=0)
    assert found.item("item_cart_rate")[[0, 2]].tolist() == [0.5, 0]


def test_an_item_that_others_do_not_see_changes_no_bit() -> None:
    """Items that appear after the cut shift codes; the sums of the others must not notice."""
    rng = np.random.default_rng(0)
    rows = list(map(tuple, rng.integers(1, [60, 80, 3, 9], (900, 4)).tolist()))
    rows = list({row[:3]: row for row in rows}.values())
    category = rng.integers(-1, 3, 60)
    weights = {"weights": {"view": 0.1, "addtocart": 0.7, "transaction": 1.3}}
    config = StatisticsConfig(half_life_days=7, **weights)
    tables = []
    for extra in range(9):
        shifted = daily(*((item + extra, *rest) for item, *rest in rows))
        state = CatalogState(np.concatenate([np.full(extra, 1), category]).astype(np.int32), np.ones(60 + extra, bool))
        none = np.zeros(60 + extra, np.int64)
        tables.append(statistics(shifted, 0, state, ANCESTORS, RepeatCounts(none, none), config).items[extra:])
    for table in tables[1:]:
        np.testing.assert_array_equal(table, tables[0])


@pytest.mark.parametrize(("buyers", "repeaters", "rate"), [([3, 1], [1, 1], 0.5), ([0, 0], [0, 0], 0.0)])
def test_repeat_rate(buyers: list[int], repeaters: list[int], rate: float) -> None:
    assert RepeatCounts(np.array(buyers), np.array(repeaters)).rate == rate
