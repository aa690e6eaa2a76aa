"""Files to chunks of text columns, with the place of every row; no Ray."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recsys.errors import DataError
from recsys.storage.filesystem import File

PIECE_BYTES = 32 << 20
PIECE_ROWS = 1 << 19
CHUNK_BYTES = 8 << 20
CHUNK_ROWS = 1 << 17
LINE_BYTES = 1 << 16
"""Read at a time to find the end of a line."""
TEXT_LIMIT = 200
"""Characters kept of a line that could not be read."""

HALF_WRITTEN = "not a complete row"
NOT_TEXT = "not UTF-8 text"
UNREADABLE = "unreadable"
"""The reason where nothing more of a piece can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one task reads: lines in bytes [start, stop) of a CSV file, or Parquet row groups [start, stop).

    A compressed CSV file cannot be cut: it is one piece, `stop` is -1 and bytes are those of the text.
    """

    file: File
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a piece.

    columns: text without nulls, one string column for each column asked for
    rows: int64 (n,), position of each row in the piece, from 0
    broken: lines that are no row: (position in the piece, text, reason)
    """

    columns: pa.Table
    rows: np.ndarray
    broken: list[tuple[int, str, str]]


def pieces_of(file: File, columns: Sequence[str]) -> list[Piece]:
    """Cut a file into pieces; DataError where it is unreadable, empty or lacks one of `columns`."""
    try:
        return _parquet_pieces(file, columns) if _is_parquet(file) else _csv_pieces(file, columns)
    except (OSError, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from error


def read_piece(piece: Piece, columns: Sequence[str]) -> Iterator[Chunk]:
    """The rows of a piece as text, a bounded number at a time.

    Where a file cannot be read to its end, no error is raised but an UNREADABLE line reported: an exception
    inside a task reaches a person as pages of stack traces.
    """
    try:
        if _is_parquet(piece.file):
            yield from _read_parquet(piece, columns)
        else:
            yield from _read_csv(piece, columns)
    except (OSError, pa.ArrowException) as error:
        empty = pa.table([pa.array([], pa.string())] * len(columns), names=list(columns))
        yield Chunk(empty, np.zeros(0, np.int64), [(0, str(_unreadable(piece.file, error)), UNREADABLE)])


def rows_before(piece: Piece) -> int:
    """How many lines of a CSV file, its header included, or rows of a Parquet file come before the piece."""
    if _is_parquet(piece.file):
        with piece.file.open() as opened:
            metadata = pq.read_metadata(opened)
        return sum(metadata.row_group(group).num_rows for group in range(piece.start))
    lines, left = 0, piece.start
    with piece.file.stream() as stream:
        while left > 0:
            data = stream.read(min(left, CHUNK_BYTES))
            lines += data.count(b"\n")
            left -= len(data)
    return lines


def _is_parquet(file: File) -> bool:
    return file.name.endswith(".parquet")


def _unreadable(file: File, error: Exception) -> DataError:
    kind = "Parquet" if _is_parquet(file) else "CSV"
    return DataError(f"{file.address}: cannot be read as {kind}: {' '.join(str(error).split())}")


def _check_columns(file: File, found: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if found.count(name) != 1:
            problem = "is missing" if name not in found else "occurs twice"
            raise DataError(f"{file.address}: column {name!r} {problem}; columns found: {', '.join(found)}")


# CSV. Lines are cut here, not by the CSV reader, so that a stray quote cannot swallow the rows after it, a
# large file can be read by several tasks, and each bad line has a number.


def _header(file: File) -> tuple[list[str], int]:
    """Column names and the bytes of the header line."""
    with file.stream() as stream:
        data = b""
        while b"\n" not in data and (more := stream.read(4096)):
            data += more
    end = data.find(b"\n") + 1 or len(data)
    return next(csv.reader([data[:end].decode("utf-8-sig").rstrip("\r\n")]), []), end


def _csv_pieces(file: File, columns: Sequence[str]) -> list[Piece]:
    names, start = _header(file)
    if not names:
        raise DataError(f"{file.address}: the file is empty; expected a header with {', '.join(columns)}")
    _check_columns(file, names, columns)
    if _is_compressed(file):
        return [Piece(file, start, -1)]
    borders = [start]
    with file.open() as opened:
        size = opened.size()
        while borders[-1] + PIECE_BYTES < size:
            borders.append(_line_after(opened, borders[-1] + PIECE_BYTES))
    if borders[-1] < size or len(borders) == 1:
        borders.append(size)
    return [Piece(file, first, last) for first, last in pairwise(borders)]


def _is_compressed(file: File) -> bool:
    return file.name.endswith(".gz")


def _line_after(opened: pa.NativeFile, position: int) -> int:
    """Where the line ends that holds a position."""
    opened.seek(position)
    while data := opened.read(LINE_BYTES):
        if (end := data.find(b"\n")) >= 0:
            return position + end + 1
        position += len(data)
    return position


def _lines(piece: Piece) -> Iterator[bytes]:
    """The text of a CSV piece in chunks of whole lines, each line ended by a newline."""
    rest = b""
    whole = piece.stop < 0
    with piece.file.stream() if whole else piece.file.open() as stream:
        if whole:
            stream.read(piece.start)
        else:
            stream.seek(piece.start)
        left = None if whole else piece.stop - piece.start
        while data := stream.read(CHUNK_BYTES if left is None else min(left, CHUNK_BYTES)):
            left = None if left is None else left - len(data)
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
                rest = data[end:]
            else:
                rest += data
    if rest:
        yield rest + b"\n"


def _read_csv(piece: Piece, columns: Sequence[str]) -> Iterator[Chunk]:
    names, _ = _header(piece.file)
    before = 0
    for data in _lines(piece):
        chunk = _parse_fast(data, names, columns, before) or _parse_lines(data, names, columns, before)
        before += data.count(b"\n")
        yield chunk


def _parse_fast(data: bytes, names: list[str], columns: Sequence[str], before: int) -> Chunk | None:
    """The lines of `data`; None where a blank line, a stray quote or a byte that is no text needs care."""
    if b"\n\n" in data or b"\n\r\n" in data or data[:1] in b"\r\n" or not _is_text(data):
        return None
    broken: list[tuple[int, str, str]] = []

    def set_aside(row: pacsv.InvalidRow) -> str:
        broken.append((row.number - 1, row.text[:TEXT_LIMIT], HALF_WRITTEN))
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.py_buffer(data),
            pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            pacsv.ParseOptions(invalid_row_handler=set_aside, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types={name: pa.string() for name in columns},
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    lines = data.count(b"\n")
    if table.num_rows + len(broken) != lines:
        return None
    rows = np.delete(np.arange(lines), [row for row, _, _ in broken])
    return Chunk(table, rows + before, [(row + before, text, reason) for row, text, reason in broken])


def _parse_lines(data: bytes, names: list[str], columns: Sequence[str], before: int) -> Chunk:
    """Each line of `data` on its own; blank lines are passed over."""
    wanted = [names.index(name) for name in columns]
    rows: list[int] = []
    values: list[list[str]] = []
    broken: list[tuple[int, str, str]] = []
    for row, ended in enumerate(data.removesuffix(b"\n").split(b"\n"), before):
        line = ended.rstrip(b"\r")
        if not line:
            continue
        try:
            fields = next(csv.reader([line.decode()], strict=True), [])
        except UnicodeDecodeError:
            broken.append((row, line[:TEXT_LIMIT].decode(errors="replace"), NOT_TEXT))
            continue
        except csv.Error:
            fields = []
        if len(fields) == len(names):
            rows.append(row)
            values.append([fields[at] for at in wanted])
        else:
            broken.append((row, line.decode()[:TEXT_LIMIT], HALF_WRITTEN))
    texts = [pa.array([value[at] for value in values], pa.string()) for at in range(len(columns))]
    return Chunk(pa.table(texts, names=list(columns)), np.asarray(rows, np.int64), broken)


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# Parquet


def _parquet_pieces(file: File, columns: Sequence[str]) -> list[Piece]:
    with file.open() as opened:
        parquet = pq.ParquetFile(opened)
        schema, metadata = parquet.schema_arrow, parquet.metadata
    _check_columns(file, schema.names, columns)
    for name in columns:
        kind = schema.field(name).type
        if not _is_plain(kind):
            raise DataError(f"{file.address}: column {name!r} has type {kind}; expected numbers, text or timestamps")
    borders, size = [0], 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).num_rows
        if size >= PIECE_ROWS or group == metadata.num_row_groups - 1:
            borders.append(group + 1)
            size = 0
    if len(borders) == 1:
        borders.append(0)
    return [Piece(file, first, last) for first, last in pairwise(borders)]


def _read_parquet(piece: Piece, columns: Sequence[str]) -> Iterator[Chunk]:
    before = 0
    groups = range(piece.start, piece.stop)
    with piece.file.open() as opened:
        parquet = pq.ParquetFile(opened)
        for batch in parquet.iter_batches(CHUNK_ROWS, row_groups=groups, columns=list(columns), use_threads=False):
            for name in columns:
                _check_values(name, batch.column(name))
            texts = [as_text(batch.column(name)) for name in columns]
            yield Chunk(pa.table(texts, names=list(columns)), np.arange(before, before + len(batch)), [])
            before += len(batch)


def _check_values(name: str, column: pa.Array) -> None:
    """Raises ArrowInvalid where a text is not UTF-8, which nobody looks at when a Parquet file is read."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"column {name!r} of type {column.type}: {error}") from error


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
    """A column as it would be in a CSV file: nulls blank, times as ms since 1970 UTC, true as 1, 7.0 as 7."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type):
        # pandas turns integers into floats where some are missing
        whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less(pc.abs(column), 2.0**53))
        text = pc.if_else(pc.is_nan(column), "", column.cast(pa.string()))
        number = pc.if_else(whole, column, 0).cast(pa.int64()).cast(pa.string())
        return pc.fill_null(pc.if_else(whole, number, text), "")
    return pc.fill_null(column.cast(pa.string()), "")
