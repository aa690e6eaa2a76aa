"""Odd names of columns, files that lack columns, facts in any order of rows, and settings that fit no file."""

import json
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.config import TrainConfig, parse_config
from recsys.data.attribute_values import kind_of, vectors_of
from recsys.data.attributes import Attributes, Numbers
from recsys.data.events import parse_events
from recsys.data.facts import changes_of_days
from recsys.data.ingest import check_layout, with_event_times
from recsys.data.item_attributes import build_attributes
from recsys.data.items import encode_properties, merge_facts, parse_properties
from recsys.data.layout.describe import describe
from recsys.data.layout.model import Layout
from recsys.data.reading import split_files
from recsys.data.sources import resolve
from recsys.data.validate import COLUMN
from recsys.errors import DataError
from recsys.ids import Ids
from recsys.schema import CATEGORY, DAY, ITEM, TIME, TRANSACTION, VALUE

NOW = 1_800_000_000_000
HOUR = 3600
ROWS = [(f"u{i % 7}", f"{i % 40}", f"{1_600_000_000 + i * HOUR}") for i in range(800)]
HEADER = ("user_id", "item_id", "timestamp")


def csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(row) for row in (header, *rows)) + "\n")


def layout_of(folder: Path, **settings: Any) -> Layout:
    config = parse_config(TrainConfig, {"data": settings}).data
    source = resolve(str(folder), folder / "work")
    check_layout(source, config)
    layout = describe(source, config.events, config.items, config.properties)
    assert layout.events is not None
    return with_event_times(layout, layout.events)


def usable(layout: Layout) -> pa.Table:
    """The usable events."""
    table = layout.events
    assert table is not None
    pieces, _ = split_files(table.files, table.rules.columns, table.dialect, table.rules.optional)
    parts = [part for number, piece in enumerate(pieces) for part in parse_events(piece, number, NOW, table.rules)]
    rows = pa.concat_tables(parts)
    return rows.filter(pc.is_null(rows[COLUMN]))


def attributes_of(layout: Layout, items: Sequence[int], parts: int = 1) -> Attributes:
    """The attributes of the items with these ids, from the only table that describes them."""
    [table] = layout.properties
    pieces, _ = split_files(table.files, table.rules.columns, table.dialect, table.rules.optional)
    raw = [
        pa.concat_tables(parse_properties(piece, number, NOW, table.rules, 0, table.from_events))
        for number, piece in enumerate(pieces)
    ]
    known = Ids.from_values(pa.array(items, pa.int64()))
    blocks = [encode_properties(block, known) for block in raw]
    if table.from_events:
        blocks = [merge_facts(part, parts, *blocks) for part in range(parts)]
    rows = pa.concat_tables([block.attributes for block in blocks])
    return build_attributes(rows, table.attributes, len(items), 12)


