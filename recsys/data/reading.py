"""Files of any format to chunks of text columns, with the position of every row. No Ray.

A column that the folders above a file give, such as `dt=2017-01-01`, is a column like others. If the file has a column
of this name too, its own counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.data.readers.base import (
    READ_ERRORS,
    UNREADABLE,
    BrokenLine,
    Chunk,
    FilePiece,
    Head,
    MissingColumnError,
    Reader,
    empty_table,
)
from recsys.data.readers.csv import CsvReader
from recsys.data.readers.dialect import DEFAULT, Dialect
from recsys.data.readers.jsonlines import JsonReader
from recsys.data.readers.parquet import ParquetReader
from recsys.errors import DataError
from recsys.storage.filesystem import File, FolderValue

READERS: Final[tuple[Reader, ...]] = (CsvReader(), JsonReader(), ParquetReader())
"""The readers of all formats. A further format is a file in `readers` and an entry here."""

FOLDER: Final = "folder"
"""The kind of a column that the folders above a file give."""


def endings() -> list[str]:
    """The endings of the names of files that can be read."""
    return [ending for reader in READERS for ending in reader.endings]


def reader_of(file: File) -> Reader:
    """The reader of a file, by the ending of its name. Raises DataError if no reader has it."""
    for reader in READERS:
        if file.name.lower().endswith(reader.endings):
            return reader
    raise DataError(f"{file.address}: no reader for this file; expected a name that ends in {', '.join(endings())}")


def read_head(file: File, dialect: Dialect = DEFAULT, rows: int = 1000) -> Head:
    """The first rows of a file, at most `rows` and at most some MB. Raises DataError if it is unreadable or empty."""
    reader = reader_of(file)
    try:
        head = reader.head(file, dialect, rows)
    except READ_ERRORS as error:
        raise _unreadable(reader, file, error) from error
    file = replace(file, values=tuple(value for value in file.values if value.column not in head.names))
    added = [value.column for value in file.values]
    names = (*head.names, *added)
    kinds = {**head.kinds, **dict.fromkeys(added, FOLDER)}
    return replace(head, names=names, kinds=kinds, rows=_with_values(file, head.rows, tuple(dict.fromkeys(names))))


def split_file(
    file: File, columns: Sequence[str], dialect: Dialect = DEFAULT, optional: Sequence[str] = ()
) -> list[FilePiece]:
    """The pieces of a file, at least one, where `optional` columns that it lacks are blank.

    Raises DataError if it is unreadable, empty or lacks another one of `columns`.
    """
    return _split(file, columns, dialect, optional)[0]


def split_files(
    files: Sequence[File], columns: Sequence[str], dialect: Dialect, optional: Sequence[str]
) -> tuple[list[FilePiece], tuple[str, ...]]:
    """The pieces of the files of a table, and a text for each of the `optional` columns that some of them lack.

    Raises the errors of `split_file`.
    """
    pieces: list[FilePiece] = []
    lacking: dict[str, list[File]] = {}
    for file in files:
        own, names = _split(file, columns, dialect, optional)
        pieces += own
        for name in names:
            lacking.setdefault(name, []).append(file)
    texts = (
        f"column {name!r} of {len(lack):,} of {len(files):,} files, such as {lack[0].address}: they lack it, so it is "
        "blank in their rows"
        for name, lack in lacking.items()
    )
    return pieces, tuple(texts)


def _split(
    file: File, columns: Sequence[str], dialect: Dialect, optional: Sequence[str]
) -> tuple[list[FilePiece], list[str]]:
    """The pieces of a file, and the optional columns that it lacks."""
    reader = reader_of(file)
    try:
        return reader.split(replace(file, values=()), columns, dialect), []
    except MissingColumnError as error:
        values = [value for value in file.values if value.column in error.names]
        given = [value.column for value in values]
        lacking = [name for name in error.names if name in optional and name not in given]
        values += [FolderValue(name, "") for name in lacking if error.certain]
    except READ_ERRORS as error:
        raise _unreadable(reader, file, error) from error
    stored = [name for name in columns if name not in (*given, *lacking)]
    if not stored:
        raise DataError(f"{file.address}: expected a column in the file besides those of its folders")
    return reader.split(replace(file, values=tuple(values)), stored, dialect), lacking


def read_piece(piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
    """The rows of a piece as text, a bounded number at a time.

    Where the piece cannot be read to its end, the last chunk has one broken line, UNREADABLE, and no error is raised:
    Ray would show an exception in a task as pages of stack traces.
    """
    reader = reader_of(piece.file)
    added = {value.column for value in piece.file.values}
    stored = [name for name in columns if name not in added]
    try:
        for chunk in reader.read(piece, stored):
            yield chunk if len(stored) == len(columns) else _completed(piece.file, chunk, columns)
    except READ_ERRORS as error:
        line = BrokenLine(0, str(_unreadable(reader, piece.file, error)), UNREADABLE)
        yield Chunk(empty_table(columns), np.zeros(0, np.int64), [line])


def rows_before(piece: FilePiece) -> int:
    """The number of rows of the file before the piece; in a file of lines the number of lines, with the header."""
    return reader_of(piece.file).rows_before(piece)


def _completed(file: File, chunk: Chunk, columns: Sequence[str]) -> Chunk:
    return replace(chunk, columns=_with_values(file, chunk.columns, columns))


def _with_values(file: File, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns of rows, in this order, with those that the file's values give."""
    added = {value.column: pa.scalar(value.value, pa.string()) for value in file.values}
    texts = [pa.repeat(added[name], len(rows)) if name in added else rows[name] for name in columns]
    return pa.table(texts, names=list(columns))


def _unreadable(reader: Reader, file: File, error: Exception) -> DataError:
    problem = " ".join(str(error).split())
    if isinstance(error, UnicodeDecodeError):
        problem += "; expected another encoding, such as cp1252: set data.events.encoding or data.items.encoding"
    return DataError(f"{file.address}: cannot be read as {reader.name}: {problem}")
