"""Attributes of items as of a cut, as statistics, labels and vectors; and the users' affinities to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.arrays import find, offsets_of, rows_of, run_starts, runs
from recsys.data.attributes import Attributes, AttributeSpec, AttributeState, ItemLabels, Labels
from recsys.features.interactions import Interactions
from recsys.schema import UNKNOWN

BINS: Final = 5
"""Quantile bins of a number; the bins are its labels."""
SLOW: Final = -1
"""The column of `Interactions.decayed` with the slowest decay. Interest in a brand outlives interest in an item."""


@dataclass(frozen=True, slots=True)
class ItemAttributes:
    """Labels and vectors of all items as of a cut.

    The labels of all attributes are numbered one after the other; a number has the label of its quantile bin.

    labels: names of the attributes with labels; attribute a has the labels starts[a]:starts[a + 1]
    starts: int64 (n_attributes + 1,)
    offsets: int64 (n_items + 1,); values: int32; item i has the labels values[offsets[i]:offsets[i + 1]], ascending
    vectors: names of the attributes with vectors; attribute v has the columns vector_starts[v]:vector_starts[v + 1]
    vector_starts: int64 (n_vectors + 1,)
    matrix: float32 (n_items, n_dimensions); each attribute's part has length one, or is zero where unknown
    """

    labels: tuple[str, ...]
    starts: np.ndarray
    offsets: np.ndarray
    values: np.ndarray
    vectors: tuple[str, ...]
    vector_starts: np.ndarray
    matrix: np.ndarray

    @property
    def n_labels(self) -> int:
        """The number of labels of all attributes."""
        return int(self.starts[-1])

    def attribute_of(self, labels: np.ndarray) -> np.ndarray:
        """The position of each label's attribute in `labels`, int64 (n,); labels: int (n,)."""
        return np.searchsorted(self.starts, labels, side="right") - 1

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to store, by name: borders of attributes become the attribute of each label and dimension."""
        return {
            "labels": _owners(self.starts),
            "dimensions": _owners(self.vector_starts),
            "values": self.values,
            "offsets": self.offsets,
            "matrix": self.matrix,
        }

    @classmethod
    def from_arrays(cls, specs: Sequence[AttributeSpec], arrays: Mapping[str, np.ndarray]) -> "ItemAttributes":
        """The attributes stored as `arrays` returns them; specs: their names and kinds, in order."""
        labels = tuple(spec.name for spec in specs if spec.kind != "vector")
        vectors = tuple(spec.name for spec in specs if spec.kind == "vector")
        starts, vector_starts = (
            offsets_of(np.bincount(arrays[name], minlength=len(names)))
            for name, names in (("labels", labels), ("dimensions", vectors))
        )
        return cls(labels, starts, arrays["offsets"], arrays["values"], vectors, vector_starts, arrays["matrix"])


def _owners(starts: np.ndarray) -> np.ndarray:
    """The number of the segment of each position, int32; starts: borders of the segments."""
    return np.arange(len(starts) - 1, dtype=np.int32).repeat(np.diff(starts))


def item_attributes(
    state: AttributeState, category: np.ndarray, popularity: np.ndarray
) -> tuple[ItemAttributes, dict[str, np.ndarray]]:
    """The labels and vectors of all items, and columns of item statistics by name, float64 (n_items,) each.

    category: int32 (n_items,), codes or UNKNOWN; popularity: float64 (n_items,), decayed weighted events
    """
    columns: dict[str, np.ndarray] = {}
    labels: dict[str, ItemLabels] = {}
    for spec in state.specs:
        if spec.kind == "number":
            number = state.numbers[spec.name].astype(np.float64)
            relative = against_category(number, category)
            columns[f"attr_{spec.name}"], columns[f"attr_{spec.name}_vs_category"] = number, relative
            labels[spec.name] = quantile_bins(relative)
        elif spec.kind in ("category", "tags"):
            labels[spec.name] = state.labels[spec.name]
            columns[f"attr_{spec.name}_popularity"] = label_popularity(labels[spec.name], popularity)
    matrices = list(state.vectors.values())
    n_items = len(category)
    return ItemAttributes(
        tuple(labels),
        offsets_of(np.array([one.n_values for one in labels.values()], np.int64)),
        *_joined(list(labels.values()), n_items),
        tuple(state.vectors),
        offsets_of(np.array([matrix.shape[1] for matrix in matrices], np.int64)),
        np.concatenate([np.zeros((n_items, 0), np.float32), *matrices], axis=1),
    ), columns


def label_words(attributes: Attributes, known: ItemAttributes | None) -> pa.Array | None:
    """The word of each label, Arrow array of strings (n_labels,), null for bins of numbers; None without attributes.

    known: the labels as of a cut; their codes are positions in the vocabularies of `attributes`, whatever the cut
    """
    if known is None:
        return None
    vocabularies = {one.name: one.vocabulary for one in attributes.learned if isinstance(one, Labels)}
    lengths = np.diff(known.starts).tolist()
    parts = [
        vocabularies[name].cast(pa.string()) if name in vocabularies else pa.nulls(length, pa.string())
        for name, length in zip(known.labels, lengths, strict=True)
    ]
    return pa.concat_arrays([pa.array([], pa.string()), *parts])


def against_category(values: np.ndarray, category: np.ndarray) -> np.ndarray:
    """(value - mean) / standard deviation among the items of the same category, float64 (n_items,).

    Items without a category form a group of their own. NaN for items without a value, and in groups whose items all
    have the same value.
    values: float64 (n_items,), NaN where unknown; category: int32 (n_items,), codes or UNKNOWN
    """
    known = np.isfinite(values)
    group, x = category[known] + 1, values[known]
    n_groups = int(category.max(initial=UNKNOWN)) + 2
    size = np.maximum(np.bincount(group, minlength=n_groups), 1)
    mean = np.bincount(group, x, n_groups) / size
    deviation = np.sqrt(np.bincount(group, (x - mean[group]) ** 2, n_groups) / size)
    # Rounding leaves a tiny deviation where all values are equal.
    usable = deviation > 1e-9 * np.maximum(np.abs(mean), 1e-30)
    deviation = np.where(usable, deviation, np.nan)
    relative = np.full(len(values), np.nan)
    relative[known] = (x - mean[group]) / deviation[group]
    return relative


def quantile_bins(values: np.ndarray) -> ItemLabels:
    """The quantile bin of each item as its label; items whose value is NaN have none. values: float64 (n_items,)"""
    known = np.isfinite(values)
    borders = np.unique(np.quantile(values[known], np.arange(1, BINS) / BINS)) if known.any() else np.zeros(0)
    codes = np.searchsorted(borders, values[known], side="right").astype(np.int32)
    return ItemLabels(offsets_of(known.astype(np.int64)), codes, len(borders) + 1)


def label_popularity(labels: ItemLabels, popularity: np.ndarray) -> np.ndarray:
    """The summed popularity of all items with the same label, the mean over an item's labels, float64 (n_items,).

    NaN for items without a label; popularity: float64 (n_items,)
    """
    lengths = np.diff(labels.offsets)
    item = np.arange(len(lengths)).repeat(lengths)
    by_label = np.bincount(labels.values, popularity[item], labels.n_values)
    total = np.bincount(item, by_label[labels.values], len(lengths))
    return np.divide(total, lengths, out=np.full(len(lengths), np.nan), where=lengths > 0)


def _joined(labels: list[ItemLabels], n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Borders and labels of all attributes together, the labels numbered one attribute after the other."""
    items, values, start = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for one in labels:
        items.append(np.arange(n_items).repeat(np.diff(one.offsets)))
        values.append(one.values.astype(np.int64) + start)
        start += one.n_values
    item = np.concatenate(items)
    order = item.argsort(kind="stable")
    return offsets_of(np.bincount(item, minlength=n_items)), np.concatenate(values)[order].astype(np.int32)


