"""Item-item tables: for each item a short list of others, and proposals from such a table."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import best_match, offsets_of, ragged_indices, rows_of
from recsys.retrieval.sources.base import Scored, summed
from recsys.schema import UNKNOWN
from recsys.specs import FLOAT, Arrays, ArraySpec, borders, codes


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each item a short list of others, best first.

    offsets: int64 (n_items + 1,); item i owns rows offsets[i]:offsets[i + 1]
    items: int32 (n_entries,), codes of the neighbours
    scores: float16 or float32 (n_entries,), higher is closer
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    @classmethod
    def build(
        cls, sources: np.ndarray, items: np.ndarray, scores: np.ndarray, n_items: int, per_item: int
    ) -> "Neighbours":
        """The `per_item` best neighbours of each item; ties go to the smaller item code.

        Pairs may come in any order, each at most once.
        sources: int (n_pairs,), codes of the items that get a neighbour; items: int (n_pairs,), codes of the neighbours
        scores: float (n_pairs,), whose dtype is kept
        """
        order = np.lexsort((items, -scores, sources))
        lengths = np.bincount(sources, minlength=n_items)
        kept = np.minimum(lengths, per_item)
        order = order[ragged_indices(offsets_of(lengths)[:-1], kept)]
        return cls(offsets_of(kept), items[order].astype(np.int32, copy=False), scores[order])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Neighbours of each item, int64 (n_items,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """Code of the item that owns each entry, int64 (n_entries,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def arrays(self) -> Arrays:
        """The table's arrays by name, see `neighbour_specs`."""
        return {"offsets": self.offsets, "items": self.items, "scores": self.scores}


def neighbour_specs(source: str) -> dict[str, ArraySpec]:
    """Specs of the arrays of a source whose table is a Neighbours."""
    entries = f"{source} entries"
    return {
        "items": codes("items", entries, low=0),
        "scores": ArraySpec(FLOAT, (entries,)),
        "offsets": borders("items", entries),
    }


def propose_neighbours(table: Arrays, seeds: Scored, n_users: int) -> Scored:
    """The neighbours of each user's seeds.

    A seed adds (its fraction of the weight of the user's seeds) * (score of the neighbour) to the neighbour's score.
    table: the arrays of a Neighbours; seeds: see `Batch.seeds`
    """
    total = np.bincount(seeds.users, seeds.scores, n_users)
    fraction = seeds.scores / np.maximum(total[seeds.users], 1e-300)
    offsets = table["offsets"]
    index, lengths = rows_of(seeds.items, offsets)
    seed = np.arange(len(lengths)).repeat(lengths)
    scores = fraction[seed] * table["scores"][index]
    return summed(seeds.users[seed], table["items"][index], scores, len(offsets) - 1)


def neighbour_origins(table: Arrays, seeds: Scored, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The seed that adds the most to the score of each (user, item) in `propose_neighbours`.

    As a row of `Profiles.by_item`, int64 (n,), UNKNOWN where no seed has the item among its neighbours.
    table, seeds: see `propose_neighbours`; users: int64 (n,), positions in the batch; items: int32 (n,)
    """
    if seeds.history_rows is None or not len(seeds.users):
        return np.full(len(users), UNKNOWN)
    offsets = table["offsets"]
    index, lengths = rows_of(seeds.items, offsets)
    seed = np.arange(len(lengths)).repeat(lengths)
    keys = seeds.users[seed] * len(offsets) + table["items"][index]
    best = best_match(users * len(offsets) + items, keys, seeds.scores[seed] * table["scores"][index])
    rows = np.append(seeds.history_rows[seed], UNKNOWN)  # UNKNOWN is -1, so it reads the last entry
    return rows[best]
