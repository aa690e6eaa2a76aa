from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.quarantine import Quarantine
from recsys.data.readers.base import HALF_WRITTEN, BrokenLine, Chunk, FilePiece
from recsys.data.validate import (
    EVENT_COLUMNS,
    EVENT_ROWS,
    FAULTS,
    PROPERTY_COLUMNS,
    PROPERTY_ROWS,
    TREE_COLUMNS,
    as_ids,
    check_events,
    check_properties,
    check_tree,
    integers,
)
from recsys.errors import DataError
from recsys.schema import CART, DAY
from recsys.storage.filesystem import file_at

NOW = 1_600_000_000_000


def chunk_of(columns: tuple[str, ...], *rows: tuple[str, ...], broken: tuple[int, ...] = ()) -> Chunk:
    texts = [[row[column] for row in rows] for column in range(len(columns))]
    table = pa.table([pa.array(column, pa.string()) for column in texts], names=list(columns))
    return Chunk(table, np.arange(len(rows)), [BrokenLine(row, "text", HALF_WRITTEN) for row in broken])


def faults_of(table: pa.Table) -> list[tuple[int, str, str, str]]:
    rows = [row for row in table.to_pylist() if row["reason"] is not None]
    return [(row["row"], row["column"], row["reason"], row["text"]) for row in rows]


def test_a_good_event() -> None:
    table = check_events(chunk_of(EVENT_COLUMNS, ("5", "u", "addtocart", "i", "t")), 3, NOW)
    assert table.schema.equals(EVENT_ROWS)
    assert table.to_pylist() == [
        {
            "piece": 3,
            "row": 0,
            "column": None,
            "reason": None,
            "text": None,
            "timestamp": 5,
            "visitorid": "u",
            "event": CART,
            "itemid": "i",
            "transactionid": "t",
        }
    ]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (("soon", "u", "view", "i", ""), "timestamp", "not an integer"),
        (("", "u", "view", "i", ""), "timestamp", "not an integer"),
        (("1.5", "u", "view", "i", ""), "timestamp", "not an integer"),
        (("99999999999999999999", "u", "view", "i", ""), "timestamp", "not an integer"),
        (("0", "u", "view", "i", ""), "timestamp", "not positive"),
        (("-5", "u", "view", "i", ""), "timestamp", "not positive"),
        ((str(NOW + DAY + 1), "u", "view", "i", ""), "timestamp", "later than the run's clock plus a day"),
        (("5", "u", "buy", "i", ""), "event", "none of view, addtocart, transaction"),
        (("5", "u", "View", "i", ""), "event", "none of view, addtocart, transaction"),
        (("5", "u", "", "i", ""), "event", "none of view, addtocart, transaction"),
        (("5", "", "view", "i", ""), "visitorid", "blank"),
        (("5", " null ", "view", "i", ""), "visitorid", "blank"),
        (("5", "u", "view", "NaN", ""), "itemid", "blank"),
    ],
)
def test_a_bad_event(row: tuple[str, ...], column: str, reason: str) -> None:
    good = ("5", "u", "view", "i", "")
    table = check_events(chunk_of(EVENT_COLUMNS, good, row, good), 0, NOW)
    text = row[EVENT_COLUMNS.index(column)]
    assert faults_of(table) == [(1, column, reason, text)]
    assert table.num_rows == 3


def test_the_limits_of_time_are_good() -> None:
    rows = [(str(time), "u", "view", "i", "") for time in (1, NOW + DAY)]
    assert faults_of(check_events(chunk_of(EVENT_COLUMNS, *rows), 0, NOW)) == []


def test_a_row_has_one_fault_and_lines_have_theirs() -> None:
    chunk = chunk_of(EVENT_COLUMNS, ("x", "", "buy", "", ""), broken=(7,))
    assert faults_of(check_events(chunk, 0, NOW)) == [
        (0, "timestamp", "not an integer", "x"),
        (7, "", HALF_WRITTEN, "text"),
    ]


def test_blank_transaction_ids_are_alike() -> None:
    rows = [("5", "u", "transaction", "i", text) for text in ("", "nan", " ", "7")]
    table = check_events(chunk_of(EVENT_COLUMNS, *rows), 0, NOW)
    assert table["transactionid"].to_pylist() == ["", "", "", "7"]


