"""Agreement of items in their categories, labels and vectors, and the items that come into question by them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from recsys.arrays import offsets_of, positions, rank_within, rows_of
from recsys.features.attributes import ItemAttributes
from recsys.features.statistics import Statistics, distinct_levels
from recsys.schema import UNKNOWN

CELLS: Final = 1 << 22
"""Numbers of vectors that are multiplied for one item; bounds the work where items have vectors alone."""


@dataclass(frozen=True, slots=True)
class ItemLabels:
    """The labels of all items: categories from the root down, then the labels of attributes, numbered together.

    offsets: int64 (n_items + 1,); labels: int32; item i has labels[offsets[i]:offsets[i + 1]], each once
    label_offsets: int64 (n_labels + 1,); items: int32; label l has the items[label_offsets[l]:label_offsets[l + 1]],
        those that are available, with the most events first, at most `per_label`
    idf: float64 (n_labels,), ln((n_items + 1) / available items with the label)
    """

    offsets: np.ndarray
    labels: np.ndarray
    label_offsets: np.ndarray
    items: np.ndarray
    idf: np.ndarray

    @classmethod
    def build(cls, statistics: Statistics, popularity: np.ndarray, per_label: int) -> "ItemLabels":
        """The labels of a version's items; popularity: int64 (n_items,), rank of each item, 0 is the most popular."""
        n_items, n_categories = statistics.n_items, len(statistics.categories)
        levels = statistics.levels
        new = distinct_levels(levels)
        leaf = (statistics.category != UNKNOWN) & ~(levels == statistics.category[:, None]).any(axis=1)
        owners = [np.nonzero(new)[0], np.flatnonzero(leaf)]  # a category below the last level is a label too
        labels = [levels[new].astype(np.int64), statistics.category[leaf].astype(np.int64)]
        n_labels = n_categories
        if statistics.attributes is not None:
            offsets = np.asarray(statistics.attributes.offsets)
            owners.append(np.arange(n_items).repeat(np.diff(offsets)))
            labels.append(statistics.attributes.values.astype(np.int64) + n_categories)
            n_labels += statistics.attributes.n_labels
        owner, label = np.concatenate(owners), np.concatenate(labels)
        order = np.lexsort((label, owner))
        by_item = owner[order], label[order]
        listed = statistics.available[owner]
        owner, label = owner[listed], label[listed]
        counted = np.bincount(label, minlength=n_labels)
        order = np.lexsort((popularity[owner], label))
        order = order[positions(label[order]) < per_label]
        return cls(
            offsets_of(np.bincount(by_item[0], minlength=n_items)),
            by_item[1].astype(np.int32),
            offsets_of(np.minimum(counted, per_label)),
            owner[order].astype(np.int32),
            np.log((n_items + 1) / np.maximum(counted, 1)),
        )

    def propose(self, items: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Items with the same labels: positions in `items`, int64 (n,), and item codes, int32 (n,); with repetitions.

        limit: labels of an item whose items are proposed, the rarest ones
        """
        index, lengths = rows_of(items, self.offsets)
        owner, labels = np.arange(len(items)).repeat(lengths), self.labels[index]
        rare = rank_within(owner, self.idf[labels]) < limit
        index, lengths = rows_of(labels[rare], self.label_offsets)
        return owner[rare].repeat(lengths), self.items[index]

    def agreement(self, items: np.ndarray, owners: np.ndarray, others: np.ndarray) -> np.ndarray:
        """The weight of the common labels divided by that of all labels of a pair, float64 (n_pairs,), on [0, 1].

        A label weighs its idf, so that a common rare label counts more. 0 where the items have no label.
        items: int (n,), item codes; owners: int64 (n_pairs,), positions in `items`; others: int (n_pairs,), item codes
        """
        index, lengths = rows_of(others, self.offsets)
        pair, labels = np.arange(len(others)).repeat(lengths), self.labels[index]
        own, own_lengths = rows_of(items, self.offsets)
        n_labels = len(self.idf)
        own_keys = np.arange(len(items)).repeat(own_lengths) * n_labels + self.labels[own]
        shared = np.isin(owners[pair] * n_labels + labels, own_keys)
        common = np.bincount(pair, self.idf[labels] * shared, len(others))
        both = self._weight(items)[owners] + self._weight(others) - common
        return np.divide(common, both, out=np.zeros(len(others)), where=both > 1e-12)

    def _weight(self, items: np.ndarray) -> np.ndarray:
        """The summed idf of the labels of each item, float64 (n,)."""
        index, lengths = rows_of(items, self.offsets)
        return np.bincount(np.arange(len(items)).repeat(lengths), self.idf[self.labels[index]], len(items))


def vector_agreement(attributes: ItemAttributes | None, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The mean cosine of the vectors that both items have, float64 (n_pairs,), at least 0; 0 where there are none."""
    total, known = np.zeros(len(left)), np.zeros(len(left))
    if attributes is None:
        return total
    for first, last in _columns(attributes):
        a, b = (attributes.matrix[items, first:last].astype(np.float64) for items in (left, right))
        both = a.any(axis=1) & b.any(axis=1)
        total += np.where(both, np.maximum(np.einsum("ij,ij->i", a, b), 0), 0)
        known += both
    return np.divide(total, known, out=np.zeros(len(left)), where=known > 0)


@dataclass(frozen=True, slots=True)
class VectorPool:
    """The items whose vectors are compared with that of an item: the most popular ones, see CELLS.

    items: int64 (n_pool,), codes; matrix: float32 (n_pool, n_dimensions), a copy of at most CELLS numbers
    """

    items: np.ndarray
    matrix: np.ndarray

    @classmethod
    def build(cls, attributes: ItemAttributes | None, popular: np.ndarray) -> "VectorPool":
        """The pool of a version; popular: int64 (n,), the items that may be proposed, the most popular first."""
        if attributes is None or not attributes.vectors:
            return cls(np.zeros(0, np.int64), np.zeros((0, 0), np.float32))
        compared = np.sort(popular[: max(CELLS // max(attributes.matrix.shape[1], 1), 1)])
        return cls(compared, attributes.matrix[compared])

    def propose(
        self, attributes: ItemAttributes | None, items: np.ndarray, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items with vectors alike: positions in `items`, int64 (n,), and item codes, int64 (n,).

        attributes: those that the pool was built from; limit: items proposed for each item, at most
        """
        size, nothing = min(limit, len(self.items)), np.zeros(0, np.int64)
        if attributes is None or not size:
            return nothing, nothing
        parts = [(nothing, nothing)]
        for position, item in enumerate(items.tolist()):
            cosine = self.matrix @ attributes.matrix[item]
            best = np.argpartition(-cosine, size - 1)[:size]
            best = best[cosine[best] > 0]
            parts.append((np.full(len(best), position), self.items[best]))
        owners, proposed = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return owners, proposed


def _columns(attributes: ItemAttributes) -> Iterator[tuple[int, int]]:
    """The first and the last + 1 column of each vector."""
    return pairwise(attributes.vector_starts.tolist())
