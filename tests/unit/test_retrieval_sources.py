"""The contract of every candidate source, and one that a shop adds."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.config import load_config
from recsys.data.attributes import NO_ATTRIBUTES
from recsys.errors import ConfigError, ModelError
from recsys.features.profiles import Profiles
from recsys.histories import Histories
from recsys.inference.batch import recommend_to
from recsys.inference.recommender import Recommender
from recsys.inference.stages import CandidateStage
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle, read, write
from recsys.registry.shapes import check_finite, check_shapes, check_values
from recsys.retrieval.preranker import NO_PRERANKERS, PreRankerModels
from recsys.retrieval.sources.base import Batch, Known, Scored, Source
from recsys.retrieval.sources.registry import SOURCES
from recsys.specs import Arrays
from recsys.timeline import Cut
from recsys.training.preranker import fit_rows, proposal_rows
from recsys.training.windows import Window
from tests.support.attributed import attributed_config, attributed_world
from tests.support.bundles import ranker_on, small_bundle
from tests.support.features import NAMES
from tests.support.shop_data import END, SETTINGS
from tests.support.soak import scaled
from tests.support.toys import Rare
from tests.support.world import NOBODY_DID_ANYTHING, small_config, small_world, tables_of

BUILT_IN = ("own", "covisitation", "mf_neighbours", "recent", "popular", "category")
WITH_ATTRIBUTES = ("fresh",)
"""Sources that only shops with attributes of items have."""


@pytest.fixture(scope="module")
def plain() -> Bundle:
    """A version of before the further source."""
    return small_bundle()


@pytest.fixture
def rare() -> Iterator[None]:
    """A further source, registered in one line."""
    SOURCES.add(Rare.name, Rare())
    yield
    SOURCES.remove(Rare.name)


@pytest.fixture(params=[*BUILT_IN, *WITH_ATTRIBUTES, Rare.name])
def source(request: pytest.FixtureRequest) -> Source[Any]:
    return Rare() if request.param == Rare.name else SOURCES[request.param]


@cache
def tables() -> Tables:
    """Of the shop with attributes, as of END."""
    return tables_of(attributed_world(), 0, attributed_config())


def profiles_of(histories: Histories) -> Profiles:
    return CandidateStage(tables(), NO_PRERANKERS, attributed_config().inference).profile(histories, END)


def fitted(source: Source[Any]) -> Arrays:
    world = attributed_world()
    n_items, state = len(world.items), world.catalog.as_of(END).attributes
    assert state is not None
    settings = source.settings()
    histories = world.partition.histories
    users = np.bincount(np.unique(histories.rows * n_items + histories.items) % n_items, minlength=n_items)
    factors = tables().factors
    known = Known(tables().statistics, users, factors.factors, factors.rows, ("transaction",), state.since)
    counts = source.merge([source.count(histories, n_items, END, settings)])
    return source.fit(known, counts, settings)


def proposed(source: Source[Any], table: Arrays, histories: Histories) -> Scored:
    return source.propose(table, Batch(profiles_of(histories), 30), source.settings())


def test_the_built_in_sources_are_these() -> None:
    assert SOURCES.names == (*BUILT_IN, *WITH_ATTRIBUTES)


def test_a_shop_without_attributes_has_the_sources_that_need_none() -> None:
    """Even where a file of settings names the others."""
    config = load_config(None, ["inference.candidates.sources.fresh.size=3"]).inference
    assert "fresh" in config.candidates.source_names
    without = config.for_attributes(NO_ATTRIBUTES)
    assert without.candidates.source_names == BUILT_IN
    assert without.feature_names == NAMES
    assert load_config(None).inference == without
    shop = attributed_world().catalog.attributes
    assert config.for_attributes(shop).candidates.sources["fresh"].model_dump()["size"] == 3
    again = without.for_attributes(shop)
    assert again.candidates.source_names == (*BUILT_IN, "fresh")
    assert again.feature_names[: len(NAMES) - 4] == NAMES[: len(NAMES) - 4]


class TestEverySource:
    def test_its_name_is_its_key(self, source: Source[Any]) -> None:
        assert source.name.isidentifier()
        assert source.settings().weight > 0

    def test_its_table_is_as_declared(self, source: Source[Any], tmp_path: Path) -> None:
        table = fitted(source)
        assert table.keys() == source.specs.keys()
        world = attributed_world()
        sizes = {"items": len(world.items), "users": len(world.partition.users), "categories": 8}
        check_values(table, source.specs, check_shapes(table, source.specs, sizes))
        check_finite(table, source.specs)
        for name, array in table.items():
            np.save(tmp_path / name, array, allow_pickle=False)

    def test_each_user_has_an_item_once_best_first(self, source: Source[Any]) -> None:
        rows = proposed(source, fitted(source), attributed_world().partition.histories)
        assert len(rows.users) == len(rows.items) == len(rows.scores) > 0
        assert rows.items.dtype == np.int32
        assert np.isfinite(rows.scores).all()
        assert (np.diff(rows.users) >= 0).all()
        same_user = np.diff(rows.users) == 0
        assert (np.diff(rows.scores)[same_user] <= 0).all()
        pairs = rows.users * len(attributed_world().items) + rows.items
        assert len(np.unique(pairs)) == len(pairs)

    def test_its_items_are_available_unless_they_are_the_users_own(self, source: Source[Any]) -> None:
        rows = proposed(source, fitted(source), NOBODY_DID_ANYTHING)
        assert tables().statistics.available[rows.items].all()

    def test_a_user_alone_gets_the_same_to_the_bit(self, source: Source[Any]) -> None:
        histories, table = attributed_world().partition.histories, fitted(source)
        together = proposed(source, table, histories)
        for user in range(0, len(histories), scaled(17, 1)):
            alone, mine = proposed(source, table, histories.take(np.array([user]))), together.users == user
            assert alone.items.tobytes() == together.items[mine].tobytes()
            assert alone.scores.tobytes() == together.scores[mine].tobytes()

    def test_nobody_gets_nothing(self, source: Source[Any]) -> None:
        nobody = attributed_world().partition.histories.take(np.zeros(0, np.int64))
        assert len(proposed(source, fitted(source), nobody).users) == 0

    def test_counts_of_parts_add_up(self, source: Source[Any]) -> None:
        world, settings = attributed_world(), source.settings()
        histories, n_items = world.partition.histories, len(world.items)
        halves = [histories.take(np.arange(90)), histories.take(np.arange(90, len(histories)))]
        whole = source.merge([source.count(histories, n_items, END, settings)])
        parts = [source.count(half, n_items, END, settings) for half in halves]
        for merged in (source.merge(parts), source.merge(parts[::-1])):
            if whole is None:
                assert merged is None
                continue
            for name in type(whole).__slots__:
                np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))

    def test_lists_of_a_cold_start_score_one_over_the_position(self, source: Source[Any]) -> None:
        size = source.cold_start_size(source.settings())
        rows = proposed(source, fitted(source), NOBODY_DID_ANYTHING)
        if size is not None:
            assert len(rows.items) <= size
            np.testing.assert_allclose(1 / rows.scores, np.arange(1, len(rows.items) + 1))


@pytest.mark.usefixtures("rare")
class TestAnAddedSource:
    """One class and one line: settings, proposals, features, pre-ranker, manifest and version follow."""

    def test_it_has_settings(self) -> None:
        config = load_config(None, [*SETTINGS, "inference.candidates.sources.rare.size=2"])
        assert config.inference.candidates.source_names == (*BUILT_IN, "rare")
        assert config.inference.candidates.source_weights[-1] == 1.5
        assert config.inference.candidates.sources["rare"].model_dump() == {"weight": 1.5, "size": 2}
        with pytest.raises(ConfigError, match=r"rare\.size: Input should be greater than or equal to 1"):
            load_config(None, ["inference.candidates.sources.rare.size=0"])

    def test_it_proposes_and_is_named(self) -> None:
        config = small_config().inference
        stage = CandidateStage(tables_of(small_world(), 0), NO_PRERANKERS, config)
        profiles = stage.profile(small_world().partition.histories, END)
        candidates = stage(profiles)
        by_it = candidates.provenance[:, -1]
        assert candidates.provenance.shape[1] == len(BUILT_IN) + 1
        assert by_it.any()
        features = stage.features(profiles, candidates)
        column = config.feature_names.index("score_rare")
        np.testing.assert_array_equal(features[:, column], candidates.source_scores[:, -1])

    def test_the_preranker_learns_a_weight_for_it(self) -> None:
        model = self.learned().all
        assert model is not None
        assert list(model.ranks) == [*BUILT_IN, "rare"]
        assert any(model.ranks["rare"])

    def learned(self) -> PreRankerModels:
        age, config = 42, small_config()
        window = Window(Cut.at(END, age), Cut.at(END, age - 14).time, quota=1.0)
        tables = tables_of(small_world(), age)
        names = config.inference.candidates.source_names
        rows = proposal_rows(small_world().partition, window, tables, "all", config)
        return PreRankerModels(all=fit_rows(names, rows))

    def test_a_version_with_it_is_written_read_and_served(self, plain: Bundle, tmp_path: Path) -> None:
        config, tables = small_config(), tables_of(small_world(), 0)
        bundle = replace(
            plain,
            tables=tables,
            ranker=ranker_on(tables, config),
            manifest=plain.manifest.model_copy(
                update={
                    "features": config.inference.feature_names,
                    "sources": config.inference.candidates.source_names,
                    "inference": config.inference.model_dump(mode="json"),
                    "prerankers": self.learned(),
                }
            ),
        )
        write(bundle, tmp_path / "v1", {})
        opened = read(tmp_path / "v1")
        assert opened.manifest.sources[-1] == "rare"
        assert "score_rare" in opened.manifest.features
        users = opened.snapshot.users.values
        one, other = (recommend_to(users, some, Recommender.from_bundle(some), 10) for some in (bundle, opened))
        assert one.equals(other)

    def test_a_version_of_before_gives_the_same_answers(self, plain: Bundle, tmp_path: Path) -> None:
        """It lists neither the source nor its feature, so it is served without both."""
        assert plain.manifest.features == NAMES
        write(plain, tmp_path / "v1", {})
        opened = read(tmp_path / "v1")
        assert opened.manifest.sources == BUILT_IN
        answers = recommend_to(opened.snapshot.users.values, opened, Recommender.from_bundle(opened), 10)
        SOURCES.remove(Rare.name)
        before = recommend_to(plain.snapshot.users.values, plain, Recommender.from_bundle(plain), 10)
        SOURCES.add(Rare.name, Rare())
        assert answers.equals(before)


@pytest.mark.parametrize(
    ("users", "items", "reason"),
    [
        ([-1], [0], "its users are not all integers from 0 to"),
        ([0], [10**6], "its items are not all integers from 0 to"),
        ([0], [0.5], "its items are not all integers from 0 to"),
        ([0, 0], [0], "users, items and scores have lengths"),
    ],
)
def test_proposals_of_nobody_and_nothing_name_their_source(
    monkeypatch: pytest.MonkeyPatch, users: list[int], items: list[float], reason: str
) -> None:
    """They would go to another user, or fail without a word of who made them."""
    scored = Scored(np.array(users), np.array(items), np.ones(len(items)))
    monkeypatch.setattr(SOURCES["recent"], "propose", lambda *_: scored)
    stage = CandidateStage(small_world().tables, NO_PRERANKERS, small_config().inference)
    with pytest.raises(ModelError, match=f"candidate source recent: {reason}"):
        stage(stage.profile(small_world().partition.histories, END))


def test_a_version_of_fewer_features_is_served_by_what_it_lists(plain: Bundle, tmp_path: Path) -> None:
    """As if this code had learned further features since the version was published."""
    tables, config = small_world().tables, small_config()
    names = tuple(name for name in NAMES if name not in ("pair_due", "score_category", "user_days_idle"))
    older = replace(
        plain,
        ranker=ranker_on(tables, config, names),
        manifest=plain.manifest.model_copy(update={"features": names}),
    )
    write(older, tmp_path / "v1", {})
    opened = read(tmp_path / "v1")
    users = opened.snapshot.users.values
    one, other = (recommend_to(users, some, Recommender.from_bundle(some), 10) for some in (older, opened))
    assert one.equals(other)
