"""The records of CSV (RFC 4180): which lines of a file are one row together.

A line whose last quoted field is not closed is the beginning of a record of several lines if this holds: the record has
at most QUOTED_BYTES, its quoted fields are closed before a delimiter or a line end, and it has as many fields as the
file has columns. Otherwise a quote in the line is stray, and the line alone is no row. Each other line is a record.

So the records follow from the lines after a border where no record that might begin before it goes on. Files are cut
into pieces at such borders, so the rows do not depend on the sizes of pieces and chunks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.data.readers.base import HALF_WRITTEN, NOT_TEXT, TEXT_LIMIT, BrokenLine
from recsys.data.readers.lines import Window, as_utf8, is_text

QUOTED_BYTES: Final = 1 << 16
"""Bytes of a record of several lines at most."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """Patterns of the records of a file.

    lines: lines with their ends that are records on their own. As Arrow reads them, a quote opens a field at its
        beginning only, and other text may follow the closing quote.
    record: a record of one or more lines with its end, where the quotes are as RFC 4180 wants them
    """

    lines: re.Pattern[bytes]
    record: re.Pattern[bytes]

    def end_of_record(self, data: bytes, begin: int, limit: int) -> int | None:
        """The end of the record that begins at `begin`; None if there is none of at most `limit` bytes."""
        match = self.record.match(data, begin, begin + limit)
        return match.end() if match else None

    def end_of_lines(self, data: bytes, begin: int, stop: int) -> int:
        """The end of the lines from `begin` on that are records on their own."""
        match = self.lines.match(data, begin, stop)
        return match.end() if match else begin


@cache
def grammar(delimiter: bytes, columns: int | None) -> Grammar:
    """The patterns for a delimiter and a number of columns; None for any number."""
    comma = re.escape(delimiter)
    plain = rb"[^" + comma + rb"\r\n]*+" if len(delimiter) == 1 else rb"(?:(?!" + comma + rb")[^\r\n])*+"
    bare = rb'(?!")' + plain
    # Possessive patterns never try a text twice, so the time is linear.
    field = rb'(?:"(?:[^"\n]++|"")*+"' + plain + rb"|" + bare + rb")"
    line = field + rb"(?:" + comma + field + rb")*+\r?\n"
    quoted = rb'"(?:[^"]++|"")*+"(?=' + comma + rb"|\r?\n)"
    strict = rb"(?:" + quoted + rb"|" + bare + rb")"
    times = rb"*+" if columns is None else b"{%d}+" % (columns - 1)
    return Grammar(
        lines=re.compile(rb'(?:[^"\r\n]*+\r?\n|' + line + rb")*+"),
        record=re.compile(strict + rb"(?:" + comma + strict + rb")" + times + rb"\r?\n"),
    )


@dataclass(frozen=True, slots=True)
class Records:
    """The records in some lines.

    text: the records, one after another, as UTF-8
    rows: int64 (n,), the position of each record's first line in these lines, from 0
    broken: lines that are no record
    size, lines: bytes and lines that these are made of; the rest of the lines may belong to a longer record
    """

    text: bytes
    rows: np.ndarray
    broken: list[BrokenLine]
    size: int
    lines: int


def records_in(data: bytes, patterns: Grammar, encoding: str, limit: int, final: bool) -> Records:
    """The records in `data`, which are whole lines and begin with a record. Blank lines are left out.

    limit: bytes of a record of several lines at most
    final: False if lines follow that may complete the last record
    """
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    begins = np.concatenate([[0], ends[:-1]])
    first = np.ones(len(ends), bool)  # the lines where a record begins
    kept = ~_blank(data, begins, ends)
    bad: list[int] = []
    size, lines = len(data), len(ends)
    for line, stop in _special_lines(data, ends, patterns, limit):
        if stop is None and not final and begins[line] + limit > len(data):
            size, lines = int(begins[line]), line
            break
        if stop is None:
            bad.append(line)
            kept[line] = False
        else:
            last = int(np.searchsorted(ends, stop))
            first[line + 1 : last + 1] = False
            kept[line : last + 1] = True
    broken = [_broken(data, begins[line], ends[line], line, HALF_WRITTEN, encoding) for line in bad]
    text = as_utf8(_joined(data, begins, ends, kept[:lines]), encoding)
    if not is_text(text):
        for line in np.flatnonzero((first & kept)[:lines]).tolist():
            last = line + 1
            while last < lines and not first[last]:
                last += 1
            if not is_text(as_utf8(data[begins[line] : ends[last - 1]], encoding)):
                kept[line:last] = False
                broken.append(_broken(data, begins[line], ends[line], line, NOT_TEXT, encoding))
        text = as_utf8(_joined(data, begins, ends, kept[:lines]), encoding)
    rows = np.flatnonzero((first & kept)[:lines])
    return Records(text, rows, sorted(broken), size, lines)


def _special_lines(data: bytes, ends: np.ndarray, patterns: Grammar, limit: int) -> Iterator[tuple[int, int | None]]:
    """The lines that are no record on their own, in order, each with the end of its record or None."""
    cursor = 0
    while (cursor := patterns.end_of_lines(data, cursor, len(data))) < len(data):
        line = int(np.searchsorted(ends, cursor, side="right"))
        stop = patterns.end_of_record(data, cursor, limit)
        yield line, stop
        cursor = stop or int(ends[line])


def _blank(data: bytes, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Where a line has nothing but its end, bool (n,)."""
    sizes = ends - begins
    codes = np.frombuffer(data, np.uint8)
    return (sizes == 1) | ((sizes == 2) & (codes[begins] == ord("\r")))


def _joined(data: bytes, begins: np.ndarray, ends: np.ndarray, kept: np.ndarray) -> bytes:
    """The lines that are kept, one after another."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]])))
    runs = edges.reshape(-1, 2).tolist()
    return b"".join(data[begins[start] : ends[stop - 1]] for start, stop in runs)


def _broken(data: bytes, begin: int, end: int, line: int, reason: str, encoding: str) -> BrokenLine:
    text = data[begin:end].rstrip(b"\r\n")[: 4 * TEXT_LIMIT].decode(encoding, "replace")
    return BrokenLine(line, text[:TEXT_LIMIT], reason)


def border_of_records(opened: pa.NativeFile, start: int, position: int, patterns: Grammar, limit: int) -> int:
    """The first byte after `position` where a line begins and no record that might begin before it goes on.

    start: the first byte of the first record; limit: bytes of a record of several lines at most
    The result is the size of the file if there is no such byte.
    """
    # A record that begins before `first` has ended at `position`.
    first = max(start, position - limit)
    window = Window(opened, first)
    window.fill(position + limit)
    cursor = first if first == start else window.end_of_line(first, limit)
    reach = 0
    while cursor < window.size:
        if cursor > position and reach <= cursor:
            return cursor
        end = window.end_of_line(cursor, limit)
        begin, stop = cursor - window.first, end - window.first
        if patterns.end_of_lines(window.data, begin, stop) < stop:
            window.fill(cursor + limit)
            reach = max(reach, window.first + (patterns.end_of_record(window.data, begin, limit) or 0))
        cursor = end
        if begin > limit:
            window.data = window.data[begin:]
            window.first += begin
    return window.size
