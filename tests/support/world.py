"""The small shop read, and its tables fitted, without Ray."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig, load_config
from recsys.data.catalog import Catalog, build_catalog
from recsys.data.changes import Records
from recsys.data.partition import count_days
from recsys.data.shop import DailyCounts, UserPartition
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.models.tables import Tables
from recsys.schema import EVENT_TYPES
from recsys.timeline import Cut
from recsys.training.tables import count_partition, fit_cut, sample_users
from tests.support.shop_data import END, SETTINGS, Property, events, properties, tree

NONE = np.zeros(0, np.int64)


NOBODY_DID_ANYTHING = Histories.build(NONE, NONE, NONE, NONE, 1)
"""One user without a history."""


def small_config(*settings: str) -> TrainConfig:
    return load_config(None, [*SETTINGS, *settings])


@dataclass(frozen=True)
class World:
    """The shop read without Ray, all users in one partition."""

    items: Ids
    catalog: Catalog
    partition: UserPartition
    daily: DailyCounts

    @cached_property
    def tables(self) -> Tables:
        """Tables as of END."""
        return tables_of(self, 0)


@cache
def small_world() -> World:
    return world_of(Ids.from_values(pa.array([row.itemid for row in events()])), properties())


def world_of(items: Ids, property_rows: list[Property]) -> World:
    """The shop's own events, with these items and properties."""
    rows = events()
    users = Ids.from_values(pa.array([row.visitorid for row in rows]))
    histories = Histories.build(
        users.encode(pa.array([row.visitorid for row in rows])),
        items.encode(pa.array([row.itemid for row in rows])),
        np.array([EVENT_TYPES.index(row.event) for row in rows]),
        np.array([row.timestamp for row in rows]),
        len(users),
    )
    partition = UserPartition(users.values, histories)
    return World(items, _catalog(items, property_rows), partition, count_days(partition, END))


def _catalog(items: Ids, rows: list[Property]) -> Catalog:
    categories, availability = ([row for row in rows if row.property == name] for name in ("categoryid", "available"))

    def records(rows: list[Property], values: pa.Array) -> Records:
        codes = items.encode(pa.array([row.itemid for row in rows]))
        return Records(codes, np.array([row.timestamp for row in rows]), values)

    catalog, _ = build_catalog(
        len(items),
        records(categories, pa.array([int(row.value) for row in categories])),
        records(availability, pa.array([row.value == "1" for row in availability])),
        pa.array([child for child, _ in tree()]),
        pa.array([int(parent) if parent else None for _, parent in tree()]),
    )
    return catalog


def tables_of(world: World, age: int, config: TrainConfig | None = None) -> Tables:
    """Tables as of `age` days before END, fitted without Ray."""
    config, cut = config or small_config(), Cut.at(END, age)
    counts = count_partition(world.partition, len(world.items), cut, config)
    sample = sample_users(world.partition, cut, 1.0, config)
    return fit_cut(world.daily, world.catalog, cut, config, config.factorization, 1, counts, sample)