INDEXED = [(str(number), *row) for number, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (("", *HEADER), INDEXED),
        ((*HEADER, ""), [(*row, "") for row in ROWS]),
        (("", *HEADER, ""), [(*row, "") for row in INDEXED]),
        ((" ", *HEADER), INDEXED),
    ],
)
def test_a_column_without_a_name_is_none(tmp_path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    csv(tmp_path / "events.csv", header, rows)
    layout = layout_of(tmp_path)
    assert (layout.properties, len(usable(layout))) == ((), len(ROWS))


def test_a_column_without_a_name_in_other_formats(tmp_path: Path) -> None:
    names = ("", *HEADER)
    for folder, write in (("json", pl.DataFrame.write_ndjson), ("parquet", pl.DataFrame.write_parquet)):
        (tmp_path / folder).mkdir()
        name = "events.jsonl" if folder == "json" else "events.parquet"
        write(pl.DataFrame(INDEXED, schema=names, orient="row"), tmp_path / folder / name)
        assert len(usable(layout_of(tmp_path / folder))) == len(ROWS)


def test_a_column_without_a_name_in_a_table_of_items(tmp_path: Path) -> None:
    csv(tmp_path / "events.csv", HEADER, ROWS)
    csv(tmp_path / "items.csv", ("", "item_id", "brand"), [(f"{i}", f"{i}", f"b{i % 4}") for i in range(40)])
    assert [one.name for one in attributes_of(layout_of(tmp_path), range(40)).learned] == ["brand"]


@pytest.mark.parametrize("name", ["size", "row", "len", "*", "^.*$", "^brand$", "value", "single", "0"])
def test_any_name_of_a_column_may_be_that_of_a_fact(tmp_path: Path, name: str) -> None:
    csv(tmp_path / "events.csv", (*HEADER, name), [(*row, f"b{int(row[1]) % 4}") for row in ROWS])
    [fact] = attributes_of(layout_of(tmp_path), range(40), parts=3).learned
    assert fact.as_of(NOW, 40).values.tolist() == [number % 4 for number in range(40)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["row", "^.*$"])
def test_any_name_of_a_column_may_be_that_of_the_item(tmp_path: Path, name: str) -> None:
    csv(tmp_path / "events.csv", ("user_id", name, "timestamp", "brand"), [(*row, f"b{row[1]}"[:2]) for row in ROWS])
    layout = layout_of(tmp_path, events={"columns": {"item": name}})
    assert [one.name for one in attributes_of(layout, range(40)).learned] == ["brand"]


def test_a_fact_whose_name_occurs_twice_is_none(tmp_path: Path) -> None:
    csv(tmp_path / "events.csv", (*HEADER, "brand", "brand"), [(*row, "b", f"b{int(row[1]) % 4}") for row in ROWS])
    assert layout_of(tmp_path).properties == ()


def test_one_column_has_one_purpose(tmp_path: Path) -> None:
    csv(tmp_path / "events.csv", HEADER, ROWS)
    message = r"column 'item_id' is both user and item; expected different data\.events\.columns\.user and data\.events"
    with pytest.raises(DataError, match=message):
        layout_of(tmp_path, events={"columns": {"user": "item_id"}})


@pytest.mark.parametrize(
    ("name", "text", "items"),
    [
        ("item_properties.csv", "itemid,timestamp,property,value\n1,0,a,b\n", {}),
        ("category_tree.csv", "categoryid,parentid\n1,\n", {}),
        ("events.csv", "user_id,item_id,timestamp\n1,2,1600000000\n", {"files": ["*.csv"]}),
    ],
)
def test_tables_of_items_alone_are_no_events(tmp_path: Path, name: str, text: str, items: dict[str, Any]) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"no events: .*; all tables are those of items; set data\.events\.files"):
        layout_of(tmp_path, items=items)


