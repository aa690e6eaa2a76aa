from collections.abc import Sequence

import numpy as np
import pytest

from recsys.errors import ModelError
from recsys.features.build import FeatureBuilder, days_since
from recsys.features.definitions import STAGE_FEATURES
from recsys.features.interactions import NEVER, InteractionConfig
from recsys.features.profiles import Profiles, build_profiles
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, UNKNOWN, VIEW
from tests.support.features import CATEGORICAL, FEATURES, NAMES, SCORED, SOURCES
from tests.support.shop_data import END
from tests.support.world import small_config, small_world

NOW = 16_650 * DAY
CONFIG = InteractionConfig(half_lives_days=(1.0, 2.0, 4.0))
ANCESTORS = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 2], [3, 3, 3]], np.int32)
"""Root 0 over 1 over 2; root 3."""


@pytest.fixture
def statistics() -> Statistics:
    """Item 0 is in category 2, item 1 in 1, item 2 in 3, item 3 in none and without events."""
    category = np.array([2, 1, 3, UNKNOWN], np.int32)
    levels = np.full((4, 3), UNKNOWN, np.int32)
    levels[:3] = ANCESTORS[category[:3]]
    items = np.arange(4 * len(ITEM_COLUMNS), dtype=np.float32).reshape(4, -1)
    items[3] = np.nan
    categories = np.arange(4 * len(CATEGORY_COLUMNS), dtype=np.float32).reshape(4, -1) + 0.5
    return Statistics(items, categories, category, levels, np.ones(4, bool))


def rows_of(statistics: Statistics, *events: tuple[int, int, int, float], n_users: int = 2) -> Profiles:
    """From rows (user, item, event, days before NOW)."""
    users, items, kinds, ages = np.array(events).reshape(-1, 4).T
    times = (NOW - ages * DAY).astype(np.int64)
    histories = Histories.build(users.astype(int), items.astype(int), kinds.astype(int), times, n_users)
    return build_profiles(histories, statistics, NOW, CONFIG)


def builder(statistics: Statistics, names: Sequence[str] = NAMES) -> FeatureBuilder:
    return FeatureBuilder(names, statistics, SCORED)


def table(profiles: Profiles, statistics: Statistics, *pairs: tuple[int, int]) -> dict[str, np.ndarray]:
    """Columns by name, every source silent but the first."""
    users, items = np.array(pairs).T
    scores = np.full((len(pairs), len(SOURCES)), np.nan, np.float32)
    scores[:, 0] = 0.5
    matrix = builder(statistics)(
        profiles, users, items.astype(np.int32), scores, np.zeros((len(pairs), len(STAGE_FEATURES)))
    )
    assert matrix.shape == (len(pairs), len(NAMES))
    assert matrix.dtype == np.float32
    assert matrix.flags["C_CONTIGUOUS"]
    return dict(zip(NAMES, matrix.T, strict=True))


def check(found: dict[str, np.ndarray], expected: dict[str, list[float]]) -> None:
    for name, column in expected.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-6, err_msg=name)


def test_users_known_answer(statistics: Statistics) -> None:
    """User 0 did something, the newest on Saturday, 1 August, at 22:59; user 1 did nothing."""
    hour = 1 / 24
    newest = 1 + hour + hour / 60
    profiles = rows_of(
        statistics,
        (0, 0, PURCHASE, 8),
        (0, 0, PURCHASE, 4),
        (0, 1, VIEW, 2),
        (0, 1, PURCHASE, newest + hour / 60),
        (0, 3, CART, newest),
    )
    check(
        table(profiles, statistics, (0, 0), (1, 0)),
        {
            "user_events": [5, 0],
            "user_purchases": [3, 0],
            "user_purchase_rate": [3 / 5, np.nan],
            "user_items": [3, 0],
            "user_categories": [2, 0],  # item 3 has none
            "user_recent_events": [
                5 / 16 + 5 / 4 + 1 / 2 + 5 * 2 ** -((newest + hour / 60) / 2) + 3 * 2 ** (-newest / 2),
                0,
            ],
            "user_days_idle": [newest, np.nan],
            "user_days_known": [8, np.nan],
            "user_repeat_fraction": [1 / 2, np.nan],  # of the items 0 and 1, item 0
            "user_session_events": [2, 0],
            "last_hour": [22, np.nan],
            "last_weekday": [2, np.nan],
            "last_weekend": [1, np.nan],
        },
    )


def test_pairs_known_answer(statistics: Statistics) -> None:
    profiles = rows_of(
        statistics,
        (0, 0, PURCHASE, 8),
        (0, 0, PURCHASE, 4),
        (0, 0, CART, 3),
        (0, 1, VIEW, 2),
        (1, 2, PURCHASE, 1),
    )
    slow = 5 / 4 + 5 / 2 + 3 * 2**-0.75
    total = slow + 2**-0.5
    check(
        table(profiles, statistics, (0, 0), (0, 1), (0, 3), (1, 0)),
        {
            "pair_views": [0, 1, 0, 0],
            "pair_addtocarts": [1, 0, 0, 0],
            "pair_transactions": [2, 0, 0, 0],
            "pair_weight_slow": [slow, 2**-0.5, 0, 0],
            "pair_fraction_slow": [slow / total, 2**-0.5 / total, 0, 0],
            "pair_bought": [1 / 4 + 1 / 2, 0, 0, 0],
            "pair_rank": [0, 1, np.nan, np.nan],
            "pair_last_rank": [1, 0, np.nan, np.nan],
            "pair_days_since_view": [np.nan, 2, np.nan, np.nan],
            "pair_days_since_addtocart": [3, np.nan, np.nan, np.nan],
            "pair_days_since_transaction": [4, np.nan, np.nan, np.nan],
            "pair_purchase_days": [2, 0, 0, 0],
            "pair_due": [1, np.nan, np.nan, np.nan],
            "pair_cart_open": [1, 0, np.nan, np.nan],
            "pair_in_session": [0, 1, 0, 0],
            "user_purchases": [2, 2, 2, 1],
        },
    )


