"""Features of item attributes, with known answers; and nothing from after the cut."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from recsys.data.attributes import Attributes, AttributeSpec, Labels, Numbers, Vectors
from recsys.data.changes import ChangeLog, Records
from recsys.features.attributes import (
    ItemAttributes,
    against_category,
    item_attributes,
    label_popularity,
    pair_features,
    quantile_bins,
)
from recsys.features.definitions import attribute_features, feature_table
from recsys.features.interactions import InteractionConfig
from recsys.features.profiles import Profiles, build_profiles
from recsys.features.statistics import CATEGORY_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.inference.stages import CandidateStage
from recsys.models.tables import Tables, side_information
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import DAY, UNKNOWN, VIEW
from tests.support.attributed import UNMET, attributed_config, attributed_world
from tests.support.features import NAMES
from tests.support.shop_data import END
from tests.support.world import World, small_world, tables_of

NAN = float("nan")
NOW = 100 * DAY
CATEGORY = np.array([0, 0, 0, 1, UNKNOWN], np.int32)
POPULARITY = np.array([4.0, 2, 1, 1, 0])
CONFIG = InteractionConfig(half_lives_days=(1.0, 2.0, 10.0))


def attributes() -> Attributes:
    """Item 0 costs 1, item 1 costs 3, item 2 costs 5; items 0 and 2 are of brand a; item 4 has no vector."""
    every = np.arange(5, dtype=np.int32)
    zero = np.zeros(5, np.int64)
    return Attributes(
        (
            Numbers.build("price", Records(every, zero, pa.array([1.0, 3, 5, 7, None]))),
            Labels.build("brand", "category", Records(every, zero, pa.array(["a", "b", "a", None, "b"]))),
            Labels.build("tags", "tags", Records(every, zero, pa.array(["x\x1fy", "x", None, "y", "y"]))),
            Vectors.build("taste", every, zero, np.array([[1.0, 0], [0, 2], [1, 1], [3, 0], [0, 0]])),
        )
    )


def built() -> tuple[ItemAttributes, dict[str, np.ndarray]]:
    state = attributes().as_of(0, 5)
    assert state is not None
    return item_attributes(state, CATEGORY, POPULARITY)


def profiles(*events: tuple[int, int, float]) -> Profiles:
    """Of two users, from views (user, item, days before NOW)."""
    users, items, days = np.array(events).reshape(-1, 3).T
    times = (NOW - days * DAY).astype(np.int64)
    histories = Histories.build(users.astype(int), items.astype(int), np.full(len(users), VIEW), times, 2)
    levels = np.where(CATEGORY[:, None] == UNKNOWN, UNKNOWN, CATEGORY[:, None])
    items_of = np.zeros((5, 1), np.float32)
    statistics = Statistics(
        items_of, np.zeros((2, len(CATEGORY_COLUMNS)), np.float32), CATEGORY, levels, np.ones(5, bool), ("item_views",)
    )
    return build_profiles(histories, replace(statistics, attributes=built()[0]), NOW, CONFIG)


def test_columns_of_items_known_answer() -> None:
    deviation = np.sqrt(8 / 3)
    expected = {
        "attr_price": [1, 3, 5, 7, NAN],
        "attr_price_vs_category": [-2 / deviation, 0, 2 / deviation, NAN, NAN],
        "attr_brand_popularity": [5, 2, 5, NAN, 2],
        "attr_tags_popularity": [(6 + 5) / 2, 6, NAN, 5, 5],
    }
    _, columns = built()
    assert list(columns) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(columns[name], column, err_msg=name)


def test_a_value_is_compared_within_its_category() -> None:
    values = np.array([1.0, 3, 10, 10, 8, NAN, 2])
    category = np.array([0, 0, 1, 1, UNKNOWN, 0, UNKNOWN], np.int32)
    np.testing.assert_allclose(against_category(values, category), [-1, 1, NAN, NAN, 1, NAN, -1])


def test_bins_hold_equal_parts_of_the_items() -> None:
    bins = quantile_bins(np.append(np.arange(100.0), NAN))
    assert bins.n_values == 5
    assert np.bincount(bins.values).tolist() == [20] * 5
    assert bins.offsets[-1] == 100
    few = quantile_bins(np.array([0.0, 0, 0, 0, 1]))
    assert few.n_values <= 3
    none = quantile_bins(np.full(3, NAN))
    assert none.n_values == 1
    assert none.offsets.tolist() == [0, 0, 0, 0]


def test_popularity_of_a_label_is_the_sum_over_its_items() -> None:
    state = attributes().as_of(0, 5)
    assert state is not None
    np.testing.assert_allclose(label_popularity(state.labels["brand"], POPULARITY), [5, 2, 5, NAN, 2])


def test_affinities_known_answer() -> None:
    """User 0 looked at item 0 now and at item 1 ten days ago, half as much; user 1 did nothing."""
    one = profiles((0, 0, 0), (0, 1, 10))
    items, users = np.array([0, 1, 2, 3, 4, 0], np.int32), np.array([0, 0, 0, 0, 0, 1])
    interest = one.affinities
    assert interest is not None
    matrix = pair_features(interest, one.totals[:, 2] > 0, built()[0], users, items)
    columns = dict(zip(("price", "brand", "tags", "taste"), matrix.T, strict=True))
    np.testing.assert_allclose(columns["brand"], [2 / 3, 1 / 3, 2 / 3, NAN, 1 / 3, NAN])
    np.testing.assert_allclose(columns["tags"], [(1 + 2 / 3) / 2, 1, NAN, 2 / 3, 2 / 3, NAN])
    mean = np.array([2.0, 1]) / np.sqrt(5)
    expected = [mean[0], mean[1], mean.sum() / np.sqrt(2), mean[0], NAN, NAN]
    np.testing.assert_allclose(columns["taste"], expected, rtol=1e-6)


def test_a_user_alone_has_the_same_affinities_to_the_bit() -> None:
    both = profiles((0, 0, 0), (0, 1, 10), (1, 2, 3), (1, 0, 1)).affinities
    alone = profiles((1, 2, 3), (1, 0, 1)).affinities
    assert both is not None
    assert alone is not None
    labels = np.arange(both.n_labels)
    users = np.ones(len(labels), np.int64)
    assert both.find(users, labels).tobytes() == alone.find(users, labels).tobytes()
    assert both.vectors[1].tobytes() == alone.vectors[1].tobytes()


def test_attributes_are_stored_and_read() -> None:
    one, _ = built()
    specs = attributes().specs
    again = ItemAttributes.from_arrays(specs, one.arrays())
    assert again.labels == one.labels == ("price", "brand", "tags")
    assert again.vectors == one.vectors == ("taste",)
    for name in ("starts", "vector_starts", "offsets", "values", "matrix"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))


def test_features_are_named_after_their_attribute() -> None:
    names = [feature.name for feature in attribute_features(attributes().specs)]
    assert names == [
        *("attr_price", "attr_price_vs_category", "attr_price_affinity"),
        *("attr_brand_popularity", "attr_brand_affinity"),
        *("attr_tags_popularity", "attr_tags_affinity"),
        "attr_taste_cosine",
    ]
    assert feature_table(()) == feature_table((), ())


def test_names_that_collide_are_listed_once() -> None:
    specs = [AttributeSpec(name=name, kind="number") for name in ("price", "price_affinity")]
    names = [feature.name for feature in attribute_features(specs)]
    assert len(set(names)) == len(names)


def shop_tables(world: World, age: int = 30) -> Tables:
    return tables_of(world, age, attributed_config())


def matrix_of(tables: Tables, age: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Candidates' items and feature rows of all users."""
    now = END - age * DAY
    stage = CandidateStage(tables, NO_PRERANKERS, attributed_config().inference)
    users = stage.profile(attributed_world().partition.histories.until(now), now)
    candidates = stage(users)
    return candidates.items, stage.features(users, candidates)


