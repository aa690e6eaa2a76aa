from pathlib import Path

import pytest

from recsys.data import reading
from recsys.data.readers.base import NO_OBJECT, NOT_TEXT
from recsys.data.readers.jsonlines import JsonReader
from recsys.data.reading import read_head, split_file
from recsys.errors import DataError
from recsys.storage.filesystem import file_at
from tests.support.tables import read, write

ROWS = b"""{"user": {"id": 12345678901234567890, "name": null}, "t": "2020-01-01", "tags": ["a", 1], "paid": true}

{"user": {"id": 7.0}, "price": 0.1, "paid": false}
{"user": {"id": 1.5e18}, "t": 5, "user.name": "x", "price": NaN}
"""


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson.gz", "x.json.zst"])
def test_objects_as_text(tmp_path: Path, name: str) -> None:
    rows, numbers, broken = read(write(tmp_path / name, ROWS), "user.id", "t", "tags", "paid", "user.name", "price")
    assert rows == [
        ("12345678901234567890", "2020-01-01", '["a",1]', "1", "", ""),
        ("7", "", "", "0", "", "0.1"),
        ("1.5e+18", "5", "", "", "x", ""),
    ]
    assert (numbers, broken) == ([1, 3, 4], [])


def test_the_head(tmp_path: Path) -> None:
    head = read_head(file_at(write(tmp_path / "x.jsonl", ROWS)), rows=2)
    assert head.names == ("user.id", "user.name", "t", "tags", "paid", "price")
    assert head.kinds == {
        "user.id": "number",
        "user.name": "null",
        "t": "text",
        "tags": "list",
        "paid": "boolean",
        "price": "number",
    }
    assert head.rows["price"].to_pylist() == ["", "0.1"]


def test_lines_that_are_no_object(tmp_path: Path) -> None:
    deep = b"[" * 100_000
    data = b'\xef\xbb\xbf{"a": 1}\r\n{"a": \n[1]\n{"a": "\xff"}\n' + deep + b'\n{"a": "\\ud800"}'
    rows, numbers, broken = read(write(tmp_path / "x.jsonl", data), "a")
    assert (rows, numbers) == ([("1",), ("?",)], [1, 6])
    assert [(row, reason) for row, _, reason in broken] == [
        (2, NO_OBJECT),
        (3, NO_OBJECT),
        (4, NOT_TEXT),
        (5, NO_OBJECT),
    ]


def test_a_key_of_later_lines_is_a_column(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b'{"a": 1}\n' * 5000 + b'{"b": 2}\n')
    rows = read(path, "b", "a")[0]
    assert (rows[0], rows[-1]) == (("", "1"), ("2", ""))
    with pytest.raises(DataError, match=r"x\.jsonl: column 'c' is missing; columns found: a, b"):
        split_file(file_at(path), ["c"])


@pytest.mark.parametrize("piece_bytes", [1, 60, 1 << 20])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 20])
def test_pieces_and_chunks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, chunk_bytes: int
) -> None:
    path = write(tmp_path / "x.jsonl", b"".join(b'{"a": %d}\n' % row for row in range(50)) + b"no\n")
    monkeypatch.setattr(
        reading, "READERS", [JsonReader(piece_bytes=piece_bytes, chunk_bytes=chunk_bytes, search_bytes=3)]
    )
    rows = [(str(row),) for row in range(50)]
    assert read(path, "a") == (rows, list(range(1, 51)), [(51, "no", NO_OBJECT)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"x\.json: the file is empty; expected one JSON object a line"),
        (b"\n \n", "the file is empty"),
        (b'[{"a": 1}]', r"no line is a JSON object; expected one object a line; it begins with"),
        (b'{\n"a": 1\n}\n', "no line is a JSON object"),
    ],
)
def test_files_that_are_no_json_lines(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "x.json", data)
    for attempt in (lambda: split_file(file_at(path), ["a"]), lambda: read_head(file_at(path))):
        with pytest.raises(DataError, match=message):
            attempt()


def test_many_keys_end_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", b"{" + b",".join(b'"%d":1' % key for key in range(200_000)) + b"}")
    with pytest.raises(DataError, match="it has 10,001 columns or more, expected at most 10,000"):
        split_file(file_at(path), ["1"])


def test_the_head_of_lines_with_their_own_keys_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", b"".join(b'{"a": 1, "%d": 2}\n' % row for row in range(5000)))
    head = read_head(file_at(path), rows=5000)
    assert len(head.rows) * len(head.names) < 1_100_000
    assert head.names[0] == "a"


def test_a_line_of_a_gigabyte_ends_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", b'{"a": 1}\n')
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(DataError, match=r"the line at byte [\d,]+ has more than 16 MB"):
        split_file(file_at(path), ["a"])
