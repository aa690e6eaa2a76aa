"""Files of any format to chunks of text columns, with the position of every row. No Ray."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.data.readers.base import READ_ERRORS, UNREADABLE, BrokenLine, Chunk, FilePiece, Reader
from recsys.data.readers.csv import CsvReader
from recsys.data.readers.parquet import ParquetReader
from recsys.errors import DataError
from recsys.storage.filesystem import File

READERS: Final[tuple[Reader, ...]] = (CsvReader(), ParquetReader())
"""The readers of all formats. A further format is a file in `readers` and an entry here."""


def endings() -> list[str]:
    """The endings of the names of files that can be read."""
    return [ending for reader in READERS for ending in reader.endings]


def reader_of(file: File) -> Reader:
    """The reader of a file, by the ending of its name. Raises DataError if no reader has it."""
    for reader in READERS:
        if file.name.endswith(reader.endings):
            return reader
    raise DataError(f"{file.address}: no reader for this file; expected a name that ends in {', '.join(endings())}")


def split_file(file: File, columns: Sequence[str]) -> list[FilePiece]:
    """The pieces of a file, at least one. Raises DataError if it is unreadable, empty or lacks one of `columns`."""
    reader = reader_of(file)
    try:
        return reader.split(file, columns)
    except READ_ERRORS as error:
        raise _unreadable(reader, file, error) from error


def read_piece(piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
    """The rows of a piece as text, a bounded number at a time.

    Where the piece cannot be read to its end, the last chunk has one broken line, UNREADABLE, and no error is raised:
    Ray would show an exception in a task as pages of stack traces.
    """
    reader = reader_of(piece.file)
    try:
        yield from reader.read(piece, columns)
    except READ_ERRORS as error:
        empty = pa.table([pa.array([], pa.string())] * len(columns), names=list(columns))
        line = BrokenLine(0, str(_unreadable(reader, piece.file, error)), UNREADABLE)
        yield Chunk(empty, np.zeros(0, np.int64), [line])


def rows_before(piece: FilePiece) -> int:
    """The number of rows of the file before the piece; in a CSV file the number of lines, with the header."""
    return reader_of(piece.file).rows_before(piece)


def _unreadable(reader: Reader, file: File, error: Exception) -> DataError:
    return DataError(f"{file.address}: cannot be read as {reader.name}: {' '.join(str(error).split())}")