def test_lists_in_a_list_and_large_numbers_are_no_vectors() -> None:
    matrices = pa.array([f"[[0.1,0.2],[0.3,0.{i}],[0.1,0.2],[0.1,0.2]]" for i in range(40)])
    large = pa.array([f"[0.5,0.25,0.125,{'9' * 400}]"] * 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vectors_of(matrices) is None
        assert kind_of("emb", matrices) is not None
        assert vectors_of(large, certain=True) is None
        matrix = vectors_of(pa.array(["[0.5,0.25,1,1]"] * 40 + ["[1e300,1,1,1]", "[0.5,0.25,1,null]"]))
    assert matrix is not None
    assert np.isfinite(matrix).all(axis=1).tolist() == [True] * 40 + [False] * 2


DAYS = 30
PRICED = [
    (
        f"{1_600_000_000 + day * 86_400 + turn * HOUR}",
        f"{item}",
        f"{(950 if day in (14, 15) else 1000) + item % 2}",
        f"u{turn}",
    )
    for day in range(DAYS)
    for item in range(20)
    for turn in range(4)
]


@pytest.mark.parametrize("order", ["ascending", "falling", "shuffled"])
@pytest.mark.parametrize("files", [1, 3])
def test_facts_do_not_depend_on_the_order_of_rows_and_files(tmp_path: Path, order: str, files: int) -> None:
    shuffled = random.Random(1).sample(PRICED, len(PRICED))
    rows = {"ascending": PRICED, "falling": PRICED[::-1], "shuffled": shuffled}[order]
    for number in range(files):
        csv(tmp_path / f"events-{number}.csv", ("timestamp", "item_id", "price", "user_id"), rows[number::files])
    layout = layout_of(tmp_path, items={"attributes": {"price": "number"}})
    [price] = attributes_of(layout, range(20), parts=2).learned
    assert isinstance(price, Numbers)
    begin = 1_600_000_000_000
    assert price.log.items.tolist() == [item for item in range(20) for _ in range(3)]
    assert price.log.times.tolist() == [begin + day * DAY for day in (0, 14, 16)] * 20
    assert price.log.values.tolist() == [value + item % 2 for item in range(20) for value in (1000, 950, 1000)]


def test_facts_with_blank_values_and_several_at_a_time() -> None:
    rng = np.random.default_rng(3)
    n = 400
    rows = pa.table(
        {
            ITEM: pa.array(rng.integers(0, 3, n), pa.int32()),
            TIME: rng.integers(0, 40, n) * (DAY // 8),
            VALUE: [f"v{value}" for value in rng.integers(0, 2, n)],
        }
    )
    whole = changes_of_days(rows)
    assert whole.schema.equals(rows.schema)
    for seed in range(3):
        mixed = rows.take(pa.array(np.random.default_rng(seed).permutation(n)))
        assert changes_of_days(mixed).equals(whole)
    assert len(changes_of_days(rows.slice(0, 0))) == 0


def test_facts_in_different_rows_are_all_kept(tmp_path: Path) -> None:
    """Of a day, the first row with a brand may be neither the first nor the last row of the item."""
    rows = [(f"u{turn}", "1", f"{1_600_000_000 + turn}", "b" if turn == 5 else "", "9") for turn in range(10)]
    rows += [(f"u{turn}", f"{item}", f"{1_600_000_000}", "c", "8") for turn in range(9) for item in range(2, 40)]
    csv(tmp_path / "events.csv", (*HEADER, "brand", "price"), rows)
    layout = layout_of(tmp_path, items={"attributes": {"brand": "category", "price": "number"}})
    brand = attributes_of(layout, range(1, 40)).learned[0]
    assert brand.log.times[:2].tolist() == [1_600_000_005_000, 1_600_000_000_000]  # type: ignore[union-attr]


def test_patterns_of_files_are_paths_inside_the_source(tmp_path: Path) -> None:
    source = tmp_path / "sales-export"
    for name in ("sales_2020.csv", "returns.csv", "2020/sales_2021.csv", "2020/notes.csv"):
        csv(source / name, HEADER, ROWS[:10])

    def names(*patterns: str) -> list[str]:
        events = layout_of(source, events={"files": patterns}).events
        assert events is not None
        return sorted(file.address.removeprefix(f"{source}/") for file in events.files)

    assert names("sales*.csv") == ["2020/sales_2021.csv", "sales_2020.csv"]
    assert names("./returns.csv") == ["returns.csv"]
    assert names(str(source / "returns.csv")) == ["returns.csv"]
    assert names("2020/*.csv") == ["2020/notes.csv", "2020/sales_2021.csv"]
    assert names("2020/s*.csv", "returns*") == ["2020/sales_2021.csv", "returns.csv"]
    for pattern in ("export/*.csv", "sales-export/*.csv", "*/2020/*.csv"):
        with pytest.raises(DataError, match=r"data\.events\.files: no file matches"):
            names(pattern)
    with pytest.raises(DataError, match="is no pattern of files"):
        names("[z-a].csv")


def test_a_later_file_may_tell_the_types_of_events(tmp_path: Path) -> None:
    later = [(*row, kind) for row, kind in zip(ROWS, ["view", "purchase", "remove_from_cart"] * 270, strict=False)]
    csv(tmp_path / "2020-01.csv", HEADER, ROWS)
    csv(tmp_path / "2020-02.csv", (*HEADER, "event_type"), later)
    with pytest.raises(DataError, match=r"2020-01\.csv: column 'event_type' is missing; columns found: user_id"):
        layout_of(tmp_path)
    assert len(usable(layout_of(tmp_path, events={"types": "view"}))) == 2 * len(ROWS)
    assert len(usable(layout_of(tmp_path, events={"files": "2020-02.csv"}))) == 534


def test_columns_that_all_files_have_come_first(tmp_path: Path) -> None:
    csv(tmp_path / "2020-01.csv", ("customer", *HEADER[1:]), ROWS)
    csv(tmp_path / "2020-02.csv", ("customer", *HEADER[1:], "user_id"), [(*row, "7") for row in ROWS])
    assert len(usable(layout_of(tmp_path))) == 2 * len(ROWS)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_may_lack_an_order_and_facts(tmp_path: Path, ending: str) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) | {"event": "view"} for row in ROWS]
    bought = [
        {**row, "event": "purchase", "order_id": f"o{n // 2}", "brand": f"b{int(row['item_id']) % 4}"}
        for n, row in enumerate(rows)
    ]
    for name, part in (("day-1", bought), ("day-2", rows)):
        path = tmp_path / f"{name}.{ending}"
        if ending == "jsonl":
            path.write_text("\n".join(map(json.dumps, part)))
        else:
            frame = pl.DataFrame(part)
            (frame.write_csv if ending == "csv" else frame.write_parquet)(path)
    layout = layout_of(tmp_path)
    events = usable(layout)
    assert len(events) == 2 * len(rows)
    assert len(events[TRANSACTION].unique()) == 401  # 400 orders, and the blank of day 2
    assert [one.name for one in attributes_of(layout, range(40)).learned] == ["brand"]
    table = layout.events
    assert table is not None
    _, [text] = split_files(table.files, table.rules.columns, table.dialect, table.rules.optional)
    assert text == (
        f"column 'order_id' of 1 of 2 files, such as {tmp_path / f'day-2.{ending}'}: they lack it, so it is blank in "
        "their rows"
    )


