from typing import Any

import numpy as np
import pytest

from recsys.features.interactions import InteractionConfig
from recsys.features.profiles import Profiles, build_profiles
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS, Statistics
from recsys.histories import Histories
from recsys.inference.stages import CandidateStage, objectives
from recsys.retrieval.generator import CandidateConfig, Candidates, RetrievalTables, generate
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.preranker import KNOTS, NO_PRERANKERS, PreRanker, PreRankerModels, by_source_weights
from recsys.schema import DAY, PURCHASE, VIEW, Objective
from tests.support.features import SOURCES
from tests.support.shop_data import END
from tests.support.world import small_config, small_world

NOW = 50 * DAY


@pytest.fixture
def statistics() -> Statistics:
    """Six items; 0 to 2 in category 0, the others in category 1."""
    category = np.array([0, 0, 0, 1, 1, 1], np.int32)
    return Statistics(
        np.zeros((6, len(ITEM_COLUMNS)), np.float32),
        np.zeros((2, len(CATEGORY_COLUMNS)), np.float32),
        category,
        category[:, None],
        np.ones(6, bool),
    )


@pytest.fixture
def tables() -> RetrievalTables:
    """Item 0 is covisited with 1, and near 2 in the space of factors."""
    ints = np.int32
    return RetrievalTables(
        {
            "own": {},
            "covisitation": Neighbours.build(np.array([0]), np.array([1]), np.float32([0.5]), 6, 9).arrays(),
            "mf_neighbours": Neighbours.build(np.array([0]), np.array([2]), np.float16([0.25]), 6, 9).arrays(),
            "recent": {"items": np.array([3], ints)},
            "popular": {"items": np.array([4, 3], ints)},
            "category": {"items": np.array([2, 5], ints), "offsets": np.array([0, 1, 2])},
        },
        exclude_purchased=False,
    )


@pytest.fixture
def profiles(statistics: Statistics) -> Profiles:
    """User 0 bought item 0, user 1 has no history."""
    histories = Histories.build(np.array([0]), np.array([0]), np.array([PURCHASE]), np.array([NOW]), 2)
    return build_profiles(histories, statistics, NOW, InteractionConfig())


def found_by(
    profiles: Profiles,
    tables: RetrievalTables,
    statistics: Statistics,
    config: CandidateConfig,
    prerankers: PreRankerModels = NO_PRERANKERS,
    objective: Objective = "all",
    repeat_caps: np.ndarray | None = None,
) -> Candidates:
    weights = dict(zip(config.source_names, config.source_weights, strict=True))
    preranker = PreRanker.for_tables(prerankers, weights, statistics)
    return generate(profiles, tables, statistics, config, preranker, objectives(objective, len(profiles)), repeat_caps)


def weighted(**weights: float) -> CandidateConfig:
    """All sources of weight 0 but for those given."""
    every = dict.fromkeys(SOURCES, 0.0) | weights
    return CandidateConfig.model_validate({"sources": {name: {"weight": weight} for name, weight in every.items()}})


def listed(found: Candidates) -> list[list[int]]:
    return [part.tolist() for part in np.split(found.items, found.offsets[1:-1])]


def proposers(found: Candidates) -> list[set[str]]:
    return [set(np.array(SOURCES)[row]) for row in found.provenance]


def test_union_with_provenance(profiles: Profiles, tables: RetrievalTables, statistics: Statistics) -> None:
    found = found_by(profiles, tables, statistics, CandidateConfig())
    assert listed(found) == [[0, 1, 2, 3, 4], [3, 4]]
    assert proposers(found) == [
        {"own"},
        {"covisitation"},
        {"mf_neighbours", "category"},
        {"recent", "popular"},
        {"popular"},
        {"recent", "popular"},
        {"popular"},
    ]
    assert found.in_history.tolist() == [True, *[False] * 6]
    nan = np.nan
    np.testing.assert_array_equal(
        found.source_scores,
        np.float32(
            [
                [5, nan, nan, nan, nan, nan],
                [nan, 0.5, nan, nan, nan, nan],
                [nan, nan, 0.25, nan, nan, 1],
                [nan, nan, nan, 1, 0.5, nan],
                [nan, nan, nan, nan, 1, nan],
                [nan, nan, nan, 1, 0.5, nan],
                [nan, nan, nan, nan, 1, nan],
            ]
        ),
    )


def test_scores_of_several_seeds_add_up(tables: RetrievalTables, statistics: Statistics) -> None:
    """Item 1 is near item 0 (0.5) and item 5 (0.25), of which the user viewed each once, just now."""
    near = Neighbours.build(np.array([0, 5]), np.array([1, 1]), np.float32([0.5, 0.25]), 6, 9)
    histories = Histories.build(np.zeros(2, int), np.array([0, 5]), np.full(2, VIEW), np.full(2, NOW), 1)
    profiles = build_profiles(histories, statistics, NOW, InteractionConfig())
    both = RetrievalTables({**tables.sources, "covisitation": near.arrays()}, exclude_purchased=False)
    found = found_by(profiles, both, statistics, CandidateConfig())
    assert found.source_scores[found.items == 1, SOURCES.index("covisitation")].tolist() == [0.5 * 0.5 + 0.5 * 0.25]


def test_unavailable_items_are_never_proposed(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics
) -> None:
    statistics.available[[0, 1, 2, 3]] = False
    assert listed(found_by(profiles, tables, statistics, CandidateConfig())) == [[4], [4]]


def test_purchased_items_are_left_out_on_request(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics
) -> None:
    without = RetrievalTables(tables.sources, exclude_purchased=True)
    assert listed(found_by(profiles, without, statistics, CandidateConfig())) == [[1, 2, 3, 4], [3, 4]]


