"""The layout of files in the shapes of public logs, and of files that leave something open."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from recsys.config import TrainConfig, parse_config
from recsys.data.ingest import check_layout
from recsys.data.inspect import Inspection, inspect
from recsys.data.layout.describe import describe
from recsys.data.layout.model import Layout
from recsys.data.layout.unclear import UnclearError
from recsys.data.reading import read_piece, split_file
from recsys.data.sources import resolve
from recsys.data.suggest import suggest
from recsys.errors import DataError
from recsys.schema import AVAILABLE, CATEGORY, VIEW
from tests.support.public_shapes import SHAPES

NOW = 1_800_000_000_000


def layout_of(folder: Path, settings: Any = None) -> Layout:
    data = parse_config(TrainConfig, settings or {}).data
    return describe(resolve(str(folder), folder / "work"), data.events, data.items, data.properties)


def check(folder: Path, settings: Any = None) -> None:
    check_layout(resolve(str(folder), folder / "work"), parse_config(TrainConfig, settings or {}).data)


def write(folder: Path, **tables: str) -> Path:
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_tables_have_roles(tmp_path: Path) -> None:
    SHAPES["fashion"].write(tmp_path, 0)
    layout = layout_of(tmp_path)
    [articles] = layout.properties
    assert articles.rules.wide is not None
    assert articles.rules.wide.item == "article_id"
    properties = dict(articles.rules.wide.properties)
    assert (properties[CATEGORY], properties["attribute:prod_name"]) == ("product_type_name", "prod_name")
    [text] = layout.passed_over
    assert text.startswith("customers (customer_id, FN, age, postal_code)")


def test_files_of_the_same_columns_are_one_table(tmp_path: Path) -> None:
    SHAPES["cosmetics"].write(tmp_path, 0)
    layout = layout_of(tmp_path)
    assert layout.events is not None
    assert [file.name for file in layout.events.files] == ["2019-Dec.csv", "2019-Nov.csv", "2019-Oct.csv"]


def test_properties_and_tree_go_by_their_columns(tmp_path: Path) -> None:
    log = "user_id,item_id,ts\n1,2,1569888000\n"
    write(tmp_path, log=log, facts="item_id,attribute,value\n2,category_id,7\n", cats="category_id,parent_id\n7,\n")
    layout = layout_of(tmp_path, {"data": {"items": {"columns": {"category": "category_id"}}}})
    [facts] = layout.properties
    assert (facts.rules.names.property, facts.rules.names.time) == ("attribute", None)
    assert facts.rules.spelled == {CATEGORY: "category_id", AVAILABLE: "available"}
    assert layout.tree is not None
    assert layout.tree.rules.columns == ("category_id", "parent_id")


@pytest.mark.parametrize(
    ("columns", "purpose"), [("a,item,time", "user"), ("user,b,time", "item"), ("user,item,c", "time")]
)
def test_an_unknown_column_names_the_command(tmp_path: Path, columns: str, purpose: str) -> None:
    write(tmp_path, events=f"{columns}\n1,2,1569888000000\n")
    message = rf"no column for the {purpose} among .*; set data\.events\.columns\.{purpose}, or run: recsys inspect"
    with pytest.raises(UnclearError, match=rf"{message} --data {tmp_path}$"):
        check(tmp_path)
    [unknown] = {"a", "b", "c"} & set(columns.split(","))
    check(tmp_path, {"data": {"events": {"columns": {purpose: unknown}}}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"user": "who"}}, r"column 'who' is missing \(data\.events\.columns\.user\); columns found: user"),
        ({"where": "Quantity > 0"}, r"column 'Quantity' is missing \(data\.events\.where: Quantity > 0\)"),
        ({"files": "x*.csv"}, r"data\.events\.files: no file matches x\*\.csv; files: log\.csv"),
    ],
)
def test_settings_that_fit_no_file(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    write(tmp_path, log="user,item,time\n1,2,1569888000000\n")
    with pytest.raises(DataError, match=message):
        check(tmp_path, {"data": {"events": settings}})


def test_item_columns_that_fit_no_file(tmp_path: Path) -> None:
    SHAPES["fashion"].write(tmp_path, 0)
    with pytest.raises(DataError, match=r"column 'shelf' is missing \(data\.items\.columns\.category\)"):
        check(tmp_path, {"data": {"items": {"columns": {"category": "shelf"}}}})
    layout = layout_of(tmp_path, {"data": {"items": {"columns": {"category": "prod_name"}}}})
    purposes = layout.properties[0].rules.purposes
    assert (purposes["article_id"], purposes["prod_name"]) == ("item", "category")


def test_several_logs_are_a_question(tmp_path: Path) -> None:
    row = "1,2,1569888000000\n"
    write(tmp_path, web=f"user,item,time\n{row}", shop=f"customer,item,date\n{row}")
    with pytest.raises(UnclearError, match=r"several tables have a user, an item and a time: shop\.csv, web\.csv"):
        check(tmp_path)
    check(tmp_path, {"data": {"events": {"files": "web.csv"}}})


def test_logs_of_the_same_columns_are_one_if_a_column_tells_the_type(tmp_path: Path) -> None:
    write(tmp_path, web="user,item,time\n1,2,1569888000000\n", shop="user,item,time\n1,2,1569888000000\n")
    with pytest.raises(UnclearError, match=r"several tables"):
        check(tmp_path)
    write(
        tmp_path,
        web="user,item,time,event\n1,2,1569888000000,pv\n",
        shop="event,user,item,time\nbuy,1,2,1569888000000\n",
    )
    layout = layout_of(tmp_path)
    assert layout.events is not None
    assert [file.name for file in layout.events.files] == ["shop.csv", "web.csv"]


VIEWS = "user,item,time,page\n1,2,1569888000000,home\n"
BUYS = "price,user,item,time,order_id\n9.5,1,2,1569888000000,77\n"


@pytest.mark.parametrize(
    ("tables", "types", "words"),
    [
        ({"views": VIEWS, "orders": BUYS}, None, ["orders", "views"]),
        ({"train-item-views": VIEWS, "train-purchases": BUYS}, None, ["views", "purchases"]),
        ({"AddToCart": VIEWS, "yoochoose-buys": BUYS}, None, ["AddToCart", "buys"]),
        ({"listens": VIEWS, "orders": BUYS}, {"listens": "view"}, ["listens", "orders"]),
    ],
)
def test_a_table_for_each_type_of_event(
    tmp_path: Path, tables: dict[str, str], types: dict[str, str] | None, words: list[str]
) -> None:
    """The name of the table tells the type; a column that one table lacks is blank."""
    write(tmp_path, **tables, cart_removals=VIEWS)
    for files in ({}, {"files": "*.csv"}):
        layout = layout_of(tmp_path, {"data": {"events": {"types": types, **files}}})
        assert layout.events is not None
        names = layout.events.rules.names
        assert (names.event, names.order) == ("event", "order_id")
        pieces = [piece for file in layout.events.files for piece in split_file(file, layout.events.rules.columns)]
        rows = [chunk.columns.to_pylist() for piece in pieces for chunk in read_piece(piece, names.by_purpose.values())]
        assert [row["event"] for [row] in rows] == words
        assert sorted(row["order_id"] for [row] in rows) == ["", "77"]
        assert layout.passed_over == ("cart_removals: its events do not count",)


def test_tables_whose_names_tell_no_type_are_a_question(tmp_path: Path) -> None:
    write(tmp_path, views=VIEWS, listens=VIEWS)
    with pytest.raises(UnclearError, match=r"several tables .* data\.events\.types may map their names to types"):
        check(tmp_path)
    check(tmp_path, {"data": {"events": {"types": {"listens": "view"}}}})


@pytest.mark.parametrize("other", ["events.parquet", "events/a.csv"])
def test_events_twice_are_a_question(tmp_path: Path, other: str) -> None:
    SHAPES["retailrocket"].write(tmp_path, 0)
    (tmp_path / other).parent.mkdir(exist_ok=True)
    rows = pl.read_csv(tmp_path / "events.csv")
    rows.write_csv(tmp_path / other) if other.endswith("csv") else rows.write_parquet(tmp_path / other)
    with pytest.raises(UnclearError, match=rf"expected events once, found .*events\.csv, .*{other}"):
        check(tmp_path)
    check(tmp_path, {"data": {"events": {"files": "events.csv"}}})


def test_two_category_trees_are_an_error(tmp_path: Path) -> None:
    SHAPES["retailrocket"].write(tmp_path, 0)
    pl.read_csv(tmp_path / "category_tree.csv").write_parquet(tmp_path / "category_tree.parquet")
    with pytest.raises(DataError, match=r"expected category_tree once, found .*tree\.csv, .*tree\.parquet"):
        check(tmp_path)


def test_two_spellings_are_a_question(tmp_path: Path) -> None:
    write(tmp_path, log="user_id,userId,item,time\n1,1,2,1569888000000\n")
    with pytest.raises(UnclearError, match=r"several columns for the user: user_id, userId"):
        check(tmp_path)


def test_no_table_of_events(tmp_path: Path) -> None:
    write(tmp_path, users="user_id,age\n1,2\n", items="item_id,price\n1,2\n")
    with pytest.raises(UnclearError, match=r"no events: no table has .*items: item_id, price; users: user_id, age"):
        check(tmp_path)


def test_a_column_type_counts_if_its_words_are_known(tmp_path: Path) -> None:
    layout = layout_of(write(tmp_path, log="user,item,time,type\n1,2,1569888000000,view\n1,2,1569888000000,buy\n"))
    assert layout.events is not None
    assert layout.events.rules.names.event == "type"
    other = layout_of(write(tmp_path, log="user,item,time,type\n1,2,1569888000000,web\n1,2,1569888000000,app\n"))
    assert other.events is not None
    assert (other.events.rules.names.event, other.events.rules.words.every) == (None, VIEW)


def inspected(folder: Path) -> tuple[Inspection, str]:
    """The inspection of files that are unclear; it needs no Ray then."""
    data = parse_config(TrainConfig, {}).data
    inspection = inspect(resolve(str(folder), folder / "work"), data, NOW)
    return inspection, suggest(inspection, data)


def test_the_settings_hold_the_forms_of_times_as_choices(tmp_path: Path) -> None:
    write(tmp_path, log="user,item,time\n1,2,13/2/2020\n1,2,2/13/2020\n")
    _, text = inspected(tmp_path)
    assert "      user: user" in text.splitlines()
    assert "    # time_format: day/month/year" in text.splitlines()
    assert "mixes dates" in text


def test_the_settings_hold_a_question_as_a_comment(tmp_path: Path) -> None:
    write(tmp_path, log="who,what,time\n1,2,1569888000000\n")
    inspection, text = inspected(tmp_path)
    assert [unclear.setting for unclear in inspection.unclear] == [
        "data.events.columns.user",
        "data.events.columns.item",
    ]
    assert "      # user: who" in text.splitlines()
    assert "      # item: what" in text.splitlines()
    parse_config(TrainConfig, yaml.safe_load(text))
    answered = text.replace("# user: who", "user: who").replace("# item: what", "item: what")
    check(tmp_path, yaml.safe_load(answered))


def test_a_file_without_a_header_is_a_question(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    _, text = inspected(tmp_path)
    assert "the first line has :: between its columns" in text
    assert "looks like a row, not like a header: 1, 1193, 5, 978300760" in text
    answered = text.replace("# delimiter:", "delimiter:").replace("# header: [", "header: [")
    for place, name in enumerate(("user", "item", "rating", "time"), 1):
        answered = answered.replace(f"column {place}", name)
    check(tmp_path, yaml.safe_load(answered))


def test_inspection_shows_the_columns(tmp_path: Path) -> None:
    write(tmp_path, log="who,item,time,note\n1,a,2019-10-01,\n2,a,2019-10-01,null\n2,b,2019-10-02,x y\n")
    inspection, _ = inspected(tmp_path)
    [table] = inspection.tables
    assert (table.name, table.role, table.files) == ("log", "events", 1)
    assert [(column.name, column.kind, round(column.blank, 2), column.examples) for column in table.columns] == [
        ("who", "integer", 0.0, ("1", "2")),
        ("item", "text", 0.0, ("a", "b")),
        ("time", "time", 0.0, ("2019-10-01", "2019-10-02")),
        ("note", "text", 0.67, ("x y",)),
    ]
