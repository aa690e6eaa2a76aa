"""Files in the shapes of public logs and of shop systems: their layout, and the rows that remain after the checks."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from recsys.config import TrainConfig, parse_config
from recsys.data.events import parse_events, survey_block
from recsys.data.ingest import DataConfig, check_layout
from recsys.data.layout.describe import describe
from recsys.data.layout.model import EventTable
from recsys.data.layout.rules import EventNames
from recsys.data.layout.strays import is_dates, usual_range
from recsys.data.layout.types import IGNORED
from recsys.data.reading import split_file
from recsys.data.sources import resolve
from recsys.data.validate import COLUMN, REASON
from recsys.errors import DataError
from recsys.schema import EVENT, EVENT_TYPES, ITEM, TIME, USER
from tests.support.public_shapes import SHAPES

NOW = 1_800_000_000_000


def settings_of(text: str) -> DataConfig:
    return parse_config(TrainConfig, yaml.safe_load(text) or {}).data


def rows_of(table: EventTable) -> pa.Table:
    """The checked rows of the log."""
    pieces = [piece for file in table.files for piece in split_file(file, table.rules.columns, table.dialect)]
    parts = [part for number, piece in enumerate(pieces) for part in parse_events(piece, number, NOW, table.rules)]
    return pa.concat_tables(parts)


@pytest.mark.parametrize("name", SHAPES)
def test_the_layout_and_the_rows_are_those_of_the_shop(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    expected = shape.write(tmp_path, 0)
    config, source = settings_of(shape.settings), resolve(str(tmp_path), tmp_path / "work")
    assert len(shape.settings.strip().splitlines()) <= 10
    check_layout(source, config)
    layout = describe(source, config.events, config.items, config.properties)
    table = layout.events
    assert table is not None
    assert not table.is_open
    assert (table.rules.names, str(table.rules.times).partition(",")[0]) == (expected.columns, expected.times)
    assert [text.partition(" ")[0].rstrip(":") for text in layout.passed_over] == list(expected.not_read)
    rows = rows_of(table)
    survey = survey_block(rows, table.rules, config.events.ids)
    dates = is_dates(survey.days, *usual_range(survey.days))
    assert pc.all(pc.is_null(rows[REASON])).as_py()
    usable = rows.filter(pc.is_null(rows[COLUMN]))
    assert survey.usable == len(usable) == sum(expected.counts.values()) + expected.repeated
    assert (survey.left_out, dates) == (expected.left_out, name in ("receipts", "fashion", "orders"))
    assert sum(n for word, n in survey.words.items() if table.rules.words.code(word) == IGNORED) == expected.ignored
    if not expected.repeated:
        codes = Counter(EVENT_TYPES[code] for code in usable[EVENT].to_pylist())
        assert {event: codes[event] for event in EVENT_TYPES} == expected.counts
    assert (len(usable[USER].unique()), len(usable[ITEM].unique())) == (expected.users, expected.items)


@dataclass(frozen=True)
class Export:
    """A file of a shop system.

    columns, times: as in public_shapes.Expected; usable: number of its rows; first: the time of the first one
    """

    name: str
    content: bytes
    columns: EventNames
    times: str
    usable: int
    first: str
    settings: str = ""


SHOPIFY = """\
Name,Email,Financial Status,Paid at,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Id
#1001,ann@example.com,paid,2021-03-01 10:15:00 +0100,30.00,2021-03-01 10:15:00 +0100,1,"Tea, green",12.00,T-1,4001
#1001,ann@example.com,,,,2021-03-01 10:15:00 +0100,2,Cup,9.00,C-7,
#1002,bob@example.com,paid,2021-03-02 11:00:00 +0100,9.00,2021-03-02 11:00:00 +0100,1,Cup,9.00,C-7,4002
"""
WOO = """\
Order Number,Order Status,Order Date,Email (Billing),SKU,Item Name,Quantity (- Refund),Item Cost
10,Completed,2021-03-01 10:15,ann@example.com,T-1,"Tea, green",1,12
11,Cancelled,2021-03-02 11:00,bob@example.com,C-7,Cup,1,9
"""
ANALYTICS = [
    {"event_date": "20210301", "event_timestamp": 1614590100123456, "event_name": name,
     "user_pseudo_id": "10264.427111", "item": {"item_id": item, "item_name": "Tea"}}
    for name, item in (("view_item", "T-1"), ("session_start", None), ("purchase", "T-1"))
]  # fmt: skip
SNOWFLAKE = """\
"USER_ID","ITEM_ID","EVENT_TS","EVENT_TYPE"
"7","12","2021-03-01 10:15:00.123 -0800","VIEW"
"\\N","12","2021-03-01 10:16:00.000 -0800","ADD_TO_CART"
"""
SEMICOLON = """\
customer_id;article_id;order_date;quantity;unit_price
7;12;31.12.2023 14:05;1,00;12,50
8;12;01.02.2023 14:05;-1,00;12,50
"""
SPREADSHEET = "Customer ID\tProduct ID\tOrder Date\tSize\r\n7\t12\t31/12/2023 14:05\tgroß\r\n"
EXPORTS = [
    Export("orders_export_1.csv", SHOPIFY.encode(), EventNames("Email", "Lineitem sku", "Created at", None, None),
           "year-month-day", 3, "2021-03-01T09:15:00"),
    Export("orders-2021-03-12.csv", WOO.encode(), EventNames("Email (Billing)", "SKU", "Order Date", None,
           "Order Number"), "year-month-day", 1, "2021-03-01T10:15:00", "where: Order Status != Cancelled"),
    Export("events_202103.jsonl", "\n".join(map(json.dumps, ANALYTICS)).encode(),
           EventNames("user_pseudo_id", "item.item_id", "event_timestamp", "event_name", None),
           "microseconds since 1970", 2, "2021-03-01T09:15:00.123"),
    Export("data_0_0_0.csv", SNOWFLAKE.encode(), EventNames("USER_ID", "ITEM_ID", "EVENT_TS", "EVENT_TYPE", None),
           "year-month-day", 1, "2021-03-01T18:15:00.123"),
    Export("sales.csv", SEMICOLON.encode(), EventNames("customer_id", "article_id", "order_date", None, None),
           "day/month/year", 1, "2023-12-31T14:05:00", "where: quantity > 0"),
    Export("log.csv", b"user,item,ts,action\nu1,7,1569888000.123,pv\n",
           EventNames("user", "item", "ts", "action", None), "seconds since 1970", 1, "2019-10-01T00:00:00.123"),
    Export("log.tsv", b"uid\tsku\tcreated_at\n1\t7\t1569888000123456\n",
           EventNames("uid", "sku", "created_at", None, None), "microseconds since 1970", 1, "2019-10-01T00:00:00.123"),
    Export("export.csv", SPREADSHEET.replace("\t", ",").encode("utf-8-sig"),
           EventNames("Customer ID", "Product ID", "Order Date", None, None), "day/month/year", 1,
           "2023-12-31T14:05:00"),
    Export("export.txt", SPREADSHEET.encode("utf-16"),
           EventNames("Customer ID", "Product ID", "Order Date", None, None), "day/month/year", 1,
           "2023-12-31T14:05:00", "encoding: utf-16"),
    Export("views.csv", b"sessionId;userId;itemId;timeframe;eventdate\n1;NA;9;5026;2016-05-09\n2;7;9;1;2016-05-10",
           EventNames("userId", "itemId", "eventdate", None, None), "year-month-day", 1, "2016-05-10T00:00:00"),
]  # fmt: skip


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.name)
def test_exports_of_shop_systems(tmp_path: Path, export: Export) -> None:
    (tmp_path / export.name).write_bytes(export.content)
    config = settings_of(f"data: {{events: {{{export.settings}}}}}" if export.settings else "")
    layout = describe(resolve(str(tmp_path), tmp_path / "work"), config.events, config.items, config.properties)
    assert layout.unclear == ()
    assert layout.events is not None
    rules = layout.events.rules
    assert (rules.names, str(rules.times).partition(",")[0]) == (export.columns, export.times)
    rows = rows_of(layout.events)
    usable = rows.filter(pc.is_null(rows[COLUMN]))
    assert len(usable) == export.usable
    assert np.datetime64(usable[TIME][0].as_py(), "ms") == np.datetime64(export.first, "ms")


def test_the_item_column_is_the_one_that_the_table_of_items_has(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("user_id,asin,parent_asin,timestamp\nu,B1,B0,1588687728923\n")
    (tmp_path / "meta.csv").write_text("parent_asin,title,price\nB0,Soap,2.5\n")
    config = settings_of("")
    layout = describe(resolve(str(tmp_path), tmp_path / "work"), config.events, config.items, config.properties)
    assert layout.events is not None
    assert layout.events.rules.names.item == "parent_asin"


def test_what_is_open_about_the_events_comes_before_an_unreadable_table_of_items(tmp_path: Path) -> None:
    SHAPES["ratings"].write(tmp_path, 0)
    source = resolve(str(tmp_path), tmp_path / "work")
    with pytest.raises(DataError, match=r"ratings\.dat: the first line has :: between its columns"):
        check_layout(source, settings_of(""))
    events = "files: ratings.dat, delimiter: '::', header: [UserID, MovieID, Rating, Timestamp]"
    with pytest.raises(DataError, match=r"movies\.dat: cannot be read .* set data\.events\.encoding or data\.items"):
        check_layout(source, settings_of(f"data: {{events: {{{events}}}}}"))


def test_a_file_in_another_encoding_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("user,item,time,größe\n1,2,2021-01-01,1\n".encode("cp1252"))
    source = resolve(str(tmp_path), tmp_path / "work")
    with pytest.raises(DataError, match=r"such as cp1252: set data.events.encoding or data.items.encoding"):
        check_layout(source, settings_of(""))
    check_layout(source, settings_of("data: {events: {encoding: cp1252}}"))
