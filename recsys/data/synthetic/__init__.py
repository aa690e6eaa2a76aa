"""A synthetic shop of the published size of Retailrocket with planted preferences, and an oracle that uses them."""

import hashlib
from pathlib import Path

import numpy as np

from recsys.data.synthetic import files, oracle
from recsys.data.synthetic.catalogue import Goods, Shelves, Tree
from recsys.data.synthetic.journeys import draw_events
from recsys.data.synthetic.oracle import Oracle
from recsys.data.synthetic.settings import BEHAVIOUR, Shape
from recsys.data.synthetic.visitors import draw_visitors

__all__ = ["Oracle", "events_hash", "generate"]


def generate(directory: Path, scale: float = 1.0, seed: int = 0, *, attributes: bool = False) -> None:
    """Write events.csv, item_properties_part1.csv, item_properties_part2.csv and category_tree.csv.

    The folder is made if it is missing. The files of Oracle.load go to directory/oracle. The same scale and seed give
    the same bytes. Raises ConfigError if the scale is out of range.
    attributes: write items.csv as well, with a style and a price of each item; the other files stay the same
    """
    shape, behaviour = Shape.scaled(scale), BEHAVIOUR
    seeds = np.random.SeedSequence(seed).spawn(7)
    tree_rng, goods_rng, shelves_rng, visitors_rng, events_rng, order_rng, properties_rng = map(
        np.random.default_rng, seeds
    )
    directory.mkdir(parents=True, exist_ok=True)
    tree = Tree.draw(tree_rng)
    goods = Goods.draw(shape, behaviour, tree, goods_rng)
    shelves = Shelves.draw(goods, shape, behaviour, shelves_rng)
    visitors, views = draw_visitors(shape, behaviour, shelves, visitors_rng)
    events, rates = draw_events(shape, behaviour, visitors, views, shelves, events_rng)
    del views
    files.write_tree(directory, tree)
    files.write_events(directory, events, visitors, goods, order_rng)
    oracle.save(directory, behaviour, goods.ids[: shape.items], shelves, visitors, rates)
    del events, visitors
    files.write_properties(directory, shape, goods, tree, properties_rng)
    if attributes:
        files.write_attributes(directory, goods, np.random.default_rng(seeds[-1].spawn(1)[0]))


def events_hash(directory: Path) -> str:
    """The SHA-256 of events.csv, hexadecimal. Recorded figures name their log by it."""
    with (directory / "events.csv").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
