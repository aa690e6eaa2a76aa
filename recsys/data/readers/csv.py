"""CSV, TSV and other texts with delimiters, by RFC 4180. `records` finds the line ends inside of quotes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from recsys.data.readers.base import (
    HALF_WRITTEN,
    TEXT_LIMIT,
    BrokenLine,
    Chunk,
    FilePiece,
    FormatError,
    Head,
    check_columns,
    empty_table,
    text_endings,
    unique,
)
from recsys.data.readers.dialect import Dialect
from recsys.data.readers.lines import (
    HEAD_BYTES,
    WHOLE,
    as_utf8,
    is_text,
    lines_before,
    read_lines,
    split_lines,
)
from recsys.data.readers.records import QUOTED_BYTES, Grammar, border_of_records, grammar, records_in
from recsys.data.readers.sheet import DELIMITERS, SEPARATOR, Sheet, sheet_of
from recsys.errors import DataError
from recsys.storage.filesystem import File

HEAD_LIMIT: Final = 16 << 20
"""Bytes of the head after which no more are read."""


@dataclass(frozen=True, slots=True)
class CsvReader:
    """Reads texts with delimiters, also compressed ones. Pieces are those of `lines`; the header counts as line 1.

    quoted_bytes: bytes of a record of several lines at most
    """

    name: str = "CSV"
    endings: tuple[str, ...] = text_endings(".csv", *DELIMITERS, ".txt", ".dat", ".data")
    piece_bytes: int = 32 << 20
    chunk_bytes: int = 8 << 20
    quoted_bytes: int = QUOTED_BYTES

    def head(self, file: File, dialect: Dialect, rows: int) -> Head:
        sheet = sheet_of(file, dialect)
        if not sheet.names:
            raise DataError(f"{file.address}: the file is empty; expected a header or rows")
        names = unique(sheet.names)
        piece = FilePiece(file, sheet.start, WHOLE, dialect)
        tables = [empty_table(names)]
        for chunk in replace(self, chunk_bytes=HEAD_BYTES).read(piece, names):
            tables.append(chunk.columns)
            if sum(map(len, tables)) >= rows or sum(table.nbytes for table in tables) >= HEAD_LIMIT:
                break
        return Head(sheet.names, dict.fromkeys(names, "text"), pa.concat_tables(tables).slice(0, rows))

    def split(self, file: File, columns: Sequence[str], dialect: Dialect) -> list[FilePiece]:
        sheet = sheet_of(file, dialect)
        if not sheet.names:
            raise DataError(f"{file.address}: the file is empty; expected a header with {', '.join(columns)}")
        check_columns(file, sheet.names, columns)
        patterns = grammar(sheet.delimiter.encode(sheet.encoding), len(sheet.names))
        border = partial(border_of_records, patterns=patterns, limit=self.quoted_bytes)
        return split_lines(file, sheet.start, dialect, self.piece_bytes, border)

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        rows = _Rows(sheet_of(piece.file, piece.dialect), tuple(columns), self.quoted_bytes)
        before = 0
        rest = b""
        fast = True
        for more in read_lines(piece, self.chunk_bytes):
            data = rest + more
            chunk = rows.of_lines(data, before) if fast else None
            lines, rest = data.count(b"\n"), b""
            if chunk is None:
                fast = False  # the next lines are of the same kind, and both ways give the same rows
                chunk, size, lines = rows.of_records(data, before, final=False)
                rest = data[size:]
            before += lines
            yield chunk
        if rest:
            yield rows.of_records(rest, before, final=True)[0]

    def rows_before(self, piece: FilePiece) -> int:
        return lines_before(piece, self.chunk_bytes)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Parses lines of a file to chunks; the two ways to do so give the same rows."""

    sheet: Sheet
    columns: tuple[str, ...]
    quoted_bytes: int

    def of_lines(self, data: bytes, before: int) -> Chunk | None:
        """The rows of lines if each is a row or broken. None if a blank line, a quote or a byte needs `of_records`.

        before: the number of lines of the piece before `data`
        """
        if b"\n\n" in data or data[:1] in b"\r\n" or (b"\r" in data and not _plain_returns(data)):
            return None
        last = data.rfind(b"\n", 0, -1) + 1
        if self._patterns.end_of_lines(data, last, len(data)) < len(data):
            return None
        text = as_utf8(data, self.sheet.encoding)
        if not is_text(text):
            return None
        lines = data.count(b"\n")
        parsed = self._parsed(text, lines, newlines=False)
        if parsed is None:
            return None
        table, broken = parsed
        rows = np.delete(np.arange(lines), [line.row for line in broken])
        return Chunk(table, rows + before, [line._replace(row=line.row + before) for line in broken])

    def of_records(self, data: bytes, before: int, final: bool) -> tuple[Chunk, int, int]:
        """The rows of the records in lines, and the numbers of bytes and lines in them.

        final: False if lines follow that may complete the last record
        """
        records = records_in(data, self._patterns, self.sheet.encoding, self.quoted_bytes, final)
        parsed = self._parsed(records.text, len(records.rows), newlines=True)
        if parsed is None:
            raise FormatError(f"the quotes in the {records.lines:,} lines after line {before:,} contradict each other")
        table, broken = parsed
        odd = [line._replace(row=int(records.rows[line.row])) for line in broken]
        rows = np.delete(records.rows, [line.row for line in broken])
        lines = sorted([*odd, *records.broken])
        chunk = Chunk(table, rows + before, [line._replace(row=line.row + before) for line in lines])
        return chunk, records.size, records.lines

    @property
    def _patterns(self) -> Grammar:
        return grammar(self.sheet.delimiter.encode(self.sheet.encoding), len(self.sheet.names))

    def _parsed(self, text: bytes, records: int, newlines: bool) -> tuple[pa.Table, list[BrokenLine]] | None:
        """The columns of rows with all fields, and the other rows. None if these are not `records` rows in all."""
        if not text:
            return empty_table(self.columns), []
        delimiter = self.sheet.delimiter
        several = len(delimiter.encode()) > 1
        if several:
            text = text.replace(SEPARATOR.encode(), b" ").replace(delimiter.encode(), SEPARATOR.encode())
        broken: list[BrokenLine] = []

        def skip(row: pacsv.InvalidRow) -> str:
            line = row.text.replace(SEPARATOR, delimiter) if several else row.text
            broken.append(BrokenLine(row.number - 1, line[:TEXT_LIMIT], HALF_WRITTEN))
            return "skip"

        positions = [str(self.sheet.names.index(name)) for name in self.columns]
        try:
            table = pacsv.read_csv(
                pa.py_buffer(text),
                pacsv.ReadOptions(
                    use_threads=False,
                    block_size=len(text) + 1,
                    column_names=[str(position) for position in range(len(self.sheet.names))],
                ),
                pacsv.ParseOptions(
                    delimiter=SEPARATOR if several else delimiter,
                    invalid_row_handler=skip,
                    ignore_empty_lines=False,
                    newlines_in_values=newlines,
                ),
                pacsv.ConvertOptions(
                    column_types=dict.fromkeys(positions, pa.string()),
                    include_columns=positions,
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows + len(broken) != records:
            return None
        table = table.rename_columns(list(self.columns))
        return (_restored(table, delimiter) if several else table), broken


def _plain_returns(data: bytes) -> bool:
    """True if each carriage return ends a line that is not blank, with its newline."""
    return data.count(b"\r") == data.count(b"\r\n") and b"\n\r\n" not in data


def _restored(table: pa.Table, delimiter: str) -> pa.Table:
    """The columns with the delimiter where it stood inside of quotes."""
    texts = [pc.replace_substring(column, SEPARATOR, delimiter) for column in table.columns]
    return pa.table(texts, names=table.column_names)
