"""The keys of attributes among the properties of items."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

PREFIX: Final = "attribute:"
"""The beginning of an attribute's key among the properties of items. No property of a file that is read begins so."""


def is_attribute(keys: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Whether each key of a property is that of an attribute, bool (n,)."""
    return pc.starts_with(keys, PREFIX)
