"""The category tree in names of categories that are paths, such as `appliances.kitchen.kettle` or `Home > Garden`."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.schema import CATEGORY, PARENT

SEPARATORS: Final = (" > ", ">", " / ", "/", ".")
"""Separators of paths, the most telling first."""
MOSTLY: Final = 0.5
"""Fraction of the names that must have the separator."""
NUMBER: Final = r"^[-+]?[\d.]+$"


def tree_of_paths(categories: pa.ChunkedArray) -> pa.Table:
    """The rows of the tree, columns CATEGORY and PARENT, strings; no row if the names are no paths.

    The prefixes of a name are the categories above it. A null parent marks a root.
    categories: strings, null for no category
    """
    schema = pa.schema([(CATEGORY, pa.string()), (PARENT, pa.string())])
    names = categories.drop_null().unique()
    separator = _separator(names)
    if separator is None:
        return schema.empty_table().combine_chunks()
    parents: dict[str, str | None] = {}
    for name in sorted(names.to_pylist()):
        parts = name.split(separator)
        for end in range(1, len(parts) + 1):
            above = separator.join(parts[: end - 1]) if end > 1 else None
            parents.setdefault(separator.join(parts[:end]), above)
    return pa.table([list(parents), list(parents.values())], schema=schema)


def _separator(names: pa.Array | pa.ChunkedArray) -> str | None:
    """The separator of most of the names; None if there is none, or if the names are numbers."""
    if not len(names) or pc.all(pc.match_substring_regex(names, NUMBER)).as_py():
        return None
    for separator in SEPARATORS:
        inside = pc.match_substring_regex(names, rf"\S{_escaped(separator)}\S")
        if pc.mean(inside.cast(pa.int8())).as_py() >= MOSTLY:
            return separator
    return None


def _escaped(separator: str) -> str:
    return separator.replace(".", r"\.")
