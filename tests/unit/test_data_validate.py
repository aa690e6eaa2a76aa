from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.items import encode_properties
from recsys.data.layout.ids import INEXACT, integers
from recsys.data.layout.rules import EventNames, EventRules, PropertyRules, TreeRules, WideNames
from recsys.data.layout.types import words_of
from recsys.data.layout.where import parse_condition
from recsys.data.quarantine import Quarantine
from recsys.data.readers.base import HALF_WRITTEN, BrokenLine, Chunk, FilePiece
from recsys.data.validate import (
    EVENT_ROWS,
    FAULTS,
    NO_AVAILABILITY,
    NO_MEANING,
    PROPERTY_ROWS,
    as_ids,
    check_events,
    check_properties,
    check_tree,
)
from recsys.errors import DataError
from recsys.ids import Ids
from recsys.schema import AVAILABLE, CART, CATEGORY, DAY, PURCHASE
from recsys.storage.filesystem import file_at

NOW = 1_600_000_000_000
T = "1500000000000"
RULES = EventRules()
EVENT_COLUMNS = RULES.columns
PROPERTIES = PropertyRules()
PROPERTY_COLUMNS = PROPERTIES.columns
TREE_COLUMNS = TreeRules().columns


def chunk_of(columns: tuple[str, ...], *rows: tuple[str, ...], broken: tuple[int, ...] = ()) -> Chunk:
    texts = [[row[column] for row in rows] for column in range(len(columns))]
    table = pa.table([pa.array(column, pa.string()) for column in texts], names=list(columns))
    return Chunk(table, np.arange(len(rows)), [BrokenLine(row, "text", HALF_WRITTEN) for row in broken])


def faults_of(table: pa.Table) -> list[tuple[int, str, str, str]]:
    rows = [row for row in table.to_pylist() if row["reason"] is not None]
    return [(row["row"], row["column"], row["reason"], row["text"]) for row in rows]


def test_a_good_event() -> None:
    table = check_events(chunk_of(EVENT_COLUMNS, (T, "u", "addtocart", "i", "t")), 3, NOW, RULES)
    assert table.schema.equals(EVENT_ROWS)
    event, count = table.to_pylist()
    assert event == {
        "piece": 3,
        "row": 0,
        "column": None,
        "reason": None,
        "text": None,
        "timestamp": int(T),
        "visitorid": "u",
        "event": CART,
        "itemid": "i",
        "transactionid": "t",
    }
    assert {name: value for name, value in count.items() if value is not None} == {
        "piece": 3,
        "row": 1,
        "column": "word",
        "text": "addtocart",
    }


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (("soon", "u", "view", "i", ""), "timestamp", "not a number of milliseconds"),
        (("", "u", "view", "i", ""), "timestamp", "blank"),
        (("NaT", "u", "view", "i", ""), "timestamp", "blank"),
        (("1500000000", "u", "view", "i", ""), "timestamp", "in seconds, where the others are in milliseconds"),
        (("0", "u", "view", "i", ""), "timestamp", "not positive"),
        (("-5", "u", "view", "i", ""), "timestamp", "not positive"),
        (("5", "u", "view", "i", ""), "timestamp", "before 1980"),
        ((str(NOW + DAY + 1), "u", "view", "i", ""), "timestamp", "later than the run's clock plus a day"),
        ((T, "u", "swipe", "i", ""), "event", NO_MEANING),
        ((T, "u", "", "i", ""), "event", "blank"),
        ((T, "", "view", "i", ""), "visitorid", "blank"),
        ((T, " null ", "view", "i", ""), "visitorid", "blank"),
        ((T, "undefined", "view", "i", ""), "visitorid", "blank"),
        ((T, "u", "view", "NaN", ""), "itemid", "blank"),
        ((T, "u", "view", "\\N", ""), "itemid", "blank"),
        ((T, "1.5e+18", "view", "i", ""), "visitorid", INEXACT),
    ],
)
def test_a_bad_event(row: tuple[str, ...], column: str, reason: str) -> None:
    good = (T, "u", "view", "i", "")
    table = check_events(chunk_of(EVENT_COLUMNS, good, row, good), 0, NOW, RULES)
    text = row[EVENT_COLUMNS.index(column)]
    assert faults_of(table) == [(1, column, reason, text)]
    assert good_rows(table) == [0, 2]


def good_rows(table: pa.Table) -> list[int]:
    return [row["row"] for row in table.to_pylist() if row["column"] is None]


def test_the_limits_of_time_are_good() -> None:
    rows = [(str(time), "u", "view", "i", "") for time in (315_532_800_000, NOW + DAY)]
    assert faults_of(check_events(chunk_of(EVENT_COLUMNS, *rows), 0, NOW, RULES)) == []


def test_a_row_has_one_fault_and_lines_have_theirs() -> None:
    chunk = chunk_of(EVENT_COLUMNS, ("x", "", "swipe", "", ""), broken=(7,))
    assert faults_of(check_events(chunk, 0, NOW, RULES)) == [
        (0, "timestamp", "not a number of milliseconds", "x"),
        (7, "", HALF_WRITTEN, "text"),
    ]


def test_blank_transaction_ids_are_alike() -> None:
    rows = [(T, "u", "transaction", "i", text) for text in ("", "nan", " ", "7")]
    table = check_events(chunk_of(EVENT_COLUMNS, *rows), 0, NOW, RULES)
    assert table["transactionid"].to_pylist()[:4] == ["", "", "", "7"]


