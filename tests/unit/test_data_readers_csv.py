import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from recsys.data import reading
from recsys.data.readers import lines as reader_lines
from recsys.data.readers.base import HALF_WRITTEN, NOT_TEXT
from recsys.data.readers.csv import CsvReader
from recsys.data.readers.dialect import Dialect
from recsys.data.readers.records import QUOTED_BYTES
from recsys.data.reading import read_head, split_file
from recsys.errors import DataError
from recsys.storage.filesystem import file_at
from tests.support.tables import read, write


@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.csv.gz", "x.csv.zst"])
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


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_first_lines_may_be_blank(tmp_path: Path, mark: bytes) -> None:
    path = write(tmp_path / "x.csv", mark + b"\n\r\na,b\n1,2\n")
    assert read(path, "b", "a") == ([("2", "1")], [4], [])
    bare = write(tmp_path / "y.csv", mark + b"\n1;2\n")
    dialect = Dialect(header=("a", "b"))
    assert read(bare, "b", "a", dialect=dialect)[0] == [("2", "1")]
    with pytest.raises(DataError, match="the file is empty"):
        read(write(tmp_path / "z.csv", mark + b"\n\n"), "a")


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


def test_a_quoted_field_may_hold_line_ends(tmp_path: Path) -> None:
    data = b'a,note,b\r\n1,"called,\r\n\r\nno ""answer""",2\r\n3,"",4\r\n'
    rows, numbers, broken = read(write(tmp_path / "x.csv", data), "a", "b", "note")
    assert rows == [("1", "2", 'called,\r\n\r\nno "answer"'), ("3", "4", "")]
    assert (numbers, broken) == ([2, 5], [])


@pytest.mark.parametrize(
    "lines",
    [
        [b'3,"4', b"5,6", b'7,"8"'],  # the next quote is before text
        [b'3,"4', b"5,6", b'7,8",9'],  # too many fields
        [b'3,"4', b"5,6", b"7,8"],  # no further quote
        [b'3,"4', b'5,"6"', b"7,8"],
    ],
)
def test_a_stray_quote_leaves_the_next_rows(tmp_path: Path, lines: list[bytes]) -> None:
    path = write(tmp_path / "x.csv", b"\n".join([b"a,b", b"1,2", *lines, *[b"9,9"] * 3]))
    rows, _, broken = read(path, "a", "b")
    assert ("5", "6") in rows
    assert rows[-3:] == [("9", "9")] * 3
    assert broken[0] == (3, '3,"4', HALF_WRITTEN)


def test_a_quoted_field_that_does_not_end_soon_is_a_stray_quote(tmp_path: Path) -> None:
    lines = b"5,6\n" * (QUOTED_BYTES // 4)
    rows, numbers, broken = read(write(tmp_path / "x.csv", b'a,b\n3,"4\n' + lines + b'7,8"\n'), "a", "b")
    assert len(rows) == QUOTED_BYTES // 4 + 1
    assert numbers[0] == 3
    assert broken == [(2, '3,"4', HALF_WRITTEN)]


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
    ("name", "delimiter", "given"),
    [
        ("x.csv", ",", None),
        ("x.csv", ";", None),
        ("x.csv", "\t", None),
        ("x.txt", "|", None),
        ("x.tsv.gz", "\t", None),
        ("x.csv", "~", "~"),
        ("x.csv", "::", "::"),
        ("x.csv", "§", "§"),
        ("x.csv", "\x01", "\x01"),
    ],
)
def test_delimiters(tmp_path: Path, name: str, delimiter: str, given: str | None) -> None:
    lines = [["a", "b, c", "d"], ["1", f'"x{delimiter}\n""y"""', "2"], ["3", "4:5", ""], ["6"]]
    data = "\n".join(delimiter.join(fields) for fields in lines).encode()
    if delimiter == ",":
        data = data.replace(b"b, c", b'"b, c"')
    rows, numbers, broken = read(write(tmp_path / name, data), "d", "b, c", dialect=Dialect(delimiter=given))
    assert rows == [("2", f'x{delimiter}\n"y"'), ("", "4:5")]
    assert (numbers, broken) == ([2, 4], [(5, "6", HALF_WRITTEN)])


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "ratings.dat", b"1::1193::5::978300760\n1::661::3::978302109\n")
    dialect = Dialect(header=("user", "item", "stars", "time"))
    assert read(path, "item", "time", dialect=dialect) == ([("1193", "978300760"), ("661", "978302109")], [1, 2], [])
    head = read_head(file_at(path), dialect)
    assert head.names == ("user", "item", "stars", "time")
    assert head.rows["stars"].to_pylist() == ["5", "3"]
    with pytest.raises(DataError, match="the header of the settings has 3 columns, the first line 4"):
        read_head(file_at(path), Dialect(header=("user", "item", "stars"), delimiter="::"))
    marked = write(tmp_path / "x.csv", b"\xef\xbb\xbf1,2\n")
    assert read(marked, "a", dialect=Dialect(header=("a", "b")))[0] == [("1",)]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    data = 'naïve,b\r\né,"ü\n,"\r\nß\r\n'.encode(encoding)
    rows, numbers, broken = read(write(tmp_path / "x.csv", data), "naïve", "b", dialect=Dialect(encoding=encoding))
    assert (rows, numbers, broken) == ([("é", "ü\n,")], [2], [(4, "ß", HALF_WRITTEN)])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("chunk_bytes", [7, 1 << 20])
