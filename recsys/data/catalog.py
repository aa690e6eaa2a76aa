"""The catalog: category, availability and attributes of items as of a time, and the category tree. NumPy only."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys.data.attributes import NO_ATTRIBUTES, Attributes, AttributeState
from recsys.data.changes import ChangeLog, Records
from recsys.ids import Ids
from recsys.schema import UNKNOWN


@dataclass(frozen=True, slots=True)
class CatalogState:
    """The state of all items at one time.

    category: int32 (n_items,), category codes, UNKNOWN for items without a category
    available: bool (n_items,), True for items without a record
    attributes: None if the shop gives none that a model can use
    """

    category: np.ndarray
    available: np.ndarray
    attributes: AttributeState | None = None


@dataclass(frozen=True, slots=True)
class TreeProblems:
    """Numbers of problems of the category tree.

    cycles: cycles, each broken at its first category
    missing_parents: parents that are not listed themselves, which become roots
    conflicting_parents: categories with several parents; the parent with the smallest code is taken
    not_in_tree: categories of items that the tree does not list, which become roots
    """

    cycles: int = 0
    missing_parents: int = 0
    conflicting_parents: int = 0
    not_in_tree: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Categories, availability and attributes of items over time.

    categories: the ids of all categories; the code of a category is its position
    parent: int32 (n_categories,), the code of the parent, UNKNOWN for roots; without cycles
    category_log: values are int32 category codes
    availability_log: values are bool
    attributes: all other attributes of the items
    """

    n_items: int
    categories: Ids
    parent: np.ndarray
    category_log: ChangeLog
    availability_log: ChangeLog
    attributes: Attributes = NO_ATTRIBUTES

    def as_of(self, time: int) -> CatalogState:
        """The last state at or before `time` (ms)."""
        return CatalogState(
            self.category_log.as_of(time, np.full(self.n_items, UNKNOWN, np.int32)),
            self.availability_log.as_of(time, np.ones(self.n_items, bool)),
            self.attributes.as_of(time, self.n_items),
        )

    def ancestors(self, levels: int = 3) -> np.ndarray:
        """The path from the root to each category, int32 (n_categories, levels).

        A path that is too short repeats the category at its end. A path that is too long is cut at the end.
        """
        codes = np.arange(len(self.parent), dtype=np.int32)
        depth = _depths(self.parent)
        table = np.repeat(codes[:, None], levels, axis=1)
        for level in range(1, levels):
            members = np.flatnonzero(depth == level)
            table[members, :level] = table[self.parent[members], :level]
        # A category below the last level has the same row as its ancestor at that level.
        last = np.where(depth < levels, codes, self.parent)
        while ((further := last[last]) != last).any():
            last = further
        return table[last]


def build_catalog(
    n_items: int,
    categories: Records,
    availability: Records,
    children: pa.Array,
    parents: pa.Array,
) -> tuple[Catalog, TreeProblems]:
    """The catalog, and the problems of its tree.

    categories: values are category ids, int64 or string; null for no category
    availability: values are bool
    children, parents: the rows of the tree, ids of the same type as the categories; a null parent marks a root
    A column without an id may have any type, as that of a file that was left out.
    """
    children, parents, values = _of_one_type(children, parents, categories.values)
    listed = Ids.from_values(children)
    used = values.drop_null()
    known = Ids.from_values(pa.concat_arrays([children, parents.drop_null(), used]))
    parent, conflicting = _parents(known, children, parents)
    parent, cycles = _break_cycles(parent)
    problems = TreeProblems(
        cycles=cycles,
        missing_parents=int((listed.encode(parents.unique().drop_null()) == UNKNOWN).sum()),
        conflicting_parents=conflicting,
        not_in_tree=int((listed.encode(used.unique()) == UNKNOWN).sum()) if len(listed) else 0,
    )
    catalog = Catalog(
        n_items,
        known,
        parent,
        ChangeLog.build(categories.items, categories.times, known.encode(values)),
        ChangeLog.build(availability.items, availability.times, availability.values.to_numpy(zero_copy_only=False)),
    )
    return catalog, problems


def _of_one_type(*columns: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    """The columns as arrays of one type. A column without an id gets the type of the others."""
    arrays = [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]
    kind = next((array.type for array in arrays if array.null_count < len(array)), pa.int64())
    return [array if array.null_count < len(array) else pa.nulls(len(array), kind) for array in arrays]


def _parents(known: Ids, children: pa.Array, parents: pa.Array) -> tuple[np.ndarray, int]:
    """The parent of each category, int32, and the number of categories with several parents.

    Of several parents the first by code is taken.
    """
    child = known.encode(children)
    above = np.full(len(child), UNKNOWN, np.int32)
    given = parents.is_valid().to_numpy(zero_copy_only=False)
    above[given] = known.encode(parents.drop_null())
    pairs = np.unique(np.stack([child, above], axis=1), axis=0)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 1] == UNKNOWN, pairs[:, 0]))]
    listed, first, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    parent = np.full(len(known), UNKNOWN, np.int32)
    parent[listed] = pairs[first, 1]
    return parent, int((counts > 1).sum())


def _depths(parent: np.ndarray) -> np.ndarray:
    """The number of steps from each category up to its root, int64 (n_categories,).

    Pointer jumping doubles the step each time, since chains may be long.
    """
    root = parent == UNKNOWN
    up = np.where(root, np.arange(len(parent)), parent)
    depth = (~root).astype(np.int64)
    while (above := depth[up]).any():
        depth, up = depth + above, up[up]
    return depth


def _break_cycles(parent: np.ndarray) -> tuple[np.ndarray, int]:
    """The parents with the first category of each cycle made a root, and the number of cycles."""
    parent = parent.copy()
    seen = np.zeros(len(parent), np.int64)
    cycles = 0
    for start in range(len(parent)):
        code = start
        while code != UNKNOWN and not seen[code]:
            seen[code] = start + 1
            code = int(parent[code])
        if code != UNKNOWN and seen[code] == start + 1:
            members = [code]
            while (above := int(parent[members[-1]])) != code:
                members.append(above)
            parent[min(members)] = UNKNOWN
            cycles += 1
    return parent, cycles
