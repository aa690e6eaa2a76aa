"""Checks that the arrays of a version fit each other; hashes only prove that the files are complete.

Without these checks an array that is too short, or a code beyond the items, would fail in a request of one user.
Shapes are checked before anything is read, so that an array of an absurd size costs nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from recsys.data.attributes import AttributeSpec
from recsys.errors import RegistryError
from recsys.models.related import RELATED_SPECS
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import EVENT_TYPES, LATEST, UNKNOWN
from recsys.sessions.tables import session_arrays
from recsys.specs import Arrays, ArraySpec, borders, codes

MOST_DIMENSIONS: Final = 1000
"""Dimensions of the factorization; its settings allow no more."""
MOST_LEVELS: Final = 8
"""Levels of the category tree; the settings allow no more."""
FIXED: Final[Mapping[str, ArraySpec]] = {
    "category": codes("categories", "items"),
    "available": ArraySpec("b1", ("items",)),
    "parents": codes("categories", "categories"),
    "ancestors": ArraySpec("i4", ("categories", "levels"), UNKNOWN, "categories", largest={"levels": MOST_LEVELS}),
    "factorization_factors": ArraySpec(
        "f4", ("factors", "dimensions"), largest={"factors": "items", "dimensions": MOST_DIMENSIONS}
    ),
    "factorization_rows": codes("factors", "items"),
    "factorization_gram": ArraySpec("f8", ("dimensions", "dimensions")),
    "factorization_settings": ArraySpec("f8", (3 + len(EVENT_TYPES),)),
    "history_items": codes("items", "events", low=0),
    "history_events": ArraySpec("i1", ("events",), 0, len(EVENT_TYPES) - 1),
    "history_times": ArraySpec("i8", ("events",), 0, LATEST),
    "history_offsets": borders("users", "events", min_row=1),
    "totals_rows": ArraySpec("i8", ("cut users",), 0, "users", largest={"cut users": "users"}),
    "totals_counts": ArraySpec("i8", ("cut users", len(EVENT_TYPES)), 0, LATEST, min_sum=1),
    "totals_first": ArraySpec("i8", ("cut users",), 0, LATEST),
    "totals_items": ArraySpec("i8", ("cut users",), 0, LATEST),
    "totals_categories": ArraySpec("i8", ("cut users",), 0, LATEST),
}
"""Specs of the arrays that every version has."""


RELATED: Final = "related"
"""The beginning of the names of the arrays of RelatedTables."""
MOST_LABELS: Final = 1 << 26
"""Labels of all attributes of items."""
MOST_VECTOR_DIMENSIONS: Final = 1 << 16
"""Dimensions of all vectors of items."""


def attribute_arrays(attributes: Sequence[AttributeSpec]) -> dict[str, ArraySpec]:
    """The specs of the further arrays of a version with these attributes of items; none without attributes.

    `attribute_labels` and `attribute_dimensions` hold the attribute of each label and of each dimension, counted among
    the attributes of their kind.
    """
    if not attributes:
        return {}
    vectors = sum(one.kind == "vector" for one in attributes)
    return {
        "attribute_labels": ArraySpec(
            "i4", ("labels",), 0, len(attributes) - vectors - 1, largest={"labels": MOST_LABELS}
        ),
        "attribute_dimensions": ArraySpec(
            "i4", ("vector dimensions",), 0, vectors - 1, largest={"vector dimensions": MOST_VECTOR_DIMENSIONS}
        ),
        "attribute_values": codes("labels", "item labels", low=0),
        "attribute_offsets": borders("items", "item labels"),
        "attribute_matrix": ArraySpec("f4", ("items", "vector dimensions")),
    }


def source_array(source: str, name: str) -> str:
    """The name of a version's array for one array of a source's table."""
    return f"source_{source}_{name}"


def expected_arrays(
    item_columns: int,
    category_columns: int,
    sources: tuple[str, ...],
    attributes: Sequence[AttributeSpec] = (),
    *,
    related: bool = False,
    sessions: bool = False,
) -> dict[str, ArraySpec]:
    """The specs of all arrays of a version, for these numbers of statistics' columns, sources and attributes.

    related, sessions: whether the version has RelatedTables, and a session model
    """
    of_sources: dict[str, ArraySpec] = {}
    for source in sources:
        for name, spec in SOURCES[source].specs.items():
            if source_array(source, name) in of_sources:
                raise RegistryError(f"array {source_array(source, name)} belongs to two sources, {source} and another")
            of_sources[source_array(source, name)] = spec
    return {
        "item_statistics": ArraySpec("f4", ("items", item_columns), nan=True),  # NaN for items without an event
        "category_statistics": ArraySpec("f4", ("categories", category_columns)),
        **of_sources,
        **FIXED,
        **attribute_arrays(attributes),
        **({f"{RELATED}_{name}": spec for name, spec in RELATED_SPECS.items()} if related else {}),
        **(session_arrays() if sessions else {}),
    }


def check_shapes(arrays: Arrays, specs: Mapping[str, ArraySpec], sizes: Mapping[str, int]) -> dict[str, int]:
    """All sizes by name, after a check of types and shapes. No array is read, except for single borders.

    sizes: numbers of "items", "categories" and "users"
    Raises RegistryError with the array's name, its property and the expected one.
    """
    known = dict(sizes)
    for name, spec in specs.items():
        if name not in arrays:
            raise RegistryError(f"array {name} is missing: other code may have written this version")
        _check_shape(name, arrays[name], spec, known)
    for name, spec in specs.items():
        if spec.borders and arrays[name][-1] != known.get(spec.borders):
            raise _no_borders(name, spec, known)
    return known


def check_values(arrays: Arrays, specs: Mapping[str, ArraySpec], known: Mapping[str, int]) -> None:
    """Check the values of arrays that passed `check_shapes`; known: its result. Raises RegistryError as it does."""
    for name, spec in specs.items():
        if spec.borders:
            _check_borders(name, arrays[name], spec, known)
        _check_values(name, arrays[name], spec, known)


def check_finite(arrays: Arrays, specs: Mapping[str, ArraySpec]) -> None:
    """Raises RegistryError if a float array has an infinite value, or NaN where its spec does not allow NaN."""
    for name, spec in specs.items():
        array = arrays[name]
        if array.dtype.kind != "f" or not array.size:
            continue
        # None of the four copies the array. minimum and maximum pass NaN on, fmin and fmax leave it out.
        least, most = np.minimum.reduce(array, axis=None), np.maximum.reduce(array, axis=None)
        if np.isnan(least) and not spec.nan:
            raise RegistryError(f"array {name} has NaN, expected numbers alone")
        if np.isnan(least):
            least, most = np.fmin.reduce(array, axis=None), np.fmax.reduce(array, axis=None)
        if np.isinf(least) or np.isinf(most):
            raise RegistryError(f"array {name} has infinite values, expected finite ones")


def _check_shape(name: str, array: np.ndarray, spec: ArraySpec, known: dict[str, int]) -> None:
    """Check type and shape. Sizes that appear here for the first time are added to `known`."""
    if array.dtype.str[1:] not in spec.kinds.split() or not array.dtype.isnative:
        raise RegistryError(f"array {name} is of type {array.dtype}, expected one of: {spec.kinds}")
    more = 1 if spec.borders else 0
    if array.ndim == len(spec.shape):
        for size, length in zip(spec.shape, array.shape, strict=True):
            if isinstance(size, str):
                _check_size(name, size, known.setdefault(size, length - more), spec, known)
    shape = tuple(size if isinstance(size, int) else known.get(size, -1) + more for size in spec.shape)
    if array.shape != shape:
        named = ", ".join(str(size) for size in spec.shape)
        raise RegistryError(f"array {name} has shape {array.shape}, expected {shape}: ({named})")


def _check_size(name: str, size: str, length: int, spec: ArraySpec, known: Mapping[str, int]) -> None:
    bound = spec.largest.get(size, length)
    most = known[bound] if isinstance(bound, str) else bound
    if length > most:
        raise RegistryError(f"array {name} has {length:,} {size}, expected at most {most:,}")


def _check_borders(name: str, array: np.ndarray, spec: ArraySpec, known: Mapping[str, int]) -> None:
    inside = array.min() >= 0 and array.max() <= known[spec.borders]  # so that no difference overflows
    least = np.diff(array).min(initial=spec.min_row)
    if not inside or array[0] != 0 or least < spec.min_row:
        raise _no_borders(name, spec, known)


def _no_borders(name: str, spec: ArraySpec, known: Mapping[str, int]) -> RegistryError:
    return RegistryError(
        f"array {name} does not ascend from 0 to the number of {spec.borders}, {known.get(spec.borders)}, "
        f"by {spec.min_row} or more"
    )


def _check_values(name: str, array: np.ndarray, spec: ArraySpec, known: Mapping[str, int]) -> None:
    if spec.low is not None and array.size:
        high = known[spec.high] - 1 if isinstance(spec.high, str) else spec.high
        least, most = int(array.min()), int(array.max())
        if least < spec.low or most > high:
            raise RegistryError(f"array {name} has values from {least} to {most}, expected {spec.low} to {high}")
    if spec.min_sum and array.size and array.sum(axis=1).min() < spec.min_sum:
        raise RegistryError(f"array {name} has a row that sums up to less than {spec.min_sum}")
