"""Random small shops for tests of rules, built in milliseconds: nothing is trained, the sources' weights rank."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig
from recsys.data.attributes import Attributes, Labels, Numbers
from recsys.data.catalog import Catalog, build_catalog
from recsys.data.changes import Records
from recsys.data.partition import count_days
from recsys.data.shop import UserPartition
from recsys.features.attributes import label_words
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.inference.recommender import Recommender
from recsys.models.rankers.untrained import UntrainedRanker
from recsys.models.snapshot import assemble, snapshot_part
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle
from recsys.schema import DAY, EVENT_TYPES
from recsys.timeline import Cut
from recsys.training.tables import count_partition, fit_cut
from tests.support.bundles import bundle_of
from tests.support.shop_data import END
from tests.support.world import World, small_config

N_USERS = 12
PARENT = {1: None, 2: None, 10: 1, 11: 1, 12: 2, 100: 10, 101: 10}
"""The parent of each category."""
BRANDS = ("Acme", "Bolt", "Café", "7")
TAGS = ("new", "sale", "eco")
ITEM = 500
"""The id of the first item; the others follow in steps of 3."""


def item_ids(n: int) -> list[int]:
    return [ITEM + 3 * number for number in range(n)]


@dataclass(frozen=True)
class Item:
    """The facts about an item in plain Python, for tests that compute what a rule allows on their own."""

    id: int
    category: int | None
    brand: str | None
    tags: frozenset[str]
    price: float | None
    available: bool

    @property
    def categories(self) -> set[int]:
        """The category and those above it."""
        path, category = set(), self.category
        while category is not None:
            path.add(category)
            category = PARENT[category]
        return path


@dataclass(frozen=True)
class RuleShop:
    """A shop, and its version in memory; seen, bought: the items of each user's events and purchases."""

    bundle: Bundle
    recommender: Recommender
    items: dict[int, Item]
    histories: Histories
    seen: list[set[int]]
    bought: list[set[int]]


def drawn_items(rng: np.random.Generator, n: int, catalog: bool) -> dict[int, Item]:
    """Items with random facts; catalog: whether they have any."""

    def some(values: Any, missing: float) -> Any:
        return None if not catalog or rng.random() < missing else values[int(rng.integers(len(values)))]

    return {
        code: Item(
            code,
            some(list(PARENT), 0.15),
            some(BRANDS, 0.2),
            frozenset(tag for tag in TAGS if catalog and rng.random() < 0.4),
            some([5.0, 9.99, 10.1, 20.0, 33.3, 50.0], 0.15),
            not catalog or rng.random() < 0.85,
        )
        for code in item_ids(n)
    }


def drawn_histories(rng: np.random.Generator, n_items: int) -> Histories:
    n_events = int(rng.integers(1, 80))
    users = rng.integers(0, N_USERS - 1, n_events)  # the last user has no event
    items, events = rng.integers(0, n_items, n_events), rng.integers(0, len(EVENT_TYPES), n_events)
    return Histories.build(users, items, events, END - rng.integers(0, 40 * DAY, n_events), N_USERS)


@lru_cache(64)
def rule_shop(seed: int) -> RuleShop:
    rng = np.random.default_rng(seed)
    n_items = int(rng.choice([1, 3, 8, 20, 45]))
    return shop_of(drawn_items(rng, n_items, catalog=seed % 5 > 0), drawn_histories(rng, n_items), rng)


def shop_of(items: dict[int, Item], histories: Histories, rng: np.random.Generator) -> RuleShop:
    ids = Ids.from_values(pa.array(list(items), pa.int64()))
    users = pa.array(range(1, N_USERS + 1))
    partition = UserPartition(users, histories)
    world = World(ids, _catalog(ids, list(items.values())), partition, count_days(partition, END))
    config = _config(world)
    cut = Cut.at(END, 0)
    tables = fit_cut(
        world.daily,
        world.catalog,
        cut,
        config,
        config.factorization,
        1,
        count_partition(partition, len(ids), cut, config),
    )
    tables = _with_factors(tables, rng)
    bundle = bundle_of(world, tables, config, UntrainedRanker(config.inference.feature_names))  # type: ignore[arg-type]
    manifest = bundle.manifest.model_copy(update={"backend": "untrained"})
    words = label_words(world.catalog.attributes, tables.statistics.attributes)
    with_events = np.flatnonzero(histories.lengths)
    part = snapshot_part(
        users.take(pa.array(with_events)),
        histories.take(with_events),
        tables.statistics.category,
        config.inference.history,
    )
    bundle = replace(bundle, manifest=manifest, words=words, snapshot=assemble([part], "int64"))
    by_user = [histories.take(np.array([user])) for user in range(N_USERS)]
    return RuleShop(
        bundle,
        Recommender.from_bundle(bundle),
        items,
        histories,
        [{ids[int(code)] for code in own.items} for own in by_user],
        [{ids[int(code)] for code in own.items[own.events == 2]} for own in by_user],
    )


def _config(world: World) -> TrainConfig:
    config = small_config("inference.candidates.size=10")
    return config.model_copy(update={"inference": config.inference.for_attributes(world.catalog.attributes)})


def _with_factors(tables: Tables, rng: np.random.Generator) -> Tables:
    """The tables with random factors of some items; a version without any keeps none."""
    n_items = tables.statistics.n_items
    known = np.flatnonzero(rng.random(n_items) < 0.7)
    rows = np.full(n_items, -1, np.int32)
    rows[known] = np.arange(len(known))
    matrix = rng.normal(size=(len(known), tables.factors.gram.shape[0])).astype(np.float32)
    exact = matrix.astype(np.float64)
    return replace(tables, factors=replace(tables.factors, factors=matrix, rows=rows, gram=exact.T @ exact))


def _catalog(ids: Ids, items: list[Item]) -> Catalog:
    def records(values: list[Any], kind: pa.DataType) -> Records:
        known = [number for number, value in enumerate(values) if value is not None]
        codes = np.array(known, np.int32)
        return Records(codes, np.zeros(len(known), np.int64), pa.array([values[number] for number in known], kind))

    catalog, _ = build_catalog(
        len(ids),
        records([item.category for item in items], pa.int64()),
        records([item.available for item in items], pa.bool_()),
        pa.array(list(PARENT)),
        pa.array(list(PARENT.values()), pa.int64()),
    )
    tags = ["\x1f".join(sorted(item.tags)) or None for item in items]
    learned = (
        Numbers.build("price", records([item.price for item in items], pa.float64())),
        Labels.build("brand", "category", records([item.brand for item in items], pa.string())),
        Labels.build("tags", "tags", records(tags, pa.string())),
    )
    return replace(catalog, attributes=Attributes(learned))
