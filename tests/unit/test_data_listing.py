from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import listing
from recsys.data.listing import Listing, list_tables
from recsys.data.reading import read_head, read_piece, split_file
from recsys.errors import DataError
from recsys.storage.filesystem import FolderValue
from tests.support.tables import read, write


def fill(folder: Path, *paths: str, data: bytes = b"a,b\n1,2\n") -> Path:
    for path in paths:
        write(folder / path, data)
    return folder


def tables(listed: Listing, folder: Path) -> dict[str, list[str]]:
    """The files of each table below a folder, by the table's name."""
    names = [table.name for table in listed.tables]
    assert len(set(names)) == len(names)
    prefix = f"{folder}/"
    return {table.name: [file.address.removeprefix(prefix) for file in table.files] for table in listed.tables}


SPARK = "part-0000{}-4fd7c5b1-2f3a-4c39-8a0e-0123456789ab-c000.snappy.parquet"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["events.csv", "Items.TSV.gz"], {"Items": ["Items.TSV.gz"], "events": ["events.csv"]}),
        (
            ["item_properties_part1.csv", "item_properties_part2.parquet"],
            {"item_properties": ["item_properties_part1.csv", "item_properties_part2.parquet"]},
        ),
        (
            [f"events/{SPARK.format(0)}", f"events/{SPARK.format(1)}", "events/_SUCCESS", "events/.part.crc"],
            {"events": [f"events/{SPARK.format(0)}", f"events/{SPARK.format(1)}"]},
        ),
        (["events.parquet/b.parquet", "events.parquet/deep/er/a.parquet"], None),
        (["2019-Oct.csv", "2019-Nov.csv", "2020-Jan.csv"], {"SHOP": ["2019-Nov.csv", "2019-Oct.csv", "2020-Jan.csv"]}),
        (["2019-Oct.csv"], {"2019-Oct": ["2019-Oct.csv"]}),
        ([SPARK.format(0), SPARK.format(1)], {"SHOP": [SPARK.format(0), SPARK.format(1)]}),
        (["sales-000000000000.csv.gz", "sales-000000000001.csv.gz"], None),
        (
            ["2020-01-01_orders.csv", "2020-01-02_orders.csv"],
            {"orders": ["2020-01-01_orders.csv", "2020-01-02_orders.csv"]},
        ),
        (["events.csv", "events_2.csv"], {"events": ["events.csv"], "events_2": ["events_2.csv"]}),
        (["dt=2020-01-01/x.csv", "dt=2020-01-02/x.csv"], {"x": ["dt=2020-01-01/x.csv", "dt=2020-01-02/x.csv"]}),
        (["2020/01/part-0.csv", "2020/02/part-0.csv"], {"SHOP": ["2020/01/part-0.csv", "2020/02/part-0.csv"]}),
        (["order_products__prior.csv", "order_products__train.csv"], None),
        (["transactions_train.csv", "articles.csv"], None),
        (["market_events.csv", "ratings.dat", "decades.json"], None),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:40],
)
def test_tables_by_the_names_of_files(tmp_path: Path, paths: list[str], expected: dict[str, list[str]] | None) -> None:
    if expected is None:
        expected = {}
        for path in paths:
            name = path.split(".")[0].split("/")[0].split("-")[0]
            expected.setdefault(name, []).append(path)
    folder = fill(tmp_path / "SHOP", *paths)
    listed = list_tables(str(folder))
    assert tables(listed, folder) == expected
    assert listed.passed_over == ()


def test_two_tables_of_one_name(tmp_path: Path) -> None:
    fill(tmp_path, "events.csv", "events.parquet", "events/a.csv")
    names = [(table.name, [file.name for file in table.files]) for table in list_tables(str(tmp_path)).tables]
    assert names == [("events", ["events.csv"]), ("events", ["events.parquet"]), ("events", ["a.csv"])]


def test_what_is_passed_over_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "events/1.csv", "notes.md", "events/model.bin", "_old/events.csv", ".hidden/events.csv")
    fill(tmp_path, "events/README.txt")
    fill(tmp_path, "events/2.csv", "items/_SUCCESS", "items/1.csv", "events/3.csv.gz", data=b"")
    listed = list_tables(str(tmp_path))
    assert tables(listed, tmp_path) == {"events": ["events/1.csv"]}
    reasons = {file.address.removeprefix(f"{tmp_path}/"): file.reason for file in listed.passed_over}
    assert reasons == {
        "_old/events.csv": "its name, or that of its folder, begins with an underscore",
        "events/2.csv": "empty",
        "events/3.csv.gz": "empty",
        "events/README.txt": "another format than the other files of its table",
        "events/model.bin": "no reader for this file",
        "items/1.csv": "empty",
        "notes.md": "no reader for this file",
    }


def test_a_file_alone_stays_although_it_is_empty(tmp_path: Path) -> None:
    fill(tmp_path, "events.csv", data=b"")
    assert tables(list_tables(str(tmp_path)), tmp_path) == {"events": ["events.csv"]}


