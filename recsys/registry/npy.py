"""NumPy array files, mapped into memory after a check that the file has the size that its header declares."""

import io
import math
import os
from pathlib import Path
from tokenize import TokenError
from typing import Final

import numpy as np

from recsys.errors import failure_of
from recsys.storage.files import open_regular

HEADER_BYTES: Final = 1 << 14
"""Bytes in which a header must end. NumPy allows a header of 4 GB, which it would read into memory."""
READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Readers of a header by the version of its format."""


def map_array(path: Path) -> np.ndarray:
    """A read-only array mapped into memory.

    Raises RegistryError if the file is not a NumPy array, or if its header declares more or less than the file holds.
    """
    try:
        with open_regular(path) as file:
            shape, fortran_order, dtype, offset = _header(io.BytesIO(file.read(HEADER_BYTES)))
            declared = offset + math.prod(shape) * dtype.itemsize
            if (size := os.fstat(file.fileno()).st_size) != declared or not dtype.itemsize:
                raise ValueError(f"its header declares {shape} of {dtype}, {declared:,} bytes; the file has {size:,}")
            mapped = np.memmap(file, dtype, "r", offset, shape, "F" if fortran_order else "C")
    # The header of the file is Python code.
    except (ValueError, TypeError, OSError, SyntaxError, TokenError, OverflowError, RecursionError) as error:
        raise failure_of(error)(f"{path} is not a NumPy array: {error}") from error
    # A plain view: np.memmap runs Python code at every slice, which adds up in a request.
    return np.asarray(mapped)


def _header(head: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether the order is Fortran's, dtype, and where the values begin; raises ValueError.

    head: the beginning of the file
    """
    version = np.lib.format.read_magic(head)
    if version not in READERS:
        raise ValueError(f"format {version}, expected one of: {', '.join(map(str, READERS))}")
    shape, fortran_order, dtype = READERS[version](head)
    if dtype.hasobject:
        raise ValueError(f"objects cannot be mapped: {dtype}")
    if min(shape, default=0) < 0:
        raise ValueError(f"a negative size: {shape}")
    return shape, fortran_order, dtype, head.tell()
