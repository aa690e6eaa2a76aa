"""What is known about items as of a time: category, availability, the category tree. NumPy only."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys.ids import Ids
from recsys.schema import UNKNOWN


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """Values of one property of items, ordered by (item, time), only where the value changes.

    items: int32 (n,), item codes
    times: int64 (n,), ms; the value holds from this time on
    values: (n,)
    """

    items: np.ndarray
    times: np.ndarray
    values: np.ndarray

    @classmethod
    def build(cls, items: np.ndarray, times: np.ndarray, values: np.ndarray) -> "ChangeLog":
        """From records in any order; of several at one time the largest value holds."""
        order = np.lexsort((values, times, items))
        items, times, values = items[order], times[order], values[order]
        same_item = items[1:] == items[:-1]
        last_at_time = np.append(~(same_item & (times[1:] == times[:-1])), True)[: len(items)]
        items, times, values = items[last_at_time], times[last_at_time], values[last_at_time]
        changed = np.insert((items[1:] != items[:-1]) | (values[1:] != values[:-1]), 0, True)[: len(items)]
        return cls(items[changed].astype(np.int32), times[changed].astype(np.int64), values[changed])

    def as_of(self, time: int, unknown: np.ndarray) -> np.ndarray:
        """The last value of each item at or before `time`, (n_items,); `unknown`, alike, where none."""
        past = self.times <= time
        last = past.copy()
        last[:-1] &= ~(past[1:] & (self.items[1:] == self.items[:-1]))
        result = unknown.copy()
        result[self.items[last]] = self.values[last]
        return result


@dataclass(frozen=True, slots=True)
class CatalogState:
    """What holds at one time, one row an item.

    category: int32 (n_items,), category codes, UNKNOWN where there is none
    available: bool (n_items,), True where nothing is known
    """

    category: np.ndarray
    available: np.ndarray


@dataclass(frozen=True, slots=True)
class TreeProblems:
    """What had to be mended in the category tree."""

    cycles: int = 0
    missing_parents: int = 0
    conflicting_parents: int = 0
    not_in_tree: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """Categories and availability of items over time.

    categories: the ids of all categories; a category's code is its position
    parent: int32 (n_categories,), code of the parent, UNKNOWN for roots; free of cycles
    category_log: values are int32 category codes
    availability_log: values are bool
    """

    n_items: int
    categories: Ids
    parent: np.ndarray
    category_log: ChangeLog
    availability_log: ChangeLog

    def as_of(self, time: int) -> CatalogState:
        """The last known state at or before `time` (ms)."""
        return CatalogState(
            self.category_log.as_of(time, np.full(self.n_items, UNKNOWN, np.int32)),
            self.availability_log.as_of(time, np.ones(self.n_items, bool)),
        )

    def ancestors(self, levels: int = 3) -> np.ndarray:
        """Ancestors from the root down, int32 (n_categories, levels).

        A category that ends above a level repeats itself there; one below all levels has its first ancestors.
        """
        codes = np.arange(len(self.parent), dtype=np.int32)
        depth = _depths(self.parent)
        table = np.repeat(codes[:, None], levels, axis=1)
        for level in range(1, levels):
            members = np.flatnonzero(depth == level)
            table[members, :level] = table[self.parent[members], :level]
        # What lies below all levels has the row of its ancestor at the last of them.
        last = np.where(depth < levels, codes, self.parent)
        while ((further := last[last]) != last).any():
            last = further
        return table[last]


@dataclass(frozen=True, slots=True)
class Records:
    """Property values as read, in any order: items int32 codes (n,), times int64 ms (n,), values (n,)."""

    items: np.ndarray
    times: np.ndarray
    values: pa.Array


def build_catalog(
    n_items: int,
    categories: Records,
    availability: Records,
    children: pa.Array,
    parents: pa.Array,
) -> tuple[Catalog, TreeProblems]:
    """
    categories: values are category ids, int64 or string
    availability: values are bool
    children, parents: the tree's rows, ids of the same type as the categories; a null parent marks a root
    """
    listed = Ids.from_values(children)
    known = Ids.from_values(pa.chunked_array([children, parents.drop_null(), categories.values]))
    parent, conflicting = _parents(known, children, parents)
    parent, cycles = _break_cycles(parent)
    problems = TreeProblems(
        cycles=cycles,
        missing_parents=int((listed.encode(parents.unique().drop_null()) == UNKNOWN).sum()),
        conflicting_parents=conflicting,
        not_in_tree=int((listed.encode(categories.values.unique()) == UNKNOWN).sum()) if len(listed) else 0,
    )
    catalog = Catalog(
        n_items,
        known,
        parent,
        ChangeLog.build(categories.items, categories.times, known.encode(categories.values)),
        ChangeLog.build(availability.items, availability.times, availability.values.to_numpy(zero_copy_only=False)),
    )
    return catalog, problems


def _parents(known: Ids, children: pa.Array, parents: pa.Array) -> tuple[np.ndarray, int]:
    """The parent of each category, of several the first by code, and how many categories have several."""
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
    """Steps from each category up to its root, int64 (n_categories,), by pointer jumping: chains may be long."""
    root = parent == UNKNOWN
    up = np.where(root, np.arange(len(parent)), parent)
    depth = (~root).astype(np.int64)
    while (above := depth[up]).any():
        depth, up = depth + above, up[up]
    return depth


def _break_cycles(parent: np.ndarray) -> tuple[np.ndarray, int]:
    """Make the first category of each cycle a root; also the number of cycles."""
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