def test_affinities_known_answer(statistics: Statistics) -> None:
    """Items 0 and 1 share the parent 1 and the root 0, item 2 is apart."""
    profiles = rows_of(statistics, (0, 0, VIEW, 4), (0, 1, PURCHASE, 4), (0, 2, VIEW, 0))
    total = 1 / 2 + 5 / 2 + 1
    check(
        table(profiles, statistics, (0, 0), (0, 1), (0, 2), (0, 3), (1, 0)),
        {
            "category_fraction_slow": [0.5 / total, 2.5 / total, 1 / total, 0, np.nan],
            "parent_fraction_slow": [3 / total, 3 / total, 1 / total, 0, np.nan],
            "category_user_purchases": [0, 1, 0, 0, 0],
            "category_days_idle": [4, 4, 0, np.nan, np.nan],
            "pair_category_fraction": [1, 1, 1, np.nan, np.nan],
        },
    )


def test_items_categories_and_sources(statistics: Statistics) -> None:
    found = table(rows_of(statistics), statistics, (0, 1), (1, 3))
    check(
        found,
        {
            "item_views": [len(ITEM_COLUMNS), np.nan],
            "category_views": [len(CATEGORY_COLUMNS) + 0.5, np.nan],
            "item_category": [1, np.nan],
            "item_root": [0, np.nan],
            "score_popular": [np.nan, np.nan],
            "n_sources": [1, 1],
        },
    )


def test_never_is_not_a_time(statistics: Statistics) -> None:
    """A time that is the smallest int64 would show as some 1e11 days."""
    profiles = rows_of(statistics, (0, 0, VIEW, 1), (0, 1, PURCHASE, 1))
    found = table(profiles, statistics, (0, 0), (0, 1), (0, 2), (1, 0))
    for name in NAMES:
        values = found[name][~np.isnan(found[name])]
        assert (np.abs(values) < 1e6).all(), name


def test_every_feature_is_filled() -> None:
    """On the small shop each feature has values, and only the categorical ones are codes."""
    world = small_world()
    config = small_config().inference
    profiles = build_profiles(world.partition.histories, world.tables.statistics, END, config.interactions)
    n_users, n_items = len(profiles), world.tables.statistics.n_items
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    scores = np.where((users + items)[:, None] % np.arange(2, 2 + len(SOURCES)) == 0, 1.0, np.nan)
    matrix = builder(world.tables.statistics)(
        profiles,
        users,
        items.astype(np.int32),
        scores.astype(np.float32),
        np.zeros((len(users), len(STAGE_FEATURES))),
    )
    for position, feature in enumerate(FEATURES):
        column = matrix[:, position]
        known = column[~np.isnan(column)]
        assert len(known), f"{feature.name} is always missing"
        assert np.isfinite(known).all(), feature.name
        if feature.name in CATEGORICAL:
            assert (known == known.astype(int)).all(), feature.name
            assert known.min() >= 0, feature.name


def test_no_pairs(statistics: Statistics) -> None:
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, len(SOURCES)), np.float32)
    matrix = builder(statistics)(
        rows_of(statistics), none, none.astype(np.int32), empty, empty[:, : len(STAGE_FEATURES)]
    )
    assert matrix.shape == (0, len(NAMES))


def test_the_columns_are_those_asked_for(statistics: Statistics) -> None:
    """A version that lists fewer features, or in another order, gets its own columns."""
    profiles = rows_of(statistics, (0, 0, PURCHASE, 8), (0, 1, VIEW, 2))
    users, items = np.array([0, 0, 1]), np.array([0, 1, 2], np.int32)
    rest = np.full((3, len(SOURCES)), np.nan, np.float32), np.zeros((3, len(STAGE_FEATURES)))
    every = builder(statistics)(profiles, users, items, *rest)
    names = [NAMES[40], *NAMES[3:20], NAMES[0]]
    some = builder(statistics, names)(profiles, users, items, *rest)
    np.testing.assert_array_equal(some, every[:, [NAMES.index(name) for name in names]])
    assert some.flags["C_CONTIGUOUS"]
    with pytest.raises(ModelError, match="does not build the features shoe_size"):
        builder(statistics, [*names, "shoe_size"])


def test_a_shop_without_categories(statistics: Statistics) -> None:
    bare = Statistics(
        statistics.items,
        np.zeros((0, len(CATEGORY_COLUMNS)), np.float32),
        np.full(4, UNKNOWN, np.int32),
        np.full((4, 3), UNKNOWN, np.int32),
        statistics.available,
    )
    found = table(rows_of(bare, (0, 0, VIEW, 1)), bare, (0, 0))
    assert all(np.isnan(found[name]).all() for name in (*CATEGORY_COLUMNS, *CATEGORICAL))
    assert found["category_fraction_slow"].tolist() == [0]


def test_days_since_never_is_nan() -> None:
    np.testing.assert_array_equal(days_since(NOW, np.array([NEVER, NOW, NOW - DAY // 2])), [np.nan, 0, 0.5])