@dataclass(frozen=True, slots=True)
class Affinities:
    """Users' interest in labels, and their mean vectors.

    keys: int64 (n,), ascending, user * n_labels + label; fractions: float64 (n,), the fraction of the user's slowly
        decayed weight that is on items with the label
    vectors: float64 (n_users, n_dimensions), the weighted mean of the items' vectors, each attribute's part of length
        one, or zero
    """

    n_labels: int
    keys: np.ndarray
    fractions: np.ndarray
    vectors: np.ndarray

    def find(self, users: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The fraction of each user for each label, float64 (n,); users: int64 (n,); labels: int (n,)."""
        rows = find(self.keys, users.astype(np.int64) * self.n_labels + labels)
        return np.append(self.fractions, 0.0)[rows]


def affinities(by_item: Interactions, totals: np.ndarray, attributes: ItemAttributes) -> Affinities:
    """The affinities of a batch of users. A user's do not depend on the others in the batch.

    by_item: one row for each (user, item); totals: float64 (n_users, n_speeds), see `Profiles`
    """
    weights = by_item.decayed[:, SLOW] / np.maximum(totals[by_item.users, SLOW], 1e-300)
    return interest(Met(by_item.users, by_item.things, weights), len(totals), attributes)


@dataclass(frozen=True, slots=True)
class Met:
    """Items that users met, user after user; users, items: int (n,); fractions: float64 (n,), of the user's weight."""

    users: np.ndarray
    items: np.ndarray
    fractions: np.ndarray


def interest(met: Met, n_users: int, attributes: ItemAttributes) -> Affinities:
    """The affinities that follow from the items that users met."""
    index, lengths = rows_of(met.items, attributes.offsets)
    row = np.arange(len(lengths)).repeat(lengths)
    keys = met.users[row] * attributes.n_labels + attributes.values[index]
    order = keys.argsort(kind="stable")
    starts, run = runs(keys[order])
    fractions = np.bincount(run, met.fractions[row[order]], len(starts))
    return Affinities(attributes.n_labels, keys[order][starts], fractions, _mean_vectors(met, n_users, attributes))


def _mean_vectors(met: Met, n_users: int, attributes: ItemAttributes) -> np.ndarray:
    """See `Affinities.vectors`."""
    means = np.zeros((n_users, attributes.matrix.shape[1]))
    if not means.size or not len(met.users):
        return means
    starts = run_starts(met.users)
    # Users one by one: a batch of long histories would need the vectors of all of them at once.
    for start, stop in zip(starts, np.append(starts[1:], len(met.users)), strict=True):
        rows = attributes.matrix[met.items[start:stop]]
        means[met.users[start]] = (met.fractions[start:stop, None] * rows).sum(axis=0)
    for first, last in _parts(attributes.vector_starts):
        part = means[:, first:last]
        norms = np.sqrt(np.einsum("ij,ij->i", part, part))
        part /= np.where(norms > 0, norms, 1)[:, None]
    return means


def _parts(starts: np.ndarray) -> list[tuple[int, int]]:
    """The first and the last + 1 column of each attribute."""
    return list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))


