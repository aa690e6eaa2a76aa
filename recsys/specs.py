"""Types, shapes and bounds that the arrays of a version must have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.schema import UNKNOWN

Arrays = Mapping[str, np.ndarray]
"""Arrays by name."""

INTEGER: Final = "i4 i8"
FLOAT: Final = "f2 f4"


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array.

    kinds: NumPy's names of the types that the array may have, such as "i4 i8"
    shape: sizes, or names of sizes. The sizes of the ids (items, users, categories) are given; the first array that
    has another name decides its size
    low, high: inclusive bounds of the values, where low is given; a name as high stands for codes below that size
    borders: the array holds the borders of rows in an array of this size, one row for each entry of `shape`
    min_row: entries that every such row has at least
    min_sum: sum that every row of numbers has at least
    """

    kinds: str
    shape: tuple[int | str, ...]
    low: int | None = None
    high: int | str = 0
    borders: str = ""
    min_row: int = 0
    min_sum: int = 0


def codes(size: str, *shape: int | str, low: int = UNKNOWN) -> ArraySpec:
    """int32 codes below a size; UNKNOWN is allowed unless `low` is 0."""
    return ArraySpec("i4", shape, low, size)


def borders(owners: str, entries: str, min_row: int = 0) -> ArraySpec:
    """Borders of the rows that each owner has among the entries."""
    return ArraySpec(INTEGER, (owners,), borders=entries, min_row=min_row)