def test_folders_become_columns(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    for day in ("2017-01-01", "__HIVE_DEFAULT_PARTITION__"):
        (folder / f"dt={day}" / "land=K%C3%B6ln").mkdir(parents=True)
        pq.write_table(pa.table({"a": [1, 2]}), folder / f"dt={day}" / "land=K%C3%B6ln" / "0.parquet")
    for spec in (tmp_path, folder):
        [table] = list_tables(str(spec)).tables
        assert table.name == "events"
        first, later = table.files
        assert later.values == (FolderValue("dt", ""), FolderValue("land", "Köln"))
        assert read(first, "land", "a", "dt")[0] == [("Köln", "1", "2017-01-01"), ("Köln", "2", "2017-01-01")]
        head = read_head(first)
        assert (head.names, head.kinds) == (("a", "dt", "land"), {"a": "int64", "dt": "folder", "land": "folder"})
        assert head.rows.to_pydict() == {"a": ["1", "2"], "dt": ["2017-01-01"] * 2, "land": ["Köln"] * 2}
    [chunk] = read_piece(split_file(later, ["a", "dt"])[0], ["dt", "a"])
    assert chunk.columns.to_pydict() == {"dt": ["", ""], "a": ["1", "2"]}
    with pytest.raises(DataError, match="expected a column in the file besides those of its folders"):
        split_file(first, ["dt"])


@pytest.mark.parametrize("name", ["0.csv", "0.jsonl", "0.parquet"])
def test_a_column_of_the_file_counts_more_than_that_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "events" / "user=9" / "dt=2017-01-01"
    folder.mkdir(parents=True)
    rows = pl.DataFrame({"user": ["7", "8"], "item": ["1", "2"]})
    formats = {".csv": rows.write_csv, ".jsonl": rows.write_ndjson, ".parquet": rows.write_parquet}
    formats[Path(name).suffix](folder / name)
    [table] = list_tables(str(tmp_path)).tables
    [file] = table.files
    columns = ["user", "dt", "item"]
    assert read(file, *columns)[0] == [("7", "2017-01-01", "1"), ("8", "2017-01-01", "2")]
    assert read_head(file).rows.select(columns).to_pydict()["user"] == ["7", "8"]
    with pytest.raises(DataError, match=f"{name}: column 'brand' is missing; columns found: user, item"):
        split_file(file, [*columns, "brand"])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", {"a": ["a.csv"], "b": ["b.csv"]}),
        ("[!b].csv", {"a": ["a.csv"]}),
        ("logs/x?", {"logs": ["logs/x1/1.csv", "logs/x2/2.csv"]}),
        ("logs/*/2.csv", {"logs": ["logs/x2/2.csv"]}),
        ("**/?.csv", {"a": ["a.csv"], "b": ["b.csv"], "SHOP": ["logs/x1/1.csv", "logs/x2/2.csv"]}),
        ("a.csv", {"a": ["a.csv"]}),
        ("logs", {"x1": ["logs/x1/1.csv"], "x2": ["logs/x2/2.csv"]}),
    ],
)
def test_patterns_and_single_files(tmp_path: Path, pattern: str, expected: dict[str, list[str]]) -> None:
    folder = fill(tmp_path / "SHOP", "a.csv", "b.csv", "logs/x1/1.csv", "logs/x2/2.csv")
    assert tables(list_tables(f"{folder}/{pattern}"), folder) == expected


def test_a_folder_with_the_ending_of_a_format_is_one_table(tmp_path: Path) -> None:
    folder = fill(tmp_path / "events.parquet", "a/part-0.parquet", "b/part-0.parquet")
    assert tables(list_tables(str(folder)), folder) == {"events": ["a/part-0.parquet", "b/part-0.parquet"]}


def test_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    folder = fill(tmp_path / "shop[1]", "events.csv")
    assert tables(list_tables(str(folder)), folder) == {"events": ["events.csv"]}


def test_links_to_folders_are_entered_once(tmp_path: Path) -> None:
    fill(tmp_path / "far", "1.csv")
    shop = fill(tmp_path / "shop", "items.csv")
    (shop / "events").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(shop)
    assert tables(list_tables(str(shop)), shop) == {"events": ["events/1.csv"], "items": ["items.csv"]}


@pytest.mark.parametrize(
    ("paths", "spec", "message"),
    [
        (["x.bin"], "x.bin", r"x\.bin: no reader for this file; expected a name that ends in \.csv, "),
        (["x.csv"], "*.tsv", r"\*\.tsv: no file matches"),
        (
            ["events/_delta_log/0.json", "events/1.parquet"],
            "",
            r"events/_delta_log/0\.json: it belongs to a Delta table",
        ),
    ],
)
def test_places_that_are_no_source(tmp_path: Path, paths: list[str], spec: str, message: str) -> None:
    fill(tmp_path, *paths)
    with pytest.raises(DataError, match=message):
        list_tables(f"{tmp_path}/{spec}".rstrip("/"))


def test_a_folder_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_FILES", 3)
    fill(tmp_path, "a.csv", "b.csv", "c.csv")
    assert len(list_tables(str(tmp_path)).tables) == 3
    fill(tmp_path, "d.csv")
    with pytest.raises(DataError, match="more than 3 files; expected the folder of one shop"):
        list_tables(str(tmp_path))
