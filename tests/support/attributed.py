"""The small shop with attributes of its items, and some items that nobody has met."""

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa

from recsys.config import TrainConfig
from recsys.data.attributes import Attributes, Labels, Numbers, Texts, Vectors
from recsys.data.changes import Records
from recsys.ids import Ids
from recsys.schema import DAY
from tests.support.shop_data import ITEMS, LEAVES, START, Property, item_id, leaf_id, properties
from tests.support.world import World, small_config, world_of

UNMET = 12
"""Items without an event; their ids lie between those of the others."""


def leaf_of(number: int) -> int:
    """The leaf category of an item at the start."""
    return number % LEAVES


@cache
def attributed_world() -> World:
    """The small shop with a price, a brand, tags, an embedding, a title and an image of each item.

    Brand and embedding follow the leaf category, the price rises with the item's number. The last UNMET items have no
    event; the second half of them appears only on day 60, and the last one is sold out.
    """
    numbers = np.arange(ITEMS + UNMET)
    ids = [item_id(number) for number in range(ITEMS)] + [501 + 6 * number for number in range(UNMET)]
    items = Ids.from_values(pa.array(ids))
    rows = properties()
    for number in range(ITEMS, ITEMS + UNMET):
        rows.append(Property(START - DAY, ids[number], "categoryid", str(leaf_id(leaf_of(number)))))
    rows.append(Property(START - DAY, ids[-1], "available", "0"))
    world = world_of(items, rows)
    codes = items.encode(pa.array(ids))
    times = np.where(numbers >= ITEMS + UNMET // 2, START + 60 * DAY, START - DAY)

    def records(values: pa.Array) -> Records:
        return Records(codes, times, values)

    angles = np.pi * (numbers % LEAVES) / LEAVES
    attributes = Attributes(
        (
            Numbers.build("price", records(pa.array(10.0 + numbers))),
            Labels.build("brand", "category", records(pa.array([f"brand {leaf_of(n)}" for n in numbers]))),
            Labels.build(
                "tags", "tags", records(pa.array([f"even\x1f{n % 4}" if n % 2 == 0 else None for n in numbers]))
            ),
            Vectors.build("embedding", codes, times, np.column_stack([np.cos(angles), np.sin(angles)])),
        ),
        (
            Texts.build("title", records(pa.array([f"Item <{n}>" for n in numbers]))),
            Texts.build(
                "image", records(pa.array([f"https://example.com/{n}.png" if n % 2 else None for n in numbers]))
            ),
        ),
    )
    return replace(world, catalog=replace(world.catalog, attributes=attributes))


def attributed_config(*settings: str) -> TrainConfig:
    """The settings of a training on this shop."""
    config = small_config(*settings)
    inference = config.inference.for_attributes(attributed_world().catalog.attributes)
    return config.model_copy(update={"inference": inference})