def pair_features(
    affinity: Affinities, known: np.ndarray, attributes: ItemAttributes, users: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """The user's affinity to each attribute of the item, float64 (n_pairs, n_attributes + n_vectors).

    First the mean fraction over the item's labels for each attribute of `labels`, then the cosine for each of
    `vectors`. NaN where the item has no value, or the user no weight.
    known: bool (n_users,), whether the user has any weight
    users: int64 (n_pairs,), positions in the batch; items: int32 (n_pairs,), item codes
    """
    n_pairs, n_attributes = len(users), len(attributes.labels)
    index, lengths = rows_of(items, attributes.offsets)
    pair = np.arange(n_pairs).repeat(lengths)
    labels = attributes.values[index]
    cells = pair * n_attributes + attributes.attribute_of(labels)
    counts = np.bincount(cells, minlength=n_pairs * n_attributes)
    sums = np.bincount(cells, affinity.find(users[pair], labels), n_pairs * n_attributes)
    result = np.full((n_pairs, n_attributes + len(attributes.vectors)), np.nan)
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    result[:, :n_attributes] = means.reshape(n_pairs, n_attributes)
    for column, (first, last) in enumerate(_parts(attributes.vector_starts), n_attributes):
        vectors = attributes.matrix[items, first:last].astype(np.float64)
        cosine = np.einsum("ij,ij->i", vectors, affinity.vectors[users, first:last])
        result[:, column] = np.where(vectors.any(axis=1), cosine, np.nan)
    result[~known[users]] = np.nan
    return result
