"""The rows of CSV files with quotes do not depend on the sizes of pieces and chunks, and are those of RFC 4180."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.data import reading
from recsys.data.readers.base import HALF_WRITTEN
from recsys.data.readers.csv import CsvReader
from tests.support.soak import SOAK, scaled
from tests.support.tables import read, write

NAMES = ("a", "b", "c")
HEADER = "a,b,c\n"
RUN = settings(max_examples=scaled(300, 20_000), deadline=None, database=None, derandomize=not SOAK)

sizes = st.integers(1, 60)
values = st.text(st.sampled_from('x,"\n\r é'), max_size=8)
bare = st.text("xy", max_size=3)
fields = st.one_of(
    bare, bare.map('"{}'.format), values, values.map(lambda value: f'"{value.replace(chr(34), chr(34) * 2)}"')
)
lines = st.lists(fields, min_size=2, max_size=4).map(",".join)
texts = st.one_of(
    st.text(st.sampled_from('x,,""\n\n\r'), max_size=120),
    st.lists(lines, max_size=12).map("\n".join),
    st.lists(lines, max_size=12).map("\r\n".join),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "x.csv"


def rows_of(path: Path, text: str, **reader: int) -> tuple[list[tuple[str, ...]], list[int], list[tuple[int, str]]]:
    """The rows of a file, their numbers, and the numbers and texts of the other lines."""
    write(path, text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "READERS", [CsvReader(**reader)])
        rows, numbers, broken = read(path, *NAMES)
    assert {reason for *_, reason in broken} <= {HALF_WRITTEN}
    return rows, numbers, [(row, line) for row, line, _ in broken]


@pytest.mark.slow
@RUN
@given(
    st.lists(st.tuples(values, values, values), max_size=12),
    sizes,
    sizes,
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read(
    path: Path, rows: Sequence[tuple[str, ...]], piece: int, chunk: int, quoted: bool, end: str
) -> None:
    if not quoted:  # the csv module leaves carriage returns outside of quotes
        rows = [tuple(value.replace("\r", "") for value in row) for row in rows]
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator=end).writerows(rows)
    result, numbers, broken = rows_of(path, HEADER + file.getvalue(), piece_bytes=piece, chunk_bytes=chunk)
    assert result == rows
    assert broken == []
    heights = [1 + sum(value.count("\n") for value in row) for row in rows]
    assert numbers == [2 + sum(heights[:row]) for row in range(len(rows))]


@pytest.mark.slow
@RUN
@given(texts, sizes, sizes, st.integers(2, 60))
@example('x,"\nx,x,x\n', 1, 60, 40)
@example('"",",\n,"\n', 3, 5, 12)
@example('x,x,"\n\n\nx"\n', 1, 1, 40)
@example('x\rx,x\n"\r",,\r\n', 2, 3, 9)
def test_any_text_gives_the_rows_of_the_rule(path: Path, text: str, piece: int, chunk: int, limit: int) -> None:
    rows, numbers, broken = rows_of(path, HEADER + text, piece_bytes=piece, chunk_bytes=chunk, quoted_bytes=limit)
    expected = list(by_the_rule(HEADER + text, limit))[1:]
    assert list(zip(numbers, rows, strict=True)) == [(line, row) for line, row in expected if isinstance(row, tuple)]
    assert broken == [(line, row) for line, row in expected if isinstance(row, str)]


def by_the_rule(text: str, limit: int) -> Iterator[tuple[int, tuple[str, ...] | str]]:
    """The number of the first line of each row, with the row; of other lines the text."""
    ended = [line + "\n" for line in text.removesuffix("\n").split("\n")]
    number = 0
    while number < len(ended):
        size = 1
        line = ended[number].removesuffix("\n").removesuffix("\r")
        fields = alone(line)
        while fields is None and number + size < len(ended):
            size += 1
            record = "".join(ended[number : number + size])
            if len(record.encode()) > limit:
                break
            fields = strictly(record)
        if fields is not None and len(fields) == len(NAMES):
            yield number + 1, tuple(fields)
        else:
            size = 1
            if line:
                yield number + 1, line.rstrip("\r")
        number += size


def alone(line: str) -> list[str] | None:
    """The fields of a line. None if a quoted field does not end in it, none at all for a bare carriage return."""
    fields, field, quoted, position = [], "", False, 0
    while position < len(line):
        character = line[position]
        if quoted and line[position : position + 2] == '""':
            field += '"'
            position += 1
        elif quoted:
            quoted = character != '"'
            field += character if quoted else ""
        elif character == '"' and (position == 0 or line[position - 1] == ","):
            quoted = True
        elif character == ",":
            fields.append(field)
            field = ""
        elif character == "\r":
            return []
        else:
            field += character
        position += 1
    return None if quoted else [*fields, field]


def strictly(record: str) -> list[str] | None:
    """The fields of lines that are one record by RFC 4180. None if a quoted field does not end, none for other text."""
    fields, position = [], 0
    while position < len(record):
        if record[position] == '"':
            end = position + 1
            while (end := record.find('"', end)) >= 0 and record[end : end + 2] == '""':
                end += 2
            if end < 0:
                return None
            fields.append(record[position + 1 : end].replace('""', '"'))
            position = end + 1
        else:
            end = min(record.find(mark, position) % (len(record) + 1) for mark in ",\r\n")
            fields.append(record[position:end])
            position = end
        if record[position:] in ("\n", "\r\n"):
            return fields
        if record[position] != ",":
            return []
        position += 1
    return []
