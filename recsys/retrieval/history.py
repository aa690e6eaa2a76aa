"""The user's own past as a source: items to repeat, and seeds for neighbours."""

import numpy as np

from recsys.features.interactions import Interactions, rank_within
from recsys.histories import rows_of
from recsys.retrieval.neighbours import Neighbours
from recsys.retrieval.sources import Scored, summed


def own_items(by_item: Interactions) -> Scored:
    """Every item the user touched, by its slowest decayed weight."""
    return Scored(by_item.users, by_item.things.astype(np.int32), by_item.decayed[:, -1])


def seeds(by_item: Interactions, limit: int) -> Scored:
    """The `limit` items that were touched last, weighted by their decayed weight."""
    newest = by_item.last.max(axis=1)
    kept = rank_within(by_item.users, newest.astype(np.float64), by_item.things) < limit
    return Scored(by_item.users[kept], by_item.things[kept].astype(np.int32), by_item.decayed[kept, 1])


def neighbours_of(seeds: Scored, table: Neighbours, n_items: int) -> Scored:
    """Items near the seeds, by the sum of seed weight share times neighbour score."""
    total = np.bincount(seeds.users, seeds.scores, minlength=int(seeds.users.max()) + 1 if len(seeds.users) else 0)
    share = seeds.scores / np.maximum(total[seeds.users], 1e-300)
    index, lengths = rows_of(seeds.items, table.offsets)
    return summed(
        np.repeat(seeds.users, lengths),
        table.items[index],
        np.repeat(share, lengths) * table.scores[index].astype(np.float64),
        n_items,
    )
