import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import reading, sources
from recsys.data.readers.base import HALF_WRITTEN, NOT_TEXT, UNREADABLE, BrokenLine, Chunk, FilePiece, check_columns
from recsys.data.readers.csv import CsvReader
from recsys.data.readers.parquet import ParquetReader
from recsys.data.reading import read_piece, rows_before, split_file
from recsys.errors import DataError
from recsys.storage.filesystem import File, file_at

Rows = list[tuple[str, ...]]
Broken = list[tuple[int, str, str]]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path, *columns: str) -> tuple[Rows, list[int], Broken]:
    """Rows of the columns, the number of each row in the file, and broken lines by their number there."""
    rows: Rows = []
    numbers: list[int] = []
    broken: Broken = []
    for piece in split_file(file_at(path), columns):
        before = rows_before(piece) + 1
        for chunk in read_piece(piece, columns):
            rows += zip(*(column.to_pylist() for column in chunk.columns.columns), strict=True)
            numbers += (chunk.rows + before).tolist()
            broken += [(row + before, text, reason) for row, text, reason in chunk.broken]
    return rows, numbers, broken


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_byte_order_mark_and_compression(tmp_path: Path, name: str, newline: bytes, mark: bytes) -> None:
    data = mark + newline.join([b"a,b,c", b"1,2,3", b'4,"5,5",6', b""])
    assert read(write(tmp_path / name, data), "c", "a", "b") == (
        [("3", "1", "2"), ("6", "4", "5,5")],
        [2, 3],
        [],
    )


def test_last_line_without_newline(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.csv", b"a,b\n1,2\n3,4"), "b")[0] == [("2",), ("4",)]


def test_blank_lines_are_passed_over_but_numbered(tmp_path: Path) -> None:
    rows, numbers, broken = read(write(tmp_path / "x.csv", b"a,b\n1,2\n\n3,4\n\n\n"), "a", "b")
    assert (rows, numbers, broken) == ([("1", "2"), ("3", "4")], [2, 4], [])


def test_incomplete_rows_are_named(tmp_path: Path) -> None:
    data = b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n1,2,3\n4"
    rows, numbers, broken = read(write(tmp_path / "x.csv", data), "a", "b")
    assert (rows, numbers) == ([("1", "2"), ("1", "2")], [2, 5])
    assert broken == [(3, "4,5", HALF_WRITTEN), (4, "6,7,8,9", HALF_WRITTEN), (6, "4", HALF_WRITTEN)]


def test_a_stray_quote_harms_its_own_line_only(tmp_path: Path) -> None:
    data = b'a,b\n1,2\n3,"4\n5,6\n7,"8"\n9,"x""y"\n'
    rows, numbers, broken = read(write(tmp_path / "x.csv", data), "a", "b")
    assert rows == [("1", "2"), ("5", "6"), ("7", "8"), ("9", 'x"y')]
    assert numbers == [2, 4, 5, 6]
    assert broken == [(3, '3,"4', HALF_WRITTEN)]


def test_two_stray_quotes_do_not_swallow_the_rows_between(tmp_path: Path) -> None:
    rows, numbers, broken = read(write(tmp_path / "x.csv", b'a,b\n1,"2\n3,4\n5,6"\n7,8\n'), "a", "b")
    assert (rows, numbers) == ([("3", "4"), ("5", '6"'), ("7", "8")], [3, 4, 5])
    assert [row for row, *_ in broken] == [2]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    data = b"a,b\n1,2\n3,\xff\n\xff\n\xc3\xa9,4\n"
    rows, _, broken = read(write(tmp_path / "x.csv", data), "a", "b")
    assert rows == [("1", "2"), ("é", "4")]
    assert [(row, reason) for row, _, reason in broken] == [(3, NOT_TEXT), (4, NOT_TEXT)]


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("chunk_bytes", [1, 5, 1 << 20])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_pieces_and_chunks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, chunk_bytes: int, name: str
) -> None:
    lines = [f"{row},{row * row}" for row in range(50)]
    lines[20] = "broken"
    path = write(tmp_path / name, "\n".join(["a,b", *lines]).encode())
    monkeypatch.setattr(reading, "READERS", [CsvReader(piece_bytes=piece_bytes, chunk_bytes=chunk_bytes)])
    rows, numbers, broken = read(path, "a", "b")
    assert rows == [(str(row), str(row * row)) for row in range(50) if row != 20]
    assert numbers == [row + 2 for row in range(50) if row != 20]
    assert broken == [(22, "broken", HALF_WRITTEN)]


def test_header_alone(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.csv", b"a,b\n"), "a") == ([], [], [])
    assert read(write(tmp_path / "y.csv", b"a,b"), "a") == ([], [], [])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.csv", b"", r"x\.csv: the file is empty; expected a header with a, b"),
        ("x.csv.gz", b"", r"x\.csv\.gz: the file is empty"),
        ("x.csv", b"a,c\n1,2\n", r"x\.csv: column 'b' is missing; columns found: a, c"),
        ("x.csv", b"a,b,b\n1,2,3\n", r"column 'b' occurs twice"),
        ("x.csv", b"\xff\xfea\x00,\x00b\x00\n\x00", r"x\.csv: cannot be read as CSV"),
        ("x.parquet", b"", r"x\.parquet: cannot be read as Parquet"),
        ("x.parquet", b"a,b\n1,2\n", r"x\.parquet: cannot be read as Parquet"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        split_file(file_at(write(tmp_path / name, data)), ["a", "b"])
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.csv: cannot be read as CSV"):
        split_file(file_at(tmp_path / "x.csv"), ["a"])


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_compressed_file_that_ends_early(tmp_path: Path, keep: float) -> None:
    rows = np.random.default_rng(0).integers(0, 1 << 40, (5000, 2))
    data = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % tuple(row) for row in rows.tolist()))
    path = tmp_path / "x.csv.gz"
    path.write_bytes(data[: int(len(data) * keep)])
    if keep < 0.1:
        with pytest.raises(DataError, match=r"x\.csv\.gz: cannot be read as CSV"):
            split_file(file_at(path), ["a"])
        return
    [(_, text, reason)] = read(path, "a")[2]
    assert reason == UNREADABLE
    assert text.startswith(f"{path}: cannot be read as CSV")