def test_the_features_are_in_the_matrix() -> None:
    names = attributed_config().inference.feature_names
    _, matrix = matrix_of(shop_tables(attributed_world()))
    assert matrix.shape[1] == len(names)
    for name in ("attr_price", "attr_brand_affinity", "attr_tags_popularity", "attr_embedding_cosine", "score_fresh"):
        assert np.isfinite(matrix[:, names.index(name)]).any(), name


def test_attributes_from_after_the_cut_change_nothing() -> None:
    """Neither the features nor the candidates, to the bit."""
    world, cut = attributed_world(), END - 30 * DAY
    given = world.catalog.attributes
    changed = []
    for one in given.learned:
        log = one.log
        later = ChangeLog.build(
            np.append(log.items, np.arange(20)),
            np.append(log.times, np.full(20, cut + 1)),
            np.append(log.values, [0] * 20),
        )
        changed.append(replace(one, log=later))
    catalog = replace(world.catalog, attributes=replace(given, learned=tuple(changed)))
    edited = shop_tables(replace(world, catalog=catalog))
    tables = shop_tables(world)
    assert tables.statistics.items.tobytes() == edited.statistics.items.tobytes()
    assert tables.factors.factors.tobytes() == edited.factors.factors.tobytes()
    for name, array in tables.retrieval.sources["fresh"].items():
        assert array.tobytes() == edited.retrieval.sources["fresh"][name].tobytes(), name
    for one_part, other in zip(matrix_of(tables), matrix_of(edited), strict=True):
        assert one_part.tobytes() == other.tobytes()


def test_side_information_has_the_labels_of_enough_items() -> None:
    tables = shop_tables(attributed_world(), 0)
    statistics, ancestors = tables.statistics, attributed_world().catalog.ancestors()
    plain = side_information(statistics.category, ancestors, None)
    both = side_information(statistics.category, ancestors, statistics.attributes)
    assert plain is not None
    assert both is not None
    # Five bins of the price, six brands, and the tags `even`, `0` and `2`.
    assert both.shape[1] == plain.shape[1] + 5 + 6 + 3
    assert (both[:, : plain.shape[1]] != plain).nnz == 0
    assert side_information(np.full(3, UNKNOWN), ancestors, None) is None


def test_a_shop_without_attributes_keeps_its_tables() -> None:
    """Its statistics, sources and features are those of before."""
    tables = small_world().tables
    assert tables.statistics.attributes is None
    assert "fresh" not in tables.retrieval.sources
    stage = CandidateStage(tables, NO_PRERANKERS, attributed_config().inference.for_attributes(Attributes()))
    users = stage.profile(small_world().partition.histories, END)
    assert users.affinities is None
    assert stage.features(users, stage(users)).shape[1] == len(NAMES)


def test_items_without_an_event_have_attributes_but_no_statistics() -> None:
    statistics = shop_tables(attributed_world(), 0).statistics
    unmet = np.setdiff1d(np.arange(statistics.n_items), attributed_world().partition.histories.items)
    assert len(unmet) == UNMET
    assert np.isnan(statistics.item("item_views")[unmet]).all()
    assert np.isfinite(statistics.item("attr_price")[unmet]).all()
