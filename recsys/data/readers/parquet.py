"""Parquet: columns of any type but binary, read as the text that a CSV file would hold."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.readers.base import Chunk, FilePiece, FormatError, Head, check_columns, check_count
from recsys.data.readers.dialect import Dialect
from recsys.data.readers.values import as_text, has_text
from recsys.errors import DataError
from recsys.storage.filesystem import File

CHUNK_BYTES: Final = 64 << 20
"""Bytes of the values of a chunk, about this many at most."""
ROW_BYTES: Final = 16 << 20
"""Bytes of a row at most, as the mean of a row group."""
BUFFER_BYTES: Final = 4 << 20
"""Bytes of a column that are read at a time."""
METADATA_ITEMS: Final = 200_000
"""Columns and row groups that the metadata may list. A file with more could fill the memory."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of texts; path: the names of the structs around it, and its own; kind: its type in the file."""

    path: tuple[str, ...]
    kind: pa.DataType

    @property
    def name(self) -> str:
        """The path with dots, which is also the name that Parquet has for it."""
        return ".".join(self.path)

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """The values of a batch in their type."""
        column = batch.column(batch.schema.get_field_index(self.path[0]))
        for name in self.path[1:]:
            column = pc.struct_field(column, column.type.get_field_index(name))
        return column

    def texts(self, batch: pa.RecordBatch) -> pa.Array:
        """The texts of a batch, string (n,), without nulls. Raises FormatError if they are not UTF-8."""
        column = self.values(batch)
        try:
            column.validate(full=True)  # reading a file does not check that
        except pa.ArrowInvalid as error:
            raise FormatError(f"column {self.name!r} of type {column.type}: {error}") from error
        return as_text(column)


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """Reads Parquet files. A piece is the row groups [start, stop) of its file.

    Fields of structs are columns with dotted names.
    piece_rows: a piece ends with the row group that completes this number of rows
    chunk_rows: rows of a chunk at most
    """

    name: str = "Parquet"
    endings: tuple[str, ...] = (".parquet", ".pq")
    piece_rows: int = 1 << 19
    chunk_rows: int = 1 << 17

    def head(self, file: File, dialect: Dialect, rows: int) -> Head:
        with _opened(file) as opened:
            columns = _columns(opened.content.schema_arrow)
            counts = Counter(column.name for column in columns)
            readable = {column.name: column for column in columns if has_text(column.kind) and counts[column.name] == 1}
            sizes = [
                opened.content.metadata.row_group(group).num_rows for group in range(opened.content.num_row_groups)
            ]
            filled = [range(group, group + 1) for group, size in enumerate(sizes) if size]
            batch = next(_batches(opened, list(readable.values()), filled[0], rows)) if filled else None
            blank = pa.array([""] * (0 if batch is None else len(batch)), pa.string())
            texts = {
                name: blank if batch is None or name not in readable else readable[name].texts(batch) for name in counts
            }
        kinds = {column.name: str(column.kind) for column in columns}
        names = tuple(column.name for column in columns)
        return Head(names, kinds, pa.table(texts), frozenset(names) - readable.keys())

    def split(self, file: File, columns: Sequence[str], dialect: Dialect) -> list[FilePiece]:
        with _opened(file) as opened:
            schema, metadata = opened.content.schema_arrow, opened.content.metadata
        _asked(file, schema, columns)
        borders, size = [0], 0
        for group in range(metadata.num_row_groups):
            size += metadata.row_group(group).num_rows
            if size >= self.piece_rows or group == metadata.num_row_groups - 1:
                borders.append(group + 1)
                size = 0
        if len(borders) == 1:
            borders.append(0)
        return [FilePiece(file, first, last, dialect) for first, last in pairwise(borders)]

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        before = 0
        with _opened(piece.file) as opened:
            asked = _asked(piece.file, opened.content.schema_arrow, columns)
            for batch in _batches(opened, asked, range(piece.start, piece.stop), self.chunk_rows):
                texts = [column.texts(batch) for column in asked]
                yield Chunk(pa.table(texts, names=list(columns)), np.arange(before, before + len(batch)), [])
                before += len(batch)

    def rows_before(self, piece: FilePiece) -> int:
        with piece.file.open() as opened:
            metadata = pq.read_metadata(opened)
        return sum(metadata.row_group(group).num_rows for group in range(piece.start))


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file; content: its metadata and rows."""

    source: pa.NativeFile
    content: pq.ParquetFile


@contextmanager
def _opened(file: File) -> Iterator[_Opened]:
    """The file, opened. Raises FormatError if it has too many columns."""
    with file.open() as source:
        content = pq.ParquetFile(source, buffer_size=BUFFER_BYTES, thrift_container_size_limit=METADATA_ITEMS)
        check_count(content.metadata.num_columns)
        yield _Opened(source, content)


def _columns(schema: pa.Schema) -> list[Column]:
    """The columns of a file, those inside of structs too."""
    columns: list[Column] = []

    def add(fields: Iterator[pa.Field], path: tuple[str, ...]) -> None:
        for field in fields:
            inner = (*path, field.name)
            if pa.types.is_struct(field.type):
                add((field.type.field(child) for child in range(field.type.num_fields)), inner)
            else:
                columns.append(Column(inner, field.type))

    add(iter(schema), ())
    return columns


def _asked(file: File, schema: pa.Schema, names: Sequence[str]) -> list[Column]:
    """The columns with these names. Raises DataError if one is missing or cannot be read as text."""
    columns = _columns(schema)
    check_columns(file, [column.name for column in columns], names)
    by_name = {column.name: column for column in columns}
    for name in names:
        kind = by_name[name].kind
        if not has_text(kind):
            raise DataError(
                f"{file.address}: column {name!r} has type {kind}; expected numbers, text, times, booleans or lists"
            )
    return [by_name[name] for name in names]


def _batches(opened: _Opened, columns: Sequence[Column], groups: range, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of row groups, at most `rows` and about CHUNK_BYTES at a time.

    Raises FormatError if a row is too large.
    """
    names = [column.name for column in columns]
    size = max([1.0, *(_row_bytes(opened.content.metadata, names, group) for group in groups)])
    size = max([size, *(_longest(opened, columns, group) for group in groups)]) if size <= ROW_BYTES else size
    if size > ROW_BYTES:
        raise FormatError(f"a row has {size / (1 << 20):,.0f} MB, expected at most {ROW_BYTES >> 20} MB")
    rows = min(rows, max(int(CHUNK_BYTES / size), 1))
    yield from opened.content.iter_batches(rows, row_groups=list(groups), columns=names, use_threads=False)


