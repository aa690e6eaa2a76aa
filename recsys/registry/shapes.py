"""What the arrays of a version must be to fit each other: hashes say that files are whole, not what is in them.

An array that is too short, or a code beyond the items, would else show when a user is asked for whom it concerns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.errors import RegistryError
from recsys.features.statistics import CATEGORY_COLUMNS, ITEM_COLUMNS
from recsys.schema import EVENT_TYPES, LATEST, UNKNOWN

INTEGER: Final = "i4 i8"
FLOAT: Final = "f2 f4"


@dataclass(frozen=True, slots=True)
class Expected:
    """kinds: NumPy's names of the types an array may have

    shape: sizes, or names of sizes: those of the ids are given, each other one is what the first array with it has
    low, high: bounds of the values where given, both included; high may be the name of a size, then codes are below it
    borders: the array holds the borders of rows in one of this size, for each of the size that `shape` names
    each: every row has at least so many entries
    row_sum: every row of numbers has at least this sum
    """

    kinds: str
    shape: tuple[int | str, ...]
    low: int | None = None
    high: int | str = 0
    borders: str = ""
    each: int = 0
    row_sum: int = 0


def _codes(size: str, *shape: int | str, low: int = UNKNOWN) -> Expected:
    return Expected("i4", shape, low, size)


def _neighbours(prefix: str) -> dict[str, Expected]:
    return {
        f"{prefix}_items": _codes("items", prefix, low=0),
        f"{prefix}_scores": Expected(FLOAT, (prefix,)),
        f"{prefix}_offsets": Expected(INTEGER, ("items",), borders=prefix),
    }


EXPECTED: Final[Mapping[str, Expected]] = {
    "item_statistics": Expected("f4", ("items", len(ITEM_COLUMNS))),
    "category_statistics": Expected("f4", ("categories", len(CATEGORY_COLUMNS))),
    "category": _codes("categories", "items"),
    "available": Expected("b1", ("items",)),
    "parents": _codes("categories", "categories"),
    "ancestors": _codes("categories", "categories", "levels"),
    **_neighbours("covisitation"),
    **_neighbours("mf_neighbours"),
    "popularity_recent": _codes("items", "recent", low=0),
    "popularity_popular": _codes("items", "popular", low=0),
    "popularity_category_items": _codes("items", "listed", low=0),
    "popularity_category_offsets": Expected(INTEGER, ("categories",), borders="listed"),
    "factorization_factors": Expected("f4", ("factors", "dimensions")),
    "factorization_rows": _codes("factors", "items"),
    "factorization_gram": Expected("f8", ("dimensions", "dimensions")),
    "factorization_settings": Expected("f8", (3 + len(EVENT_TYPES),)),
    "history_items": _codes("items", "events", low=0),
    "history_events": Expected("i1", ("events",), 0, len(EVENT_TYPES) - 1),
    "history_times": Expected("i8", ("events",), 0, LATEST),
    "history_offsets": Expected(INTEGER, ("users",), borders="events", each=1),
    "totals_rows": Expected("i8", ("cut users",), 0, "users"),
    "totals_counts": Expected("i8", ("cut users", len(EVENT_TYPES)), 0, LATEST, row_sum=1),
    "totals_first": Expected("i8", ("cut users",), 0, LATEST),
    "totals_items": Expected("i8", ("cut users",), 0, LATEST),
    "totals_categories": Expected("i8", ("cut users",), 0, LATEST),
}


def check_arrays(arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
    """Raises RegistryError that names the array, what it has and what was expected.

    sizes: numbers of "items", "categories" and "users"
    """
    known = dict(sizes)
    for name, expected in EXPECTED.items():
        if name not in arrays:
            raise RegistryError(f"array {name} is missing; made by other code than this?")
        _check(name, arrays[name], expected, known)


def _check(name: str, array: np.ndarray, expected: Expected, known: dict[str, int]) -> None:
    """Compare one array; sizes first met here are added to those known."""
    if array.dtype.str[1:] not in expected.kinds.split() or not array.dtype.isnative:
        raise RegistryError(f"array {name} is of type {array.dtype}, expected one of: {expected.kinds}")
    _check_shape(name, array, expected, known)
    if expected.borders:
        _check_borders(name, array, expected, known[expected.borders])
    _check_values(name, array, expected, known)


def _check_shape(name: str, array: np.ndarray, expected: Expected, known: dict[str, int]) -> None:
    more = 1 if expected.borders else 0
    if array.ndim == len(expected.shape):
        for size, found in zip(expected.shape, array.shape, strict=True):
            if isinstance(size, str):
                known.setdefault(size, found - more)
    shape = tuple(size if isinstance(size, int) else known.get(size, -1) + more for size in expected.shape)
    if array.shape != shape:
        spoken = ", ".join(str(size) for size in expected.shape)
        raise RegistryError(f"array {name} has shape {array.shape}, expected {shape}: ({spoken})")


def _check_borders(name: str, array: np.ndarray, expected: Expected, n_entries: int) -> None:
    inside = array.min() >= 0 and array.max() <= n_entries  # so that no difference overflows
    least = np.diff(array).min(initial=expected.each)
    if not inside or array[0] != 0 or array[-1] != n_entries or least < expected.each:
        raise RegistryError(
            f"array {name} does not ascend from 0 to the number of {expected.borders}, {n_entries}, "
            f"by {expected.each} or more"
        )


def _check_values(name: str, array: np.ndarray, expected: Expected, known: Mapping[str, int]) -> None:
    if expected.low is not None and array.size:
        high = known[expected.high] - 1 if isinstance(expected.high, str) else expected.high
        least, most = int(array.min()), int(array.max())
        if least < expected.low or most > high:
            raise RegistryError(f"array {name} has values from {least} to {most}, expected {expected.low} to {high}")
    if expected.row_sum and array.size and array.sum(axis=1).min() < expected.row_sum:
        raise RegistryError(f"array {name} has a row that sums up to less than {expected.row_sum}")
