"""Writes the four CSV files with the columns, and in the random order, of the real ones, and a table of the items."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys import schema
from recsys.data.synthetic.catalogue import Goods, Tree
from recsys.data.synthetic.journeys import Events
from recsys.data.synthetic.settings import CATEGORIES, DAYS, START, WEEKS, Shape
from recsys.data.synthetic.visitors import Visitors
from recsys.schema import DAY, UNKNOWN

CHUNK = 1_000_000
"""Property rows made and written at a time."""
PART_ONE = 0.5425
"""Fraction of the property rows in the first file, as in the real data."""
NAMES, VALUES = 1_100, 50_000
"""Numbers of distinct hashed properties and of their distinct values."""
STYLES = 200
"""Number of names of styles."""
STYLE_NOISE = 0.15
"""Fraction of the items whose style has another name than their cell."""
PRICE_SPREAD, PRICE_NOISE = 0.5, 0.25
"""Standard deviations of the logarithm of the price: between the cells of a leaf category, and within a cell."""


def write_tree(directory: Path, tree: Tree) -> None:
    """Write category_tree.csv."""
    parents = [None if parent < 0 else int(tree.ids[parent]) for parent in tree.parents]
    table = pl.DataFrame({schema.CATEGORY: tree.ids, schema.PARENT: pl.Series(parents, dtype=pl.Int64)})
    table.sort(schema.CATEGORY).write_csv(directory / "category_tree.csv")


def write_events(directory: Path, events: Events, visitors: Visitors, goods: Goods, rng: np.random.Generator) -> None:
    """Write events.csv in random order. Only purchases have a transaction id."""
    mixed = rng.permutation(len(events.time))
    names = pl.Series(schema.EVENT_TYPES)
    with (directory / "events.csv").open("wb") as file:
        for start in range(0, len(mixed), CHUNK):
            rows = mixed[start : start + CHUNK]
            order = pl.Series(events.order[rows])
            table = pl.DataFrame(
                {
                    schema.TIME: events.time[rows],
                    schema.USER: visitors.ids[events.visitor[rows]],
                    schema.EVENT: names.gather(events.event[rows].astype(np.uint32)),
                    schema.ITEM: goods.ids[events.item[rows]],
                    schema.TRANSACTION: pl.select(pl.when(order >= 0).then(order)).to_series(),
                }
            )
            table.write_csv(file, include_header=start == 0)


def snapshot_rows(
    state: np.ndarray, first: np.ndarray, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Weeks and items of the logged states, int64 (rows,) each: the first, every change, and repetitions up to `rows`.

    state: (WEEKS, n); first: int (n,), the first snapshot of each item
    """
    week = np.arange(WEEKS)[:, None]
    logged = week == first
    logged[1:] |= (state[1:] != state[:-1]) & (week[1:] > first)
    spare = np.flatnonzero((week > first) & ~logged)
    more = min(len(spare), max(0, rows - int(logged.sum())))
    logged.ravel()[rng.choice(spare, more, replace=False)] = True
    weeks, items = np.nonzero(logged)
    return weeks, items