def test_viewed_items_stay(tables: RetrievalTables, statistics: Statistics) -> None:
    viewed = Histories.build(np.array([0]), np.array([0]), np.array([VIEW]), np.array([NOW]), 1)
    profiles = build_profiles(viewed, statistics, NOW, InteractionConfig())
    without = RetrievalTables(tables.sources, exclude_purchased=True)
    assert 0 in found_by(profiles, without, statistics, CandidateConfig()).items


@pytest.mark.parametrize(("size", "expected"), [(1, [[0], [3]]), (2, [[0, 2], [3, 4]]), (4, [[0, 1, 2, 3], [3, 4]])])
def test_size_keeps_the_best_by_source_weights(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics, size: int, expected: list[list[int]]
) -> None:
    assert listed(found_by(profiles, tables, statistics, CandidateConfig(size=size))) == expected


def test_ties_go_to_the_smaller_code(profiles: Profiles, tables: RetrievalTables, statistics: Statistics) -> None:
    equal = weighted(**dict.fromkeys(SOURCES, 1.0)).model_copy(update={"size": 3})
    found = found_by(profiles, tables, statistics, equal)
    assert listed(found) == [[0, 2, 3], [3, 4]]  # 0, 1 and 4 are worth the same


def test_a_source_of_weight_0_proposes_nothing(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics
) -> None:
    found = found_by(profiles, tables, statistics, weighted(popular=1.0))
    assert listed(found) == [[3, 4], [3, 4]]
    assert proposers(found) == [{"popular"}] * 4


def test_objectives(profiles: Profiles, tables: RetrievalTables, statistics: Statistics) -> None:
    """User 0 had item 0 alone, user 1 nothing."""
    assert listed(found_by(profiles, tables, statistics, CandidateConfig(), objective="discover")) == [
        [1, 2, 3, 4],
        [3, 4],
    ]
    assert listed(found_by(profiles, tables, statistics, CandidateConfig(), objective="repeat")) == [[0], []]


def test_a_cap_holds_for_the_places_of_items_the_user_had(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics
) -> None:
    two = CandidateConfig(size=2)
    free = found_by(profiles, tables, statistics, two)
    assert 0 in listed(free)[0]
    none = found_by(profiles, tables, statistics, two, repeat_caps=np.array([0.0, 0.5]))
    assert [len(items) for items in listed(none)] == [2, 2]
    assert 0 not in listed(none)[0]
    assert listed(none)[1] == listed(free)[1]
    assert listed(found_by(profiles, tables, statistics, two, repeat_caps=np.array([0.5, 1.0]))) == listed(free)


def test_what_was_bought_comes_back_when_asked_for(
    profiles: Profiles, tables: RetrievalTables, statistics: Statistics
) -> None:
    without = RetrievalTables(tables.sources, exclude_purchased=True)
    assert listed(found_by(profiles, without, statistics, CandidateConfig(), objective="repeat")) == [[0], []]


def test_a_learned_preranker_decides(profiles: Profiles, tables: RetrievalTables, statistics: Statistics) -> None:
    """Of all items those of the factorization's neighbours, of new ones what is popular."""
    nothing = by_source_weights(SOURCES).model_copy(update={"source_value": 0.0})
    learned = {
        name: nothing.model_copy(update={"ranks": {**nothing.ranks, source: (1.0,) * len(KNOTS)}})
        for name, source in (("all", "mf_neighbours"), ("discovery", "popular"))
    }
    one = CandidateConfig(size=1)
    assert listed(found_by(profiles, tables, statistics, one, PreRankerModels(**learned)))[0] == [2]
    assert listed(found_by(profiles, tables, statistics, one, PreRankerModels(**learned), "discover"))[0] == [3]


def test_nobody(tables: RetrievalTables, statistics: Statistics, profiles: Profiles) -> None:
    nobody = build_profiles(profiles.histories.take(np.zeros(0, int)), statistics, NOW, InteractionConfig())
    found = found_by(nobody, tables, statistics, CandidateConfig())
    assert found.n_users == len(found.items) == 0
    assert found.offsets.tolist() == [0]


def test_take_keeps_users(profiles: Profiles, tables: RetrievalTables, statistics: Statistics) -> None:
    found = found_by(profiles, tables, statistics, CandidateConfig()).take(np.array([1, 5]))
    assert listed(found) == [[1], [3]]


class TestSmallShop:
    """What holds for every user of a whole shop."""

    def found(self, **settings: Any) -> tuple[Profiles, Candidates]:
        world = small_world()
        config = small_config().inference
        stage = CandidateStage(world.tables, NO_PRERANKERS, config.model_copy(update=settings))
        profiles = stage.profile(world.partition.histories, END)
        return profiles, stage(profiles)

    def test_rows_ascend_by_user_and_item(self) -> None:
        _, found = self.found()
        key = found.users * small_world().tables.statistics.n_items + found.items
        assert (np.diff(key) > 0).all()

    def test_every_user_gets_as_many_as_asked_for(self) -> None:
        _, found = self.found(candidates=CandidateConfig(size=7))
        assert (np.diff(found.offsets) == 7).all()

    def test_every_candidate_has_a_source(self) -> None:
        _, found = self.found()
        assert found.provenance.any(axis=1).all()

    def test_sold_out_items_stay_away(self) -> None:
        _, found = self.found()
        available = small_world().tables.statistics.available
        assert np.count_nonzero(~available) == 2
        assert available[found.items].all()

    def test_own_items_are_of_the_history(self) -> None:
        profiles, found = self.found()
        own = profiles.by_item.find(found.users, found.items) >= 0
        assert (own == found.provenance[:, SOURCES.index("own")]).all()
        assert (own == found.in_history).all()
