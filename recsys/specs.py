"""Specifications of a version's arrays: types, shapes and bounds of values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recsys.schema import UNKNOWN

Arrays = Mapping[str, np.ndarray]
"""Arrays by name."""

INTEGER: Final = "i4 i8"
FLOAT: Final = "f2 f4"
"""NumPy's names of the allowed types."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """The specification of one array.

    kinds: NumPy's names of the allowed types, such as "i4 i8"
    shape: sizes, or names of sizes. The sizes "items", "users" and "categories" are known from the ids. For any other
    name, the first array with this name sets the size.
    low, high: inclusive bounds of the values, checked if low is not None. If high is the name of a size, all values
    must be below this size.
    borders: if given, the array holds the borders of consecutive rows in an array whose size has this name. It has
    one row for each entry of `shape`.
    min_row: smallest number of entries in each of these rows
    min_sum: smallest sum of each row of a matrix
    largest: upper bounds of sizes that no ids and no borders fix: for the name of a size a number, or the name of
    another size
    nan: whether a float array may have NaN; infinite values are never allowed
    """

    kinds: str
    shape: tuple[int | str, ...]
    low: int | None = None
    high: int | str = 0
    borders: str = ""
    min_row: int = 0
    min_sum: int = 0
    largest: Mapping[str, int | str] = field(default_factory=dict)
    nan: bool = False


def codes(size: str, *shape: int | str, low: int = UNKNOWN) -> ArraySpec:
    """The specification of int32 codes below a size. With `low` 0, UNKNOWN is not allowed."""
    return ArraySpec("i4", shape, low, size)


def borders(owners: str, entries: str, min_row: int = 0) -> ArraySpec:
    """The specification of borders: the entries of each owner lie between two neighbouring borders."""
    return ArraySpec(INTEGER, (owners,), borders=entries, min_row=min_row)