def property_words(tree: Tree, rng: np.random.Generator) -> tuple[pl.Series, pl.Series]:
    """The names and the values of properties as strings; the two plain properties come first, then the hashed ones."""
    names = pl.Series([schema.CATEGORY, schema.AVAILABLE, *rng.permutation(NAMES).astype(str)])
    numbers = (rng.random(VALUES) ** 4 * 100_000).astype(np.int64)
    words = rng.integers(10_000, 1_400_000, (VALUES, 2))
    hashed = [
        (f"n{number}.000 {one}", f"n{number}.000", f"{one}", f"{one} {two}")[kind]
        for number, (one, two), kind in zip(numbers, words, rng.integers(0, 4, VALUES), strict=True)
    ]
    return names, pl.Series(["0", "1", *tree.ids.astype(str), *hashed])


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Rows of `categoryid` and `available` in random order.

    name, value: uint32 (n,), positions in the names and values of `property_words`; week, item: int (n,)
    """

    name: np.ndarray
    week: np.ndarray
    item: np.ndarray
    value: np.ndarray

    @classmethod
    def draw(cls, shape: Shape, goods: Goods, first: np.ndarray, rng: np.random.Generator) -> "PlainRows":
        """Random snapshots; first: int (n,), the first snapshot of each item."""
        category = np.where(7 * np.arange(WEEKS)[:, None] < goods.moved, goods.leaf, goods.next_leaf)
        category_week, category_item = snapshot_rows(category, first, shape.category_rows, rng)
        stock_week, stock_item = snapshot_rows(goods.available, first, shape.available_rows, rng)
        name = np.repeat(np.arange(2, dtype=np.uint32), [len(category_week), len(stock_week)])
        value = np.concatenate([2 + category[category_week, category_item], goods.available[stock_week, stock_item]])
        mixed = rng.permutation(len(name))
        return cls(
            name[mixed],
            np.concatenate([category_week, stock_week])[mixed],
            np.concatenate([category_item, stock_item])[mixed],
            value[mixed].astype(np.uint32),
        )


def write_properties(directory: Path, shape: Shape, goods: Goods, tree: Tree, rng: np.random.Generator) -> None:
    """Write weekly snapshots to two files. Categories and availability are mixed among hashed properties."""
    # The first snapshot of an item is the next one after it enters. There is no snapshot at the start of the log.
    first = np.clip(-(-goods.born // 7), 1, WEEKS - 1)
    plain = PlainRows.draw(shape, goods, first, rng)
    names, values = property_words(tree, rng)
    snapshots = START - START % 1_000 - 4_000 + 7 * DAY * np.arange(WEEKS, dtype=np.int64)
    done = 0
    for part, end in (1, round(PART_ONE * shape.properties)), (2, shape.properties):
        with (directory / f"item_properties_part{part}.csv").open("wb") as file:
            begin = done
            while done < end:
                size = min(CHUNK, end - done)
                # Each chunk has its part of the plain rows, and hashed rows for the rest.
                rows = slice(
                    len(plain.name) * done // shape.properties, len(plain.name) * (done + size) // shape.properties
                )
                more = size - (rows.stop - rows.start)
                mix = rng.permutation(size)
                item = rng.integers(0, shape.catalogue, more, dtype=np.int32)
                week = first[item] + (rng.random(more) * (WEEKS - first[item])).astype(np.int8)
                name = 2 + (rng.random(more) ** 3 * NAMES).astype(np.uint32)
                value = 2 + len(tree.ids) + (rng.random(more) ** 3 * VALUES).astype(np.uint32)
                table = pl.DataFrame(
                    {
                        schema.TIME: snapshots[np.concatenate([plain.week[rows], week])[mix]],
                        schema.ITEM: goods.ids[np.concatenate([plain.item[rows], item])[mix]],
                        schema.PROPERTY: names.gather(np.concatenate([plain.name[rows], name])[mix]),
                        schema.VALUE: values.gather(np.concatenate([plain.value[rows], value])[mix]),
                    }
                )
                table.write_csv(file, include_header=done == begin)
                done += size


def write_attributes(directory: Path, goods: Goods, rng: np.random.Generator) -> None:
    """Write items.csv: a style and a price of each item, from the day it enters the shop.

    A taste is for a cell, that is a style of a leaf category. The name of the style and the level of the price follow
    the item's cell, both with noise. So they tell who may like an item before anybody has met it. An item that changes
    category gets another row then.
    """
    moved = np.flatnonzero(goods.moved < DAYS)
    item = np.concatenate([np.arange(len(goods.ids)), moved])
    leaf = np.concatenate([goods.leaf, goods.next_leaf[moved]]).astype(np.int64)
    style = np.concatenate([goods.style, goods.next_style[moved]])
    day = np.concatenate([np.where(goods.born == UNKNOWN, -7, goods.born), goods.moved[moved]]).astype(np.int64)
    cells, cell = np.unique(leaf << 20 | style, return_inverse=True)
    name = rng.integers(0, STYLES, len(cells))[cell]
    name = np.where(rng.random(len(item)) < STYLE_NOISE, rng.integers(0, STYLES, len(item)), name)
    level = rng.normal(3, 1, CATEGORIES)[leaf] + rng.normal(0, PRICE_SPREAD, len(cells))[cell]
    price = np.exp(level + rng.normal(0, PRICE_NOISE, len(goods.ids))[item]).round(2)
    order = rng.permutation(len(item))
    styles = pl.Series([f"style {number}" for number in range(STYLES)])
    table = pl.DataFrame(
        {
            schema.TIME: START + DAY * day,
            schema.ITEM: goods.ids[item],
            "style": styles.gather(name.astype(np.uint32)),
            "price": price,
        }
    )
    table[order].write_csv(directory / "items.csv")
