"""Attributes read from the tables of a shop: which columns they are, their rows, and what is left out."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.attributes import Attributes, AttributeSpec, Kind, Labels, Numbers, feature_names
from recsys.data.category_paths import tree_of_paths
from recsys.data.ingest import DataConfig
from recsys.data.inspect import summarize
from recsys.data.item_attributes import NO_VALUE, build_attributes, described
from recsys.data.layout.attributes import AttributeColumn, declared, plain_names
from recsys.data.layout.describe import describe
from recsys.data.layout.keys import PREFIX
from recsys.data.layout.model import PropertyTable
from recsys.data.layout.rules import Blanks
from recsys.data.reading import read_piece, split_file
from recsys.data.sources import resolve
from recsys.data.validate import check_properties
from recsys.features.definitions import attribute_features
from recsys.schema import AVAILABLE, CATEGORY, ITEM, LATEST, PROPERTY, TIME, VALUE

N = 100


def table(rows: list[tuple[int, int, str, str]]) -> pa.Table:
    """Rows (item, time, name, value)."""
    items, times, names, values = zip(*rows, strict=True)
    return pa.table(
        {
            ITEM: pa.array(items, pa.int32()),
            TIME: pa.array(times, pa.int64()),
            PROPERTY: pa.array([PREFIX + name for name in names]),
            VALUE: pa.array(values),
        }
    )


def columns(**kinds: Kind | None) -> dict[str, AttributeColumn]:
    return {PREFIX + name: AttributeColumn(name, name, kind) for name, kind in kinds.items()}


def built(most: int = 12, **values: list[str]) -> Attributes:
    """Attributes of N items whose values follow each other by turns, with kinds that are found."""
    rows = [(i, 0, name, texts[i % len(texts)]) for name, texts in values.items() for i in range(N)]
    return build_attributes(table(rows), columns(**dict.fromkeys(values)), N, most)


def test_kinds_are_found_from_all_values() -> None:
    attributes = built(
        price=["1.5", "2", "7"],
        brand=["a", "b"],
        tags=["x|y", "y|z", "z", "x"],
        title=["Tea", "Milk"],
        image_url=["https://e.com/1.png"],
        embedding=["[0.5, 1, 2, 3]", "[1, 0, 0.25, 0]"],
    )
    assert list(described(attributes)) == [
        *("price (number)", "brand (category)", "tags (tags)", "embedding (vector)", "title (text)", "image (text)")
    ]
    texts = attributes.texts_as_of(0, N)
    assert texts["title"][:2].to_pylist() == ["Tea", "Milk"]
    assert texts["image"][0].as_py() == "https://e.com/1.png"


def test_what_tells_nothing_is_left_out_and_named() -> None:
    attributes = built(
        sku=[f"s{i}" for i in range(N)],
        currency=["EUR"],
        review=["This is a long text " * 9, "and another of them " * 8],
        brand=["a", "b"],
        price=["1", "2"],
        colour=["red", "blue"],
        most=2,
    )
    assert [one.name for one in attributes.learned] == ["brand", "price"]
    assert attributes.left_out == {
        "review": "its texts are neither labels nor a title or an address of an image",
        "sku": "100 values on 100 items: nearly every item has a value of its own",
        "currency": "every item has the same value",
        "colour": "data.items.max_attributes is 2",
    }


def test_one_title_and_one_image_are_shown() -> None:
    attributes = built(description=["long", "text"], name=["Tea", "Milk"], photo=["a.png"], thumbnail=["b.png"])
    assert {text.name: text.texts[0].as_py() for text in attributes.texts} == {"title": "Milk", "image": "a.png"}
    assert attributes.left_out == {"description": "only one title is shown", "thumbnail": "only one image is shown"}


def test_a_declared_kind_counts() -> None:
    rows = [(i, 0, name, str(i % 7)) for name in ("code", "weight") for i in range(N)]
    attributes = build_attributes(table(rows), columns(code="category", weight="number"), N, 12)
    code, weight = attributes.learned
    assert isinstance(code, Labels)
    assert code.vocabulary.to_pylist() == list("0123456")
    assert isinstance(weight, Numbers)


def test_a_value_counts_from_its_time() -> None:
    rows = [(i, day, "price", str(i + day)) for i in range(N) for day in (0, 50)]
    [price] = build_attributes(table(rows), columns(price=None), N, 12).learned
    assert isinstance(price, Numbers)
    np.testing.assert_array_equal(price.as_of(49, N), np.arange(N))
    np.testing.assert_array_equal(price.as_of(LATEST, N), np.arange(N) + 50)


def test_names_are_plain_and_differ() -> None:
    assert list(plain_names(["Brand Name", "brand-name", "Größe", "価格", "x"]).values()) == [
        *("brand_name", "brand_name_1", "gr_e", "column_3", "x")
    ]
    assert list(plain_names(["x_3", "x", "y", "X"]).values()) == ["x_3", "x", "y", "x_4"]
    assert list(declared({"Brand": "category"})) == ["attribute:brand"]


def test_the_names_of_features_differ_too() -> None:
    columns = ["price", "price_vs_category", "Price Popularity", "style_cosine", "style"]
    names = plain_names(columns).values()
    specs = [AttributeSpec(name=name, kind=kind) for name in names for kind in ("number", "category", "vector")]
    for some in (specs[::3], specs[1::3], specs[2::3]):
        assert len(attribute_features(some)) == sum(len(attribute_features([one])) for one in some)
    every = {feature.name for spec in specs for feature in attribute_features([spec])}
    assert every <= {feature for name in names for feature in feature_names(name)}


def test_values_that_cannot_be_read_are_counted() -> None:
    vectors = [f"[{i % 7}.5, {i}, 1, 1]" for i in range(N - 1)]
    attributes = built(emb=[*vectors, "[1, 2]"], price=[*(str(i % 9) for i in range(N - 2)), "on request", "free"])
    assert [(one.name, one.kind) for one in attributes.learned] == [("emb", "vector"), ("price", "number")]
    assert attributes.unread == {"emb": 1, "price": 2}


def test_numbers_that_would_become_equal_are_left_out() -> None:
    attributes = built(released=[str(1_600_000_000 + i) for i in range(N)], price=[f"{i}.99" for i in range(N)])
    assert [one.name for one in attributes.learned] == ["price"]
    assert attributes.left_out == {"released": "its numbers have more digits than the seven that are kept"}


def test_an_attribute_without_a_value_is_named() -> None:
    rows = [(i, 0, "brand", str(i % 7)) for i in range(N)]
    attributes = build_attributes(table(rows), columns(brand=None, size=None, title="text", weight="number"), N, 12)
    assert list(attributes.left_out or {}) == ["size", "title", "weight"]
    assert set((attributes.left_out or {}).values()) == {NO_VALUE}


EVENTS = "timestamp,visitorid,event,itemid,transactionid\n1430622004384,1,view,7,\n"
WIDE = (
    "product_id,name,price,brand,category,in_stock,tags\n"
    "7,Tea,1.5,Acme,Drinks > Tea,1,hot|green\n"
    "8,Milk,2.5,,Drinks > Milk,0,cold\n"
    "9,Cup,7,Acme,Things > Cups,1,cold|green\n"
)
LONG = (
    "timestamp,itemid,property,value\n"
    "5,7,categoryid,3\n5,7,price,n12.000\n6,7,brand,acme\n6,7,790,n5.000\n7,8,brand,\n8,9,available,0\n"
)


def source_of(folder: Path, **files: str) -> PropertyTable:
    """The only table of items in a folder of CSV files."""
    settings = files.pop("settings", "")
    for name, text in {"events": EVENTS, **files}.items():
        (folder / f"{name}.csv").write_text(text)
    config = DataConfig.model_validate(
        {"items": {"attributes": {"price": "number", "brand": "category"}} if settings else {}}
    )
    layout = describe(resolve(str(folder), folder), config.events, config.items, config.properties)
    [properties] = layout.properties
    return properties


def rows_of(properties: PropertyTable) -> list[tuple[str, int, str, str]]:
    """Rows (item, time, property, value) of the checked rows; none may be rejected."""
    [file] = properties.files
    rows = []
    for piece in split_file(file, properties.rules.columns, properties.dialect):
        for chunk in read_piece(piece, properties.rules.columns):
            checked = check_properties(chunk, 0, LATEST, properties.rules)
            assert checked["reason"].null_count == len(checked)
            rows += [row for row in checked.to_pylist() if row[ITEM] is not None]
    return [(row[ITEM], row[TIME], row[PROPERTY], row[VALUE]) for row in rows]


def test_a_wide_table_gives_attributes_categories_and_availability(tmp_path: Path) -> None:
    properties = source_of(tmp_path, products=WIDE)
    assert [one.name for one in properties.attributes.values()] == ["name", "price", "brand", "tags"]
    rows = rows_of(properties)
    assert ("7", 0, CATEGORY, "Drinks > Tea") in rows
    assert ("8", 0, AVAILABLE, "0") in rows
    assert ("9", 0, "attribute:price", "7") in rows
    assert ("9", 0, "attribute:tags", "cold|green") in rows
    assert [row[0] for row in rows if row[2] == "attribute:brand"] == ["7", "9"]


def test_a_column_that_is_blank_in_the_first_rows_is_read(tmp_path: Path) -> None:
    rows = "".join(f"{item},{'red' if item > 1500 else ''},,{item % 7}\n" for item in range(2000))
    properties = source_of(tmp_path, products=f"item_id,colour,title,size\n{rows}")
    assert [one.name for one in properties.attributes.values()] == ["colour", "title", "size"]
    assert len([row for row in rows_of(properties) if row[2] == "attribute:colour"]) == 499


def test_a_column_that_is_no_text_is_no_attribute(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    pixels = pa.array([b"\x89PNG", b"\xff"], pa.binary())
    spans = pa.array([1, 2], pa.duration("s"))
    columns = {"item_id": [7, 8], "img": pixels, "in_stock": pixels, "title": ["Tea", "Milk"], "shelf_life": spans}
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    config = DataConfig()
    [properties] = describe(resolve(str(tmp_path), tmp_path), config.events, config.items, config.properties).properties
    assert [one.name for one in properties.attributes.values()] == ["title"]
    assert [row[3] for row in rows_of(properties)] == ["Tea", "Milk"]


def test_a_wide_table_with_times_is_valid_from_them(tmp_path: Path) -> None:
    text = "itemid,timestamp,price\n7,1430622004384,1.5\n7,1430622009384,2\n8,1430622004384,3\n"
    rows = rows_of(source_of(tmp_path, items=text))
    assert [(item, time, value) for item, time, _, value in rows] == [
        ("7", 1430622004384, "1.5"),
        ("7", 1430622009384, "2"),
        ("8", 1430622004384, "3"),
    ]


def test_only_declared_properties_of_a_long_table_are_read(tmp_path: Path) -> None:
    plain = source_of(tmp_path, item_properties=LONG)
    assert {row[2] for row in rows_of(plain)} == {CATEGORY, AVAILABLE}
    rows = rows_of(source_of(tmp_path, item_properties=LONG, settings="declared"))
    assert ("7", 5, "attribute:price", "n12.000") in rows
    assert [row for row in rows if row[2] == "attribute:brand"] == [("7", 6, "attribute:brand", "acme")]
    assert not [row for row in rows if "790" in row[2]]


@pytest.mark.parametrize("attributes", ["price: number", ""])
def test_attributes_can_be_chosen_or_turned_off(tmp_path: Path, attributes: str) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "products.csv").write_text(WIDE)
    kinds = {"price": "number"} if attributes else {}
    config = DataConfig.model_validate({"items": {"attributes": kinds}})
    [properties] = describe(resolve(str(tmp_path), tmp_path), config.events, config.items, config.properties).properties
    assert [one.name for one in properties.attributes.values()] == list(kinds)
    assert {CATEGORY, AVAILABLE} <= properties.rules.wide.properties.keys() if properties.rules.wide else False


def test_a_category_path_is_a_tree() -> None:
    names = pa.chunked_array([["home.garden.tools", "home.kitchen", "home", None, "toys"]])
    assert tree_of_paths(names).to_pylist() == [
        {"categoryid": "home", "parentid": None},
        {"categoryid": "home.garden", "parentid": "home"},
        {"categoryid": "home.garden.tools", "parentid": "home.garden"},
        {"categoryid": "home.kitchen", "parentid": "home"},
        {"categoryid": "toys", "parentid": None},
    ]
    arrows = tree_of_paths(pa.chunked_array([["A > B", "A > C.D"]]))
    assert arrows["categoryid"].to_pylist() == ["A", "A > B", "A > C.D"]


@pytest.mark.parametrize("names", [["213.0", "4.5"], ["a", "b", "c.d"], ["Dr. Who", "St. Ives"], []])
def test_other_names_are_no_paths(names: list[str]) -> None:
    assert len(tree_of_paths(pa.chunked_array([pa.array(names, pa.string())]))) == 0


def test_an_inspection_tells_which_columns_are_attributes(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "products.csv").write_text(WIDE)
    config = DataConfig()
    layout = describe(resolve(str(tmp_path), tmp_path), config.events, config.items, config.properties)
    _, products = summarize(layout, Blanks.create(config.events.blanks))
    assert {column.name: column.purpose for column in products.columns} == {
        "product_id": "item",
        "name": "attribute",
        "price": "attribute",
        "brand": "attribute",
        "category": "category",
        "in_stock": "available",
        "tags": "attribute",
    }