def _longest(opened: _Opened, columns: Sequence[Column], number: int) -> int:
    """The bytes of the longest text in the dictionaries of a row group.

    A dictionary has each text once, however many rows have it. So the group may expand far beyond its size.
    """
    metadata = opened.content.metadata
    group = metadata.row_group(number)
    texts = {column.name: column for column in columns if _is_string(column.kind)}
    chunks = (group.column(column) for column in range(group.num_columns))
    names = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page and chunk.path_in_schema in texts]
    if not names or not group.num_rows:
        return 0
    content = pq.ParquetFile(opened.source, metadata=metadata, read_dictionary=names, buffer_size=BUFFER_BYTES)
    batch = next(content.iter_batches(1, row_groups=[number], columns=names, use_threads=False))
    stored = [texts[name].values(batch) for name in names]
    sizes = [
        pc.max(pc.binary_length(column.dictionary)).as_py() for column in stored if pa.types.is_dictionary(column.type)
    ]
    return max([0, *(size or 0 for size in sizes)])


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _row_bytes(metadata: pq.FileMetaData, names: Sequence[str], number: int) -> float:
    """The mean bytes of a row of a row group in the columns with these names, uncompressed."""
    asked = set(names)
    group = metadata.row_group(number)
    chunks = (group.column(column) for column in range(group.num_columns))
    sizes = (chunk.total_uncompressed_size for chunk in chunks if asked & set(_above(chunk.path_in_schema)))
    return sum(sizes) / max(group.num_rows, 1)


def _above(path: str) -> Iterator[str]:
    """The names of the columns that the part of a file with this path may belong to: `a`, `a.b` and `a.b.c`."""
    parts = path.split(".")
    return (".".join(parts[: depth + 1]) for depth in range(len(parts)))
