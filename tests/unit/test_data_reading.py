import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.data import reading, sources
from recsys.data.readers.base import HALF_WRITTEN, UNREADABLE, BrokenLine, Chunk, FilePiece, Head, check_columns
from recsys.data.readers.dialect import Dialect
from recsys.data.reading import read_head, read_piece, split_file
from recsys.errors import DataError
from recsys.storage import compression
from recsys.storage.filesystem import File, file_at
from tests.support.tables import read, write


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.csv", b"", r"x\.csv: the file is empty; expected a header with a, b"),
        ("x.csv.gz", b"", r"x\.csv\.gz: the file is empty"),
        ("x.csv.zst", b"", r"x\.csv\.zst: the file is empty"),
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


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.parquet", "x.jsonl"])
def test_an_unreadable_file_has_no_head(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: (the file is empty|cannot be read as Parquet)"):
        read_head(file_at(write(tmp_path / name, b"")))


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


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.zst", "x.jsonl.gz"])
def test_a_bomb_ends_soon_in_one_line(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one text, since a reader ends long lines anyway."""
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    row = b'{"a": 1, "b": 2}\n' if "json" in name else b"1,2\n"
    path = write(tmp_path / name, (b"" if "json" in name else b"a,b\n") + row * ((8 << 20) // len(row)))
    assert path.stat().st_size < 200_000
    [(_, text, reason)] = read(path, "a")[2]
    assert reason == UNREADABLE
    assert "it is a decompression bomb: " in text


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.zst"])
def test_compressed_files_one_after_another_are_one_file(tmp_path: Path, name: str) -> None:
    first = write(tmp_path / name, b"a,b\n1,2\n").read_bytes()
    path = write(tmp_path / name, b"3,4\n5,6\n")
    path.write_bytes(first + path.read_bytes())
    assert read(path, "a")[0] == [("1",), ("3",), ("5",)]


def test_no_such_compression(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match=r"x\.csv\.gz: cannot be read as CSV"):
        split_file(file_at(path), ["a"])


class WordReader:
    """A toy format: a line of column names and a line for each row, separated by spaces. A file is one piece."""

    name = "words"
    endings = (".words",)

    def head(self, file: File, dialect: Dialect, rows: int) -> Head:
        names = self._lines(file)[0].split()
        [chunk] = self.read(self.split(file, names, dialect)[0], names)
        return Head(tuple(names), dict.fromkeys(names, "word"), chunk.columns.slice(0, rows))

    def split(self, file: File, columns: Sequence[str], dialect: Dialect) -> list[FilePiece]:
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
    with pytest.raises(DataError, match=r"has no tables; .*events\.words: no reader for this file"):
        sources.resolve(str(tmp_path), tmp_path / "work")
    with pytest.raises(
        DataError, match=r"events\.words: no reader for this file; expected a name that ends in \.csv, "
    ):
        split_file(file_at(path), ["a"])
    monkeypatch.setattr(reading, "READERS", (*reading.READERS, WordReader()))
    assert sources.resolve(str(tmp_path), tmp_path / "work").files("events") == (file_at(path),)
    assert read_head(file_at(path)).rows.to_pydict() == {"a": ["1", "3"], "b": ["2", "4"]}
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
