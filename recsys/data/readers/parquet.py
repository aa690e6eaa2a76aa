"""Parquet: columns of numbers, text, booleans or timestamps, read as the text that a CSV file would hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.readers.base import Chunk, FilePiece, FormatError, check_columns
from recsys.errors import DataError
from recsys.storage.filesystem import File


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """Reads Parquet files. A piece is the row groups [start, stop) of its file.

    piece_rows: a piece ends with the row group that completes this number of rows
    chunk_rows: rows of a chunk at most
    """

    name: str = "Parquet"
    endings: tuple[str, ...] = (".parquet",)
    piece_rows: int = 1 << 19
    chunk_rows: int = 1 << 17

    def split(self, file: File, columns: Sequence[str]) -> list[FilePiece]:
        with file.open() as opened:
            parquet = pq.ParquetFile(opened)
            schema, metadata = parquet.schema_arrow, parquet.metadata
        check_columns(file, schema.names, columns)
        for name in columns:
            kind = schema.field(name).type
            if not _is_plain(kind):
                raise DataError(
                    f"{file.address}: column {name!r} has type {kind}; expected numbers, text or timestamps"
                )
        borders, size = [0], 0
        for group in range(metadata.num_row_groups):
            size += metadata.row_group(group).num_rows
            if size >= self.piece_rows or group == metadata.num_row_groups - 1:
                borders.append(group + 1)
                size = 0
        if len(borders) == 1:
            borders.append(0)
        return [FilePiece(file, first, last) for first, last in pairwise(borders)]

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        before = 0
        names = list(columns)
        groups = range(piece.start, piece.stop)
        with piece.file.open() as opened:
            parquet = pq.ParquetFile(opened)
            for batch in parquet.iter_batches(self.chunk_rows, row_groups=groups, columns=names, use_threads=False):
                for name in columns:
                    _check_values(name, batch.column(name))
                texts = [as_text(batch.column(name)) for name in columns]
                yield Chunk(pa.table(texts, names=names), np.arange(before, before + len(batch)), [])
                before += len(batch)

    def rows_before(self, piece: FilePiece) -> int:
        with piece.file.open() as opened:
            metadata = pq.read_metadata(opened)
        return sum(metadata.row_group(group).num_rows for group in range(piece.start))


def _check_values(name: str, column: pa.Array) -> None:
    """Raise FormatError if a text is not UTF-8. Reading a Parquet file does not check that."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise FormatError(f"column {name!r} of type {column.type}: {error}") from error


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    tests = (
        pa.types.is_integer,
        pa.types.is_float32,
        pa.types.is_float64,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_timestamp,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def as_text(column: pa.Array) -> pa.Array:
    """The column as a CSV file would hold it: nulls blank, times in ms since 1970 UTC, true as 1, 7.0 as 7."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type):
        # pandas turns integers into floats where some are missing.
        whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less(pc.abs(column), 2.0**53))
        text = pc.if_else(pc.is_nan(column), "", column.cast(pa.string()))
        number = pc.if_else(whole, column, 0).cast(pa.int64()).cast(pa.string())
        return pc.fill_null(pc.if_else(whole, number, text), "")
    return pc.fill_null(column.cast(pa.string()), "")
