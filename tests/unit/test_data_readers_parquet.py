import datetime
import decimal
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import reading
from recsys.data.readers import parquet as parquet_reader
from recsys.data.readers.base import UNREADABLE
from recsys.data.readers.parquet import ParquetReader
from recsys.data.reading import read_head, read_piece, split_file
from recsys.errors import DataError
from recsys.storage.filesystem import file_at
from tests.support.tables import read

D = decimal.Decimal


def column(tmp_path: Path, values: pa.Array) -> list[str]:
    """The texts of a column."""
    pq.write_table(pa.table({"a": values}), tmp_path / "x.parquet")
    return [text for (text,) in read(tmp_path / "x.parquet", "a")[0]]


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([1, None, -3], pa.int32(), ["1", "", "-3"]),
        ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
        ([4.0, None, float("nan"), 0.5, 1e300], pa.float64(), ["4", "", "", "0.5", "1e+300"]),
        ([2.0**53 - 1, 2.0**53, -1.5e18], pa.float64(), ["9007199254740991", "9.007199254740992e+15", "-1.5e+18"]),
        ([2.0**24 - 1, 2.0**24, 0.1], pa.float32(), ["16777215", "1.6777216e+07", "0.1"]),
        ([True, False, None], pa.bool_(), ["1", "0", ""]),
        (["x", None, ""], pa.dictionary(pa.int32(), pa.string()), ["x", "", ""]),
        (["007", " a "], pa.large_string(), ["007", " a "]),
        ([D(12345678901234567890), None], pa.decimal128(38, 0), ["12345678901234567890", ""]),
        ([D("5.00"), D("5.10"), D("-0.07")], pa.decimal128(10, 2), ["5", "5.10", "-0.07"]),
        ([datetime.date(2017, 1, 31), None], pa.date32(), ["2017-01-31", ""]),
        ([datetime.date(2017, 1, 31)], pa.date64(), ["2017-01-31"]),
        ([datetime.time(13, 5)], pa.time64("us"), ["13:05:00.000000"]),
        ([1_500, None], pa.timestamp("ms"), ["1970-01-01T00:00:01.500", ""]),
        ([-1], pa.timestamp("us"), ["1969-12-31T23:59:59.999999"]),
        ([1], pa.timestamp("ns"), ["1970-01-01T00:00:00.000000001"]),
        ([1_000], pa.timestamp("ms", "Europe/Berlin"), ["1970-01-01T00:00:01.000Z"]),
        ([[1, 2], None, []], pa.list_(pa.int64()), ["[1,2]", "", "[]"]),
        ([[0.25, None], [3.0]], pa.list_(pa.float32()), ["[0.25,null]", "[3.0]"]),
        ([["a", 'b"']], pa.list_(pa.string()), ['["a","b\\""]']),
        ([[("k", 1)]], pa.map_(pa.string(), pa.int64()), ['[["k",1]]']),
        ([[{"k": 1}]], pa.list_(pa.struct([("k", pa.int64())])), ['[{"k":1}]']),
        ([None, None], pa.null(), ["", ""]),
    ],
    ids=str,
)
def test_columns_as_text(tmp_path: Path, values: list[Any], kind: pa.DataType, texts: list[str]) -> None:
    assert column(tmp_path, pa.array(values, kind)) == texts


def test_half_floats_and_ids_of_16_bytes(tmp_path: Path) -> None:
    assert column(tmp_path, pa.array(np.float16([1, 2.5]))) == ["1", "2.5"]
    ids = [uuid.UUID(int=7), None]
    assert column(tmp_path, pa.array([ids[0].bytes, None], pa.uuid())) == [str(ids[0]), ""]