def test_wide_characters_in_the_header_take_nothing_from_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, chunk_bytes: int
) -> None:
    text = "客户编号,商品编号,时间戳\n" + "".join(f"{10_000 + row},茶{row},1\n" for row in range(50))
    monkeypatch.setattr(reading, "READERS", (CsvReader(chunk_bytes=chunk_bytes),))
    path = write(tmp_path / "x.csv", text.encode(encoding))
    rows, _, _ = read(path, "客户编号", dialect=Dialect(encoding=encoding))
    assert rows == [(str(10_000 + row),) for row in range(50)]


def test_bytes_that_an_encoding_lacks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"a,b\n\xe9,1\n\x81,2\n")
    rows, _, broken = read(path, "a", dialect=Dialect(encoding="cp1252"))
    assert rows == [("é",)]
    assert [(row, reason) for row, _, reason in broken] == [(3, NOT_TEXT)]


@pytest.mark.parametrize(
    "values", [{"delimiter": ""}, {"delimiter": '"'}, {"encoding": "klingon"}, {"header": ["a", "a"]}]
)
def test_dialects_that_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Dialect(**values)


def test_the_head_of_a_large_file_is_some_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"a,b,a\n" + b'1,"2\n3",4\n' * 100_000)
    head = read_head(file_at(path), rows=3)
    assert head.names == ("a", "b", "a")
    assert head.kinds == {"a": "text", "b": "text"}
    assert head.rows.to_pydict() == {"a": ["1"] * 3, "b": ["2\n3"] * 3}


def test_the_head_of_a_header_alone(tmp_path: Path) -> None:
    head = read_head(file_at(write(tmp_path / "x.csv", b"a,b\n")))
    assert head.rows.to_pydict() == {"a": [], "b": []}


def large_line(path: Path, size: int, begin: bytes) -> Path:
    """A file of a line of zeros, which take no room on the disk."""
    path.write_bytes(begin)
    with path.open("r+b") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("begin", [b"", b"a,b\n", b"a,b\n1,2\n"])
def test_a_line_of_a_gigabyte_ends_in_one_line(tmp_path: Path, begin: bytes) -> None:
    file = file_at(large_line(tmp_path / "x.csv", 1 << 30, begin))
    started = time.perf_counter()
    with pytest.raises(
        DataError, match=r"x\.csv: cannot be read as CSV: the (first line|line at byte [\d,]+) has more"
    ):
        split_file(file, ["a"] if begin else [])
    assert time.perf_counter() - started < 5


def test_a_long_line_of_a_piece_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_lines, "LINE_BYTES", 1 << 20)
    monkeypatch.setattr(reading, "READERS", [CsvReader(chunk_bytes=1 << 18)])
    path = large_line(tmp_path / "x.csv", 2 << 20, b"a,b\n1,2\n")
    assert read(path, "a")[2] == [
        (2, f"{path}: cannot be read as CSV: line 2 of the piece has more than 1 MB", "unreadable")
    ]


def test_a_million_columns_end_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b",".join(b"%d" % number for number in range(1_000_000)) + b"\n1,2\n")
    with pytest.raises(DataError, match="the first line has more than 1 MB; expected a header line"):
        split_file(file_at(path), ["1"])
    path = write(tmp_path / "x.csv", b"," * 20_000 + b"\n")
    with pytest.raises(DataError, match="it has 20,001 columns or more, expected at most 10,000"):
        read_head(file_at(path))


def test_utf16_without_the_setting_asks_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a,b\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"it begins with the mark of UTF-16; .* encoding: utf-16"):
        split_file(file_at(path), ["a"])


def test_the_head_of_long_rows_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + f"1,{'x' * 100_000}\n" * 400)
    assert 100 < len(read_head(file_at(str(path)), rows=400).rows) < 300
