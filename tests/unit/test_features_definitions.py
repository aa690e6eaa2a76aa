from recsys.features.definitions import SPEEDS, STAGE_FEATURES
from recsys.features.interactions import InteractionConfig
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
from tests.support.features import CATEGORICAL, FEATURES, NAMES, SOURCES


def test_names_are_unique_and_plain() -> None:
    assert len(set(NAMES)) == len(NAMES)
    # LightGBM replaces other characters
    assert all(name.isidentifier() for name in NAMES)


def test_names_are_in_the_order_of_the_table() -> None:
    assert tuple(feature.name for feature in FEATURES) == NAMES
    groups = [feature.group for feature in FEATURES]
    assert list(dict.fromkeys(groups)) == [
        "user",
        "time",
        "item",
        "category",
        "user-item",
        "user-category",
        "candidate",
    ]


def test_the_first_and_the_last_feature_stay_in_place() -> None:
    """Bundles record the order; a change of it must be meant."""
    assert NAMES[:3] == ("user_events", "user_purchases", "user_purchase_rate")
    assert NAMES[-4:] == ("n_sources", *STAGE_FEATURES)
    assert NAMES.index("item_category") + 1 == NAMES.index("item_root")


def test_statistics_and_sources_are_all_features() -> None:
    assert {*ITEM_COLUMNS, *CATEGORY_COLUMNS} <= set(NAMES)
    assert {f"score_{source}" for source in SOURCES[1:]} <= set(NAMES)


def test_category_ids_are_no_numbers() -> None:
    assert CATEGORICAL == ("item_category", "item_root")


def test_every_feature_says_what_it_means() -> None:
    assert all(feature.meaning for feature in FEATURES)


def test_a_speed_for_each_half_life() -> None:
    assert len(InteractionConfig().half_lives_days) == len(SPEEDS)
