"""What an inspection tells of shops whose exports have blank columns, lists of items, or several tables."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from recsys.config import TrainConfig, parse_config
from recsys.data.ingest import check_layout
from recsys.data.inspect import UNREAD, Inspection, inspect, summarize, would_stop
from recsys.data.layout.describe import describe
from recsys.data.layout.model import Layout
from recsys.data.layout.nested import is_nested, types_without_items
from recsys.data.layout.rules import Blanks
from recsys.data.quarantine import Checked, ReasonCount
from recsys.data.sources import resolve
from recsys.data.suggest import suggest, would_train
from recsys.data.validate import NO_MEANING
from recsys.errors import ConfigError, DataError
from recsys.report.inspection import inside, show_inspection
from recsys.schema import CART, PURCHASE, VIEW

NOW = 1_800_000_000_000
TIMES = [f"2020-01-{1 + day % 28:02d}T00:00:00Z" for day in range(100)]


def layout_of(folder: Path, settings: Any = None) -> Layout:
    data = parse_config(TrainConfig, settings or {}).data
    return describe(resolve(str(folder), folder / "work"), data.events, data.items, data.properties)


def write(folder: Path, **tables: str) -> Path:
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps({"time": time, **row}) + "\n" for time, row in zip(TIMES, rows, strict=True))
    (folder / "events.jsonl").write_text(text)
    return folder


def unclear(folder: Path) -> tuple[Inspection, dict[str, Any]]:
    """The inspection of a source that leaves something open, and the settings that it proposes."""
    config = parse_config(TrainConfig, {}).data
    inspection = inspect(resolve(str(folder), folder / "work"), config, NOW)
    text = suggest(inspection, config)
    parse_config(TrainConfig, yaml.safe_load(text))
    return inspection, yaml.safe_load(text)["data"]


@pytest.mark.parametrize(
    ("blanks", "user"),
    [({"user_id": 3, "user_pseudo_id": 1000}, "user_pseudo_id"), ({"userId": 4, "anonymousId": 1000}, "anonymousId")],
)
def test_a_column_that_is_never_blank_goes_before_one_that_often_is(
    tmp_path: Path, blanks: dict[str, int], user: str
) -> None:
    names = [f"{','.join(blanks)},sku,time\n"]
    for row, time in enumerate(TIMES):
        users = [str(row) if (row + 1) % each else "" for each in blanks.values()]
        names.append(f"{','.join(users)},{row % 5},{time}\n")
    write(tmp_path, events="".join(names))
    layout = layout_of(tmp_path)
    assert layout.columns["user"] == user


def test_other_columns_for_an_id_are_named(tmp_path: Path) -> None:
    rows = [f"{row if row % 4 else ''},d{row},{row % 5},s,{time}\n" for row, time in enumerate(TIMES)]
    layout = layout_of(write(tmp_path, events="".join(["user_id,user_pseudo_id,product_id,sku,time\n", *rows])))
    config = parse_config(TrainConfig, {}).data
    text = suggest(Inspection(layout, summarize(layout, Blanks()), ()), config)
    assert "# user: user_pseudo_id is 0% blank; others: user_id (25% blank)" in text
    assert "# item: product_id is 0% blank; others: sku (0% blank)" in text


def test_blanks_of_items_say_little_about_their_column(tmp_path: Path) -> None:
    rows = [f"u{row},{row if row % 3 else ''},page{row},{time}\n" for row, time in enumerate(TIMES)]
    layout = layout_of(write(tmp_path, events="".join(["user_id,product_id,content_id,time\n", *rows])))
    assert layout.columns["item"] == "product_id"
    empty = [f"u{row},,page{row},{time}\n" for row, time in enumerate(TIMES)]
    layout = layout_of(write(tmp_path, events="".join(["user_id,product_id,content_id,time\n", *empty])))
    assert layout.columns["item"] == "content_id"


def test_lists_of_items_are_no_ids(tmp_path: Path) -> None:
    rows = [{"user_id": f"u{row}", "event": "view", "items": [{"item_id": row, "price": 1}]} for row in range(100)]
    inspection, data = unclear(lines(tmp_path, rows))
    [point] = inspection.unclear
    assert (point.setting, point.choices) == ("", ())
    assert "column 'items' holds lists of items (item_id); write one row for each item first" in point.problem
    assert data["events"]["columns"] == {"user": "user_id", "time": "time", "event": "event"}
    purposes = {column.name: column.purpose for column in inspection.tables[0].columns}
    assert purposes == {"time": "time", "user_id": "user", "event": "event", "items": ""}
    kinds = {column.name: column.kind for column in inspection.tables[0].columns}
    assert kinds["items"] == "list"
    with pytest.raises(DataError, match=r"column 'items' .* holds lists or objects, which are no ids"):
        layout_of(tmp_path, {"data": {"events": {"columns": {"item": "items"}}}})


def test_lists_are_not_offered_as_a_column(tmp_path: Path) -> None:
    rows = [{"user_id": f"u{row}", "thing": f"t{row}", "tags": ["a", "b"]} for row in range(100)]
    inspection, _ = unclear(lines(tmp_path, rows))
    assert inspection.unclear[0].choices == ("time", "user_id", "thing")


@pytest.mark.parametrize(
    ("texts", "nested"),
    [(["[1]", "[]", ""], True), (['{"a": 1}'], True), (["[]", "{}", ""], False), (["[sale]", "[x"], False)],
)
def test_lists_and_objects(texts: list[str], nested: bool) -> None:
    assert is_nested(pa.array(texts)) == nested


def test_a_type_of_event_whose_rows_lack_an_item_is_named(tmp_path: Path) -> None:
    def row(number: int) -> dict[str, Any]:
        if number % 4:
            return {"user_id": "u", "event": "Product Viewed", "properties": {"product_id": f"p{number % 7}"}}
        products = [{"product_id": f"p{number % 7}", "quantity": 1}]
        return {"user_id": "u", "event": "Order Completed", "properties": {"products": products}}

    layout = layout_of(lines(tmp_path, [row(number) for number in range(100)]))
    assert layout.events is not None
    assert layout.roles.events is not None
    [sentence] = types_without_items(layout.roles.events.head.rows, layout.events.rules)
    assert sentence.startswith(
        "every row of 'Order Completed' (transaction) lacks properties.product_id: column 'properties.products' holds "
        "lists of items (product_id); write one row for each item first"
    )
    config = parse_config(TrainConfig, {}).data
    assert f"# {sentence}" in suggest(Inspection(layout, (), (), without_items=(sentence,)), config)


def test_general_words_are_ignored_where_their_rows_have_no_item(tmp_path: Path) -> None:
    def codes(words: list[str], settings: Any = None) -> list[int]:
        turns = [words[row % len(words)] for row in range(len(TIMES))]
        items = [row % 5 if word != "page_view" or row < 3 else "" for row, word in enumerate(turns)]
        rows = [f"u{row},{items[row]},{turns[row]},{time}\n" for row, time in enumerate(TIMES)]
        layout = layout_of(write(tmp_path, events="".join(["user_id,item_id,event,time\n", *rows])), settings)
        assert layout.events is not None
        return [layout.events.rules.words.code(word) for word in words]

    assert codes(["page_view", "view_item", "add_to_cart", "purchase"]) == [-2, VIEW, CART, PURCHASE]
    assert codes(["click", "add_to_cart", "purchase"]) == [VIEW, CART, PURCHASE]
    assert codes(["view", "checkout", "purchase"]) == [VIEW, -2, PURCHASE]
    assert codes(["view", "checkout"]) == [VIEW, -1]
    stated = {"data": {"events": {"types": {"page_view": "view", "checkout": "transaction"}}}}
    assert codes(["page_view", "checkout", "purchase"], stated) == [VIEW, PURCHASE, PURCHASE]
    assert codes(["Product List Viewed", "Checkout Started", "checkout step"]) == [-2, -2, -2]


def test_tables_that_have_to_be_joined_are_named(tmp_path: Path) -> None:
    orders = "order_id,customer_id,order_purchase_timestamp\no1,c1,2020-01-01\n"
    for name in ("olist_orders_dataset", "orders"):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, **{name: orders, "order_items": "order_id,product_id,price\no1,p1,2\n"})
        [point] = unclear(folder)[0].unclear
        assert (point.setting, point.choices) == ("", ())
        assert "join " in point.problem
        assert "by order_id first, see 'What has to be converted first'" in point.problem
    with pytest.raises(DataError, match=r"by order_id first, see [^;]*$"):
        check_layout(resolve(str(folder), tmp_path), parse_config(TrainConfig, {}).data)


def test_dates_are_no_categories(tmp_path: Path) -> None:
    rows = "".join(f"{row},2020-01-{1 + row % 28:02d}T10:00:00.000,{row % 3}x\n" for row in range(100))
    events = "".join(f"u,{row % 5},{time}\n" for row, time in enumerate(TIMES))
    layout = layout_of(write(tmp_path, events=f"user,item,time\n{events}", items=f"item,created_at,brand\n{rows}"))
    assert [one.column for one in layout.properties[0].attributes.values()] == ["brand"]


def test_a_table_of_items_that_cannot_be_read_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ratings.dat").write_text("4::37::2::956649900\n4::44::2::956649911\n")
    (tmp_path / "movies.dat").write_bytes("1::Amélie::Drama\n".encode("cp1252"))
    show_inspection(unclear(tmp_path)[0], None)
    text = " ".join(capfd.readouterr().out.split())
    assert "not read: movies: " in text
    assert "set data.events.encoding or data.items.encoding" in text


def test_the_header_of_items_is_that_of_their_files_alone(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("4::37::2::956649900\n4::44::2::956649911\n")
    (tmp_path / "movies.dat").write_text("1::Ran::Drama\n")
    (tmp_path / "users.dat").write_text("1::F::1::1\n")
    settings = {
        "events": {"files": "ratings.dat", "header": ["user", "item", "rating", "time"]},
        "items": {"files": "movies.dat", "header": ["item", "title", "genres"]},
    }
    [text] = layout_of(tmp_path, {"data": settings}).passed_over
    assert text == "users (1::F::1::1)"


def test_where_training_would_stop() -> None:
    few = Checked("item property", 1000, (ReasonCount("price odd", 5, "items.csv", 2, ""),))
    many = Checked("event", 1000, (ReasonCount("user blank", 50, "events.csv", 2, ""),))
    assert would_stop([few], {}, 0.01) == ""
    assert would_stop([many, few], {}, 0.01).startswith("50 of 1,000 event rows (5.00%) are unusable, more than data.")
    assert would_stop([many], {"swipe": 40}, 0.01).startswith(
        "40 of 1,000 event rows have an event type without a meaning: 'swipe' 40; set data.events.types to"
    )
    assert would_stop([many], {"swipe": 4}, 0.1) == ""


def test_whether_the_proposed_settings_would_train(tmp_path: Path) -> None:
    write(tmp_path, events="user,item,time\nu,i,2020-01-01\n")
    layout, config = layout_of(tmp_path), parse_config(TrainConfig, {}).data

    def trains(**rows: int) -> bool:
        counts = tuple(ReasonCount(name.replace("_", " "), n, "events.csv", 2, "") for name, n in rows.items())
        return would_train(Inspection(layout, (), (), None, "", counts, (Checked("event", 100, counts),)), config)

    assert trains(user_blank=30)
    assert trains(user_blank=30, time_odd=1)
    assert not trains(user_blank=30, time_odd=3)
    assert not would_train(Inspection(layout, (), (), None, "no usable event among 3 rows"), config)


def test_one_fault_has_one_question(tmp_path: Path) -> None:
    write(tmp_path, events="user,item,time,event\nu,i,2020-01-01,swipe\n")
    counts = (ReasonCount(f"event {NO_MEANING}", 40, "events.csv", 2, "swipe"),)
    config = parse_config(TrainConfig, {}).data
    layout = describe(resolve(str(tmp_path), tmp_path), config.events, config.items, config.properties)
    checked = (Checked("event", 100, counts),)
    text = suggest(Inspection(layout, (), (), None, "", counts, checked, {"swipe": 40}), config)
    assert "# swipe: view | addtocart | transaction | ignore   (40 rows; choose one)" in text
    assert "max_bad_fraction" not in text


def test_files_are_named_inside_their_source() -> None:
    assert inside("/data/shop/dt=2024-01-01/0.parquet", "/data/shop") == "dt=2024-01-01/0.parquet"
    assert inside("s3://bucket/shop/a.csv", "s3://bucket/shop/") == "a.csv"
    assert inside("/data/shop.csv", "/data/shop.csv") == "shop.csv"
    assert inside("/data/2019-Oct.csv", "/data/2019-*.csv") == "2019-Oct.csv"


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"a": "purchase"}, "a: purchase; expected view, addtocart, transaction or ignore for each word"),
        ("purchase", "expected view or addtocart or transaction, or a mapping such as {buy: transaction}"),
    ],
)
def test_a_wrong_type_is_told_in_one_line(types: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(TrainConfig, {"data": {"events": {"types": types}}})
    assert message in str(caught.value)
    assert str(caught.value).count("setting ") == 1


def test_orders_of_shop_systems_without_a_sale(tmp_path: Path) -> None:
    words = ["wc-completed", "wc-cancelled", "wc-refunded", "wc-failed"]
    rows = [f"u{row},{row % 5},{time},{words[row % 4]},{row % 3}\n" for row, time in enumerate(TIMES)]
    header = "Email (Billing),SKU,Order Date,Order Status,Lineitem quantity\n"
    layout = layout_of(write(tmp_path, orders="".join([header, *rows])))
    text = suggest(Inspection(layout, summarize(layout, Blanks()), ()), parse_config(TrainConfig, {}).data)
    assert yaml.safe_load(text)["data"]["events"]["where"] == [
        *(f"Order Status != {word}" for word in sorted(words[1:])),
        "Lineitem quantity > 0",
    ]


def test_a_table_whose_rows_cannot_be_read_has_no_kinds(tmp_path: Path) -> None:
    rows = "".join(f"u{row},{row % 5},{time},größe\n" for row, time in enumerate(TIMES))
    (tmp_path / "events.csv").write_bytes(f"user,item,time,size\n{rows}".encode("cp1252"))
    [table] = summarize(layout_of(tmp_path), Blanks())
    assert {column.kind for column in table.columns} == {UNREAD}
