"""Item-item tables: the container that all of them use, and neighbours in the space of item factors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsys.arrays import offsets_of, ragged_indices


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
        """The `per_item` best pairs of each source, ties by item code; pairs in any order, each at most once.

        sources, items: int (n_pairs,), item codes; scores: float (n_pairs,), their type is kept.
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
        """The item that owns each entry as a position here, int64 (n_entries,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name."""
        return {"offsets": self.offsets, "items": self.items, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Neighbours":
        """From what `arrays` gave; memory-mapped arrays stay so."""
        return cls(arrays["offsets"], arrays["items"], arrays["scores"])