def test_a_late_key_of_json_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are known from the first bytes; an optional key that follows later is not blank."""
    monkeypatch.setattr("recsys.data.readers.jsonlines.NAMES_BYTES", 1000)
    monkeypatch.setattr("recsys.data.readers.jsonlines.HEAD_BYTES", 1000)
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    first, late = [{**row, "order_id": "a"} for row in rows], [*rows, {**rows[0], "order_id": "b"}]
    for name, part in (("day-1", first), ("day-2", late)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    assert usable(layout_of(tmp_path))[TRANSACTION].unique().to_pylist() == ["a", "", "b"]


def test_a_part_of_a_table_of_items_may_lack_attributes(tmp_path: Path) -> None:
    csv(tmp_path / "events.csv", HEADER, ROWS)
    csv(tmp_path / "items_1.csv", ("item_id", "brand"), [(f"{i}", f"b{i % 4}") for i in range(20)])
    csv(tmp_path / "items_2.csv", ("item_id", "colour"), [(f"{i}", f"c{i % 4}") for i in range(20, 40)])
    learned = attributes_of(layout_of(tmp_path), range(40)).learned
    assert [one.name for one in learned] == ["brand", "colour"]


@pytest.mark.parametrize("with_items", [True, False])
def test_settings_of_items_that_fit_no_column(tmp_path: Path, with_items: bool) -> None:
    csv(tmp_path / "events.csv", (*HEADER, "price"), [(*row, row[1]) for row in ROWS])
    if with_items:
        csv(tmp_path / "items.csv", ("item_id", "price"), [(f"{i}", f"{i}") for i in range(40)])
    with pytest.raises(DataError, match=r"column 'prize' is missing \(data\.items\.attributes\)"):
        layout_of(tmp_path, items={"attributes": {"prize": "number"}})
    with pytest.raises(DataError, match=r"column 'kind' is missing \(data\.items\.columns\.category\)"):
        layout_of(tmp_path, items={"columns": {"category": "kind"}})
    assert len(layout_of(tmp_path, items={"attributes": {"price": "number"}}).properties) == 1


def test_the_settings_tell_the_item_of_a_table_of_items(tmp_path: Path) -> None:
    csv(tmp_path / "events.csv", HEADER, ROWS)
    csv(tmp_path / "items.csv", ("foo", "brand"), [(f"{i}", f"b{i % 4}") for i in range(40)])
    layout = layout_of(tmp_path, items={"columns": {"item": "foo"}})
    assert [one.name for one in attributes_of(layout, range(40)).learned] == ["brand"]


def test_the_settings_tell_the_columns_of_a_table_of_properties(tmp_path: Path) -> None:
    csv(tmp_path / "events.csv", HEADER, ROWS)
    csv(tmp_path / "facts.csv", ("foo", "key", "text"), [(f"{i}", "categoryid", f"{i % 4}") for i in range(40)])
    columns = {"item": "foo", "property": "key", "value": "text"}
    [table] = layout_of(tmp_path, items={"columns": columns}).properties
    assert (table.rules.wide, table.rules.spelled[CATEGORY]) == (None, "categoryid")
