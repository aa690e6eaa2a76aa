"""The user's own past as a source: items to repeat, and seeds for neighbours."""

import numpy as np

from recsys.arrays import order_within, rows_of
from recsys.features.interactions import Interactions
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.sources.base import Scored, summed


def own_items(by_item: Interactions) -> tuple[Scored, np.ndarray]:
    """Every item the user touched, by its slowest decayed weight; and the row in `by_item` of each, int64 (n,)."""
    order = order_within(by_item.users, by_item.decayed[:, -1])  # rows ascend by item, so do equals
    items = by_item.things[order].astype(np.int32)
    return Scored(by_item.users[order], items, by_item.decayed[order, -1]), order


def seeds(by_item: Interactions, recency: np.ndarray, limit: int) -> Scored:
    """The `limit` items that were touched last, in the order of `by_item`, by their medium decayed weight.

    recency: as in Profiles
    """
    kept = (recency < limit).nonzero()[0]
    return Scored(by_item.users[kept], by_item.things[kept].astype(np.int32), by_item.decayed[kept, 1])


def neighbours_of(seeds: Scored, table: Neighbours, n_users: int) -> Scored:
    """Items near the seeds, by the sum of seed weight share times neighbour score."""
    total = np.bincount(seeds.users, seeds.scores, n_users)
    share = seeds.scores / np.maximum(total[seeds.users], 1e-300)
    index, lengths = rows_of(seeds.items, table.offsets)
    seed = np.arange(len(lengths)).repeat(lengths)
    return summed(seeds.users[seed], table.items[index], share[seed] * table.scores[index], len(table))