def test_properties() -> None:
    rows = [
        ("5", "1", "categoryid", "9"),
        ("5", "1", "888", "n7"),
        ("5", "1", "available", "1"),
        ("5", "1", "available", "yes"),
        ("5", "1", "categoryid", ""),
        ("5", "", "categoryid", "9"),
        ("0", "1", "available", "0"),
        ("x", "", "790", "n9"),
    ]
    chunk = chunk_of(PROPERTY_COLUMNS, *rows, broken=(9,))
    table = check_properties(chunk, 0, NOW, ("categoryid", "available"))
    assert table.schema.equals(PROPERTY_ROWS)
    assert faults_of(table) == [
        (6, "timestamp", "not positive", "0"),
        (5, "itemid", "blank", ""),
        (4, "categoryid", "blank", ""),
        (3, "available", "neither 0 nor 1", "yes"),
        (9, "", HALF_WRITTEN, "text"),
    ]
    usable = [row for row in table.to_pylist() if row["reason"] is None]
    assert [(row["row"], row["itemid"], row["property"], row["value"], row["rows"]) for row in usable] == [
        (0, "1", "categoryid", "9", 1),
        (2, "1", "available", "1", 1),
        (None, None, None, None, 2),
    ]


def test_tree() -> None:
    chunk = chunk_of(TREE_COLUMNS, ("1", ""), ("2", "1"), ("", "1"))
    table, faults = check_tree(chunk, 0)
    assert table.to_pylist() == [
        {"categoryid": "1", "parentid": None},
        {"categoryid": "2", "parentid": "1"},
    ]
    assert faults_of(faults) == [(2, "categoryid", "blank", "")]


def test_integers_are_spelled_in_one_way() -> None:
    texts = ["1", "-3", "0", "007", "+5", " 5", "1.0", "-0", "", "9223372036854775807", "9223372036854775808"]
    numbers, spelled = integers(pa.array([*texts, None]))
    assert spelled.tolist() == [True, True, True, *[False] * 6, True, False, False]
    assert numbers.type == pa.int64()
    assert numbers[1].as_py() == -3


def test_ids_are_integers_only_together() -> None:
    good, empty, bad = pa.array(["1", None]), pa.array([], pa.string()), pa.array(["1", "x"])
    assert [column.to_pylist() for column in as_ids(good, empty)] == [[1, None], []]
    assert [column.to_pylist() for column in as_ids(good, bad)] == [["1", None], ["1", "x"]]


@pytest.fixture
def pieces(tmp_path: Path) -> list[FilePiece]:
    path = tmp_path / "b.csv"
    path.write_text("a\n1\n2\n3\n4\n")
    (tmp_path / "a.csv").write_text("a\n1\n")
    return [
        FilePiece(file_at(path), 2, 6),
        FilePiece(file_at(path), 6, 10),
        FilePiece(file_at(tmp_path / "a.csv"), 2, 4),
    ]


def faults(*rows: tuple[int, int, str, str, str]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(FAULTS.names, row, strict=True)) for row in rows], schema=FAULTS)


def test_quarantine_names_file_and_row(tmp_path: Path, pieces: list[FilePiece]) -> None:
    quarantine = Quarantine(tmp_path / "out" / "q.parquet", 0.5)
    rows = [(1, 1, "event", "odd", "x"), (2, 0, "event", "odd", "y"), (0, 0, "", HALF_WRITTEN, "z")]
    assert quarantine.add_checked("event", 6, faults(*rows), pieces) == {"event odd": 2, HALF_WRITTEN: 1}
    quarantine.add(faults((0, 1, "itemid", "blank", "")), pieces)
    written = pq.read_table(quarantine.path).to_pylist()
    assert [(Path(row["file"]).name, row["row"], row["column"], row["value"]) for row in written] == [
        ("a.csv", 2, "event", "y"),
        ("b.csv", 2, "", "z"),
        ("b.csv", 5, "event", "x"),
        ("b.csv", 3, "itemid", ""),
    ]


def test_quarantine_without_rows_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    path.write_text("of an earlier run")
    assert Quarantine(path, 0.0).add_checked("event", 0, faults(), []) == {}
    assert not path.exists()


def test_too_many_bad_rows_are_an_error(tmp_path: Path, pieces: list[FilePiece]) -> None:
    quarantine = Quarantine(tmp_path / "q.parquet", 0.5)
    rows = [(1, 1, "event", "odd", "x"), (0, 0, "event", "odd", "y"), (0, 1, "itemid", "blank", "")]
    with pytest.raises(DataError) as caught:
        quarantine.add_checked("event", 5, faults(*rows), pieces)
    assert str(caught.value) == (
        "3 of 5 event rows (60.00%) are unusable, more than data.max_bad_fraction = 50.00% allows; "
        f"event odd: 2, first in {pieces[0].file.address} row 2: 'y'; "
        f"itemid blank: 1, first in {pieces[0].file.address} row 3: ''; all are listed in {quarantine.path}"
    )
    assert pq.read_metadata(quarantine.path).num_rows == 3
