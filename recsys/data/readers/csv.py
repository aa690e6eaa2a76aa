"""CSV: one row a line, under a header; fields in double quotes may hold commas, but no line end."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from recsys.data.readers.base import (
    HALF_WRITTEN,
    NOT_TEXT,
    TEXT_LIMIT,
    BrokenLine,
    Chunk,
    FilePiece,
    FormatError,
    check_columns,
)
from recsys.data.readers.lines import lines_before, read_lines, split_lines
from recsys.errors import DataError
from recsys.storage.filesystem import File

HEADER_BYTES = 4096
"""Bytes read at a time to find the end of the header."""


@dataclass(frozen=True, slots=True)
class CsvReader:
    """Reads CSV files, also compressed ones. Pieces are those of `lines`; the header counts as line 1."""

    name: str = "CSV"
    endings: tuple[str, ...] = (".csv", ".csv.gz")
    piece_bytes: int = 32 << 20
    chunk_bytes: int = 8 << 20
    search_bytes: int = 1 << 16

    def split(self, file: File, columns: Sequence[str]) -> list[FilePiece]:
        names, start = _header(file)
        if not names:
            raise DataError(f"{file.address}: the file is empty; expected a header with {', '.join(columns)}")
        check_columns(file, names, columns)
        return split_lines(file, start, self.piece_bytes, self.search_bytes)

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        names, _ = _header(piece.file)
        before = 0
        for data in read_lines(piece, self.chunk_bytes):
            chunk = _parse_fast(data, names, columns, before) or _parse_lines(data, names, columns, before)
            before += data.count(b"\n")
            yield chunk

    def rows_before(self, piece: FilePiece) -> int:
        return lines_before(piece, self.chunk_bytes)


def _header(file: File) -> tuple[list[str], int]:
    """The names of the columns, and the number of bytes of the header line."""
    with file.stream() as stream:
        data = b""
        while b"\n" not in data and (more := stream.read(HEADER_BYTES)):
            data += more
    end = data.find(b"\n") + 1 or len(data)
    try:
        return next(csv.reader([data[:end].decode("utf-8-sig").rstrip("\r\n")]), []), end
    except csv.Error as error:
        raise FormatError(str(error)) from error


def _parse_fast(data: bytes, names: list[str], columns: Sequence[str], before: int) -> Chunk | None:
    """The lines of `data`. None if a blank line, a stray quote or a byte that is no text needs `_parse_lines`.

    before: the number of lines of the piece before `data`
    """
    if b"\n\n" in data or b"\n\r\n" in data or data[:1] in b"\r\n" or not _is_text(data):
        return None
    broken: list[BrokenLine] = []

    def skip(row: pacsv.InvalidRow) -> str:
        broken.append(BrokenLine(row.number - 1, row.text[:TEXT_LIMIT], HALF_WRITTEN))
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.py_buffer(data),
            pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            pacsv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False),
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
    rows = np.delete(np.arange(lines), [line.row for line in broken])
    return Chunk(table, rows + before, [line._replace(row=line.row + before) for line in broken])


def _parse_lines(data: bytes, names: list[str], columns: Sequence[str], before: int) -> Chunk:
    """The lines of `data`, each parsed on its own. Blank lines are skipped."""
    positions = [names.index(name) for name in columns]
    rows: list[int] = []
    values: list[list[str]] = []
    broken: list[BrokenLine] = []
    for row, ended in enumerate(data.removesuffix(b"\n").split(b"\n"), before):
        line = ended.rstrip(b"\r")
        if not line:
            continue
        try:
            fields = next(csv.reader([line.decode()], strict=True), [])
        except UnicodeDecodeError:
            broken.append(BrokenLine(row, line[:TEXT_LIMIT].decode(errors="replace"), NOT_TEXT))
            continue
        except csv.Error:
            fields = []
        if len(fields) == len(names):
            rows.append(row)
            values.append([fields[position] for position in positions])
        else:
            broken.append(BrokenLine(row, line.decode()[:TEXT_LIMIT], HALF_WRITTEN))
    texts = [pa.array([value[column] for value in values], pa.string()) for column in range(len(columns))]
    return Chunk(pa.table(texts, names=list(columns)), np.asarray(rows, np.int64), broken)


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