def test_rows_that_are_left_out_have_no_fault_and_are_counted() -> None:
    rules = EventRules(
        names=EventNames("who", "what", "when", "did", None),
        words=words_of({"swipe": "ignore"}),
        where=(parse_condition("pieces > 0"),),
    )
    assert rules.columns == ("when", "who", "did", "what", "pieces")
    rows = [
        (T, "u", "swipe", "", "1"),
        (T, "u", "buy", "i", "-1"),
        (T, "u", "buy", "7.0", "1"),
        (T, "u", "pv", "i", "2"),
    ]
    table = check_events(chunk_of(rules.columns, *rows), 0, NOW, rules)
    assert faults_of(table) == []
    assert good_rows(table) == [2, 3]
    assert table["itemid"].to_pylist()[:2] == ["7", "i"]
    counts = {(row["column"], row["text"]): row["row"] for row in table.to_pylist() if row["column"] is not None}
    assert counts == {("where", ""): 1, ("word", "swipe"): 1, ("word", "buy"): 1, ("word", "pv"): 1}


def test_a_log_without_a_column_of_types_is_all_of_one() -> None:
    rules = EventRules(names=EventNames(event=None, order=None), words=words_of("transaction"))
    table = check_events(chunk_of(rules.columns, (T, "u", "i")), 0, NOW, rules)
    assert (table["event"].to_pylist(), table["transactionid"].to_pylist()) == ([PURCHASE], [""])


def test_properties() -> None:
    rows = [
        (T, "1", "categoryid", "9.0"),
        (T, "1", "888", "n7"),
        (T, "1.0", "available", "True"),
        (T, "1", "available", "maybe"),
        (T, "1", "categoryid", ""),
        (T, "", "categoryid", "9"),
        ("0", "1", "available", "0"),
        ("-1", "1", "available", "0"),
        ("x", "", "790", "n9"),
    ]
    chunk = chunk_of(PROPERTY_COLUMNS, *rows, broken=(9,))
    table = check_properties(chunk, 0, NOW, PROPERTIES)
    assert table.schema.equals(PROPERTY_ROWS)
    assert sorted(faults_of(table)) == [
        (3, "available", NO_AVAILABILITY, "maybe"),
        (5, "itemid", "blank", ""),
        (7, "timestamp", "not positive", "-1"),
        (9, "", HALF_WRITTEN, "text"),
    ]
    usable = [row for row in table.to_pylist() if row["reason"] is None]
    values = [(row["row"], row["timestamp"], row["itemid"], row["property"], row["value"]) for row in usable]
    assert sorted(values[:-1]) == [
        (0, int(T), "1", "categoryid", "9"),
        (2, int(T), "1", "available", "1"),
        (4, int(T), "1", "categoryid", None),
        (6, 0, "1", "available", "0"),
    ]
    assert (values[-1][2], usable[-1]["rows"]) == (None, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("True", "1"), ("yes", "1"), ("1.0", "1"), ("F", "0"), ("no", "0")),
        *(("3", "1"), ("1,250", "1"), ("0", "0"), ("0.0", "0"), ("-2", "0")),
        *(("in_stock", "1"), ("In Stock", "1"), ("pre-order", "1"), ("backorder", "1"), ("out_of_stock", "0")),
        *(("https://schema.org/InStock", "1"), ("http://schema.org/SoldOut/", "0"), ("discontinued", "0")),
    ],
)
def test_texts_of_an_availability(text: str, value: str) -> None:
    table = check_properties(chunk_of(PROPERTY_COLUMNS, (T, "1", "available", text)), 0, NOW, PROPERTIES)
    assert table["value"].to_pylist()[0] == value


def test_a_row_for_each_item() -> None:
    rules = PropertyRules(wide=WideNames("sku", None, {CATEGORY: "group", AVAILABLE: "in_stock"}))
    rows = [("A", "tea", "true"), ("B", "", "no"), ("C", "tea", ""), ("", "tea", "1")]
    table = check_properties(chunk_of(rules.columns, *rows), 0, NOW, rules)
    usable = [row for row in table.to_pylist() if row["itemid"] is not None]
    assert [(row["timestamp"], row["itemid"], row["property"], row["value"]) for row in usable] == [
        (0, "A", "categoryid", "tea"),
        (0, "C", "categoryid", "tea"),
        (0, "A", "available", "1"),
        (0, "B", "available", "0"),
    ]
    assert [fault[:3] for fault in faults_of(table)] == [(3, "sku", "blank")]  # once, though it has two properties


def test_a_row_of_many_properties_counts_once() -> None:
    names = {f"attribute:n{number}": f"n{number}" for number in range(11)}
    rules = PropertyRules(wide=WideNames("sku", None, names))
    rows = [(str(item), *"12345678901") for item in range(275)]
    block = check_properties(chunk_of(rules.columns, *rows, broken=range(275, 300)), 0, NOW, rules)
    encoded = encode_properties(block, Ids.from_values(pa.array(range(275))), wide=True)
    assert (encoded.rows, len(encoded.faults), encoded.read) == (300, 25, 275 * 11 + 25)


def test_tree() -> None:
    chunk = chunk_of(TREE_COLUMNS, ("1.0", ""), ("2", "1.0"), ("", "1"))
    table, faults = check_tree(chunk, 0, TreeRules())
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
        f"itemid blank: 1, first in {pieces[0].file.address} row 3: ''; all are listed in {quarantine.path}; "
        "recsys inspect writes settings that leave rows out"
    )
    assert pq.read_metadata(quarantine.path).num_rows == 3