def test_no_such_compression(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match=r"x\.csv\.gz: cannot be read as CSV"):
        split_file(file_at(path), ["a"])


def test_parquet_columns_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "number": pa.array([1, None, -3], pa.int32()),
            "float": pa.array([4.0, None, float("nan")]),
            "half": pa.array([0.5, 1e300, 2.0]),
            "text": pa.array(["x", None, ""]).dictionary_encode(),
            "time": pa.array([1_500, None, 2_000], pa.timestamp("us")),
            "zoned": pa.array([0, 1, 2], pa.timestamp("s", "Europe/Berlin")),
            "flag": pa.array([True, False, None]),
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    rows, numbers, _ = read(tmp_path / "x.parquet", *table.column_names)
    assert rows[0] == ("1", "4", "0.5", "x", "1", "0", "1", "")
    assert rows[1] == ("", "", "1e+300", "", "", "1000", "0", "")
    assert rows[2] == ("-3", "", "2", "", "2", "2000", "", "")
    assert numbers == [1, 2, 3]


def test_parquet_row_groups_are_numbered_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READERS", [ParquetReader(piece_rows=6, chunk_rows=3)])
    pl.DataFrame({"a": range(20)}).write_parquet(tmp_path / "x.parquet", row_group_size=4)
    assert len(split_file(file_at(tmp_path / "x.parquet"), ["a"])) == 3
    rows, numbers, _ = read(tmp_path / "x.parquet", "a")
    assert rows == [(str(row),) for row in range(20)]
    assert numbers == list(range(1, 21))


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "x.parquet")
    assert len(split_file(file_at(tmp_path / "x.parquet"), ["a"])) == 1
    assert read(tmp_path / "x.parquet", "a") == ([], [], [])


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"a": texts}), tmp_path / "x.parquet")
    rows, _, [(_, text, reason)] = read(tmp_path / "x.parquet", "a")
    assert rows == []
    assert "x.parquet" in text
    assert "column 'a' of type string: " in text
    assert reason == UNREADABLE


def test_parquet_column_of_half_floats(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.float16([1, 2])}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet: column 'a' has type halffloat; expected"):
        split_file(file_at(tmp_path / "x.parquet"), ["a"])


def test_parquet_column_of_lists(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [[1], [2]]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"column 'a' has type list<.*>; expected numbers, text or timestamps"):
        split_file(file_at(tmp_path / "x.parquet"), ["a"])


class WordReader:
    """A toy format: a line of column names and a line for each row, separated by spaces. A file is one piece."""

    name = "words"
    endings = (".words",)

    def split(self, file: File, columns: Sequence[str]) -> list[FilePiece]:
        check_columns(file, self._lines(file)[0].split(), columns)
        return [FilePiece(file, 1, -1)]

    def read(self, piece: FilePiece, columns: Sequence[str]) -> Iterator[Chunk]:
        header, *lines = self._lines(piece.file)
        names = header.split()
        rows, values, broken = [], [], []
        for row, line in enumerate(lines):
            fields = dict(zip(names, line.split(), strict=False))
            if len(fields) == len(names):
                rows.append(row)
                values.append([fields[name] for name in columns])
            else:
                broken.append(BrokenLine(row, line, HALF_WRITTEN))
        texts = [pa.array(column, pa.string()) for column in zip(*values, strict=True)]
        yield Chunk(pa.table(texts, names=list(columns)), np.array(rows), broken)

    def rows_before(self, piece: FilePiece) -> int:
        return piece.start

    def _lines(self, file: File) -> list[str]:
        with file.open() as opened:
            return opened.read().decode().splitlines()


def test_a_further_format_is_one_reader_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.words"
    path.write_text("a b\n1 2\nhalf\n3 4\n")
    with pytest.raises(
        DataError, match=r"no events; expected events\.csv, events\.csv\.gz, events\.parquet or these in"
    ):
        sources.resolve(str(tmp_path), tmp_path / "work")
    with pytest.raises(
        DataError, match=r"events\.words: no reader for this file; expected a name that ends in \.csv, "
    ):
        split_file(file_at(path), ["a"])
    monkeypatch.setattr(reading, "READERS", (*reading.READERS, WordReader()))
    assert sources.resolve(str(tmp_path), tmp_path / "work").events == (file_at(path),)
    assert read(path, "b", "a") == ([("2", "1"), ("4", "3")], [2, 4], [(3, "half", HALF_WRITTEN)])
    with pytest.raises(DataError, match=r"events\.words: column 'c' is missing; columns found: a, b"):
        split_file(file_at(path), ["c"])


def test_errors_of_a_further_format_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READERS", (*reading.READERS, WordReader()))
    path = tmp_path / "x.words"
    path.write_bytes(b"a b\n1 \xff\n")
    with pytest.raises(DataError, match=r"x\.words: cannot be read as words: .*utf-8"):
        split_file(file_at(path), ["a"])
    [chunk] = read_piece(FilePiece(file_at(path), 1, -1), ["a"])
    [line] = chunk.broken
    assert line.reason == UNREADABLE
    assert line.text.startswith(f"{path}: cannot be read as words: ")