def test_fields_of_structs_have_dotted_names(tmp_path: Path) -> None:
    rows = [
        {"user": {"id": 7, "home": {"city": "Ulm"}}, "items": [{"sku": "x"}]},
        {"user": None, "items": None},
        {"user": {"id": None, "home": None}, "items": []},
    ]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert read(path, "user.home.city", "items", "user.id")[0] == [
        ("Ulm", '[{"sku":"x"}]', "7"),
        ("", "", ""),
        ("", "[]", ""),
    ]
    head = read_head(file_at(path), rows=2)
    assert head.names == ("user.id", "user.home.city", "items")
    assert head.kinds["user.id"] == "int64"
    assert head.rows["user.home.city"].to_pylist() == ["Ulm", ""]
    with pytest.raises(DataError, match=r"column 'user' is missing; columns found: user\.id, user\.home\.city, items"):
        split_file(file_at(path), ["user"])


def test_binary_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"hash": [b"\xff"], "key": pa.array([b"ab"], pa.binary(2)), "a": [1]}), path)
    for name, kind in (("hash", "binary"), ("key", "fixed_size_binary")):
        with pytest.raises(DataError, match=rf"column '{name}' has type {kind}.*; expected numbers, text, times"):
            split_file(file_at(path), ["a", name])
    head = read_head(file_at(path))
    assert head.kinds == {"hash": "binary", "key": "fixed_size_binary[2]", "a": "int64"}
    assert head.rows.to_pydict() == {"hash": [""], "key": [""], "a": ["1"]}
    assert read(path, "a")[0] == [("1",)]


def test_the_head_skips_row_groups_without_rows(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with pq.ParquetWriter(tmp_path / "x.parquet", table.schema) as writer:
        writer.write_table(table.slice(0, 0))
        writer.write_table(table)
    assert read_head(file_at(tmp_path / "x.parquet"), rows=2).rows["a"].to_pylist() == ["1", "2"]


def test_large_values_come_in_small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_reader, "CHUNK_BYTES", 1 << 20)
    path = tmp_path / "x.parquet"
    value = "x" * (1 << 16)
    for kind, dictionary in ((pa.string(), True), (pa.large_string(), True), (pa.string(), False)):
        table = pa.table({"a": pa.array([value] * 20, kind), "b": range(20)})
        pq.write_table(table, path, use_dictionary=dictionary)
        [piece] = split_file(file_at(path), ["a", "b"])
        chunks = list(read_piece(piece, ["b", "a"]))
        assert [len(chunk.columns) for chunk in chunks] in ([15, 5], [16, 4])
        assert [row for chunk in chunks for row in chunk.rows] == list(range(20))
        assert chunks[0].columns["a"][14].as_py() == value


def test_a_value_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": ["x" * (20 << 20)], "b": [1]}), path, use_dictionary=False)
    assert read(path, "b")[0] == [("1",)]
    [(_, text, reason)] = read(path, "a")[2]
    assert reason == UNREADABLE
    assert text == f"{path}: cannot be read as Parquet: a row has 20 MB, expected at most 16 MB"


def test_too_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([[1]] * 10_001, names=[str(number) for number in range(10_001)]), path)
    with pytest.raises(DataError, match="it has 10,001 columns or more, expected at most 10,000"):
        split_file(file_at(path), ["1"])


def test_row_groups_are_numbered_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READERS", [ParquetReader(piece_rows=6, chunk_rows=3)])
    pl.DataFrame({"a": range(20)}).write_parquet(tmp_path / "x.parquet", row_group_size=4)
    assert len(split_file(file_at(tmp_path / "x.parquet"), ["a"])) == 3
    rows, numbers, _ = read(tmp_path / "x.parquet", "a")
    assert rows == [(str(row),) for row in range(20)]
    assert numbers == list(range(1, 21))


def test_a_file_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "x.parquet")
    assert len(split_file(file_at(tmp_path / "x.parquet"), ["a"])) == 1
    assert read(tmp_path / "x.parquet", "a") == ([], [], [])


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"a": texts}), tmp_path / "x.parquet")
    rows, _, [(_, text, reason)] = read(tmp_path / "x.parquet", "a")
    assert rows == []
    assert "x.parquet" in text
    assert "column 'a' of type string: " in text
    assert reason == UNREADABLE
