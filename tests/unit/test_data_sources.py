import csv
import gzip
import os
import time
from pathlib import Path

import polars as pl
import pytest

from recsys.data import sources
from recsys.errors import DataError
from recsys.storage.filesystem import File, file_at
from tests.support.tables import read


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder


def names(files: tuple[File, ...]) -> list[str]:
    return [file.name for file in files]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv.zst", ".jsonl", ".parquet"])
def test_folder_with_one_event_file(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"events{suffix}", "notes.md")
    source = sources.resolve(str(tmp_path), tmp_path / "work")
    assert names(source.files("events")) == [f"events{suffix}"]
    assert source.files("item_properties") == ()
    assert source.files("category_tree") == ()
    assert [file.address for file in source.passed_over] == [str(tmp_path / "notes.md")]


def test_folder_with_parts(tmp_path: Path) -> None:
    touch(tmp_path, "events/b.csv", "events/a.csv.gz", "events/.hidden.csv", "events/_SUCCESS")
    touch(tmp_path, "item_properties_part2.csv", "item_properties_part1.csv", "category_tree.csv")
    source = sources.resolve(str(tmp_path), tmp_path / "work")
    assert names(source.files("events")) == ["a.csv.gz", "b.csv"]
    assert names(source.files("item_properties")) == ["item_properties_part1.csv", "item_properties_part2.csv"]
    assert source.files("category_tree") == (file_at(tmp_path / "category_tree.csv"),)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"has no tables; expected a folder, a file or a pattern, also at s3://"),
        (("notes.md",), r"has no tables; .*notes\.md: no reader for this file; expected a folder"),
    ],
)
def test_folder_that_is_no_source(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        sources.resolve(str(tmp_path), tmp_path / "work")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "'nowhere' does not exist; expected a folder, a file or a pattern"),
        ("nowhere/*.csv", r"nowhere/\*\.csv: no file matches"),
        ("s3://Bucket/shop", "s3://Bucket/shop: expected s3://bucket/prefix"),
        ("synthetic:abc", "'synthetic:abc': 'abc' is not a number; expected a scale such as 0.2"),
        ("synthetic:", "'synthetic:': '' is not a number"),
        ("synthetic:-1", "'synthetic:-1': synthetic scale -1: expected 0.005 to 100"),
        ("synthetic:nan", "scale nan: expected 0.005 to 100"),
        ("synthetic:0.004", "scale 0.004: expected 0.005 to 100"),
        ("synthetic:101", "scale 101: expected 0.005 to 100"),
    ],
)
def test_unknown_source(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sources.resolve(spec, tmp_path)


def test_synthetic_is_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def generate(folder: Path, scale: float, seed: int, *, attributes: bool) -> None:
        calls.append((scale, seed, attributes))
        touch(folder, "events.csv", "item_properties_part1.csv", "category_tree.csv")

    monkeypatch.setattr(sources.synthetic, "generate", generate)
    first = sources.resolve("synthetic:0.5", tmp_path / "work")
    assert sources.resolve("synthetic:0.50", tmp_path / "work") == sources.Source("synthetic:0.50", first.tables)
    sources.resolve("synthetic", tmp_path / "work")
    sources.resolve("synthetic:0.5+attributes", tmp_path / "work")
    assert calls == [(0.5, 0, False), (1.0, 0, False), (0.5, 0, True)]
    written = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert written == ["synthetic-0.5", "synthetic-0.5+attributes", "synthetic-1"]


def test_a_failed_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(folder: Path, scale: float, seed: int, **_: object) -> None:
        touch(folder, "events.csv")
        raise OSError("disk full")

    monkeypatch.setattr(sources.synthetic, "generate", generate)
    with pytest.raises(OSError, match="disk full"):
        sources.resolve("synthetic:0.5", tmp_path)
    assert not list(tmp_path.iterdir())


def test_drafts_of_killed_writers_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts of the same source are removed after a day, also if the source exists by then."""
    monkeypatch.setattr(sources.synthetic, "generate", lambda folder, *_, **__: touch(folder, "events.csv"))
    sources.resolve("synthetic:0.5", tmp_path)
    for name, days in ((".synthetic-0.5-dead", 2), (".synthetic-0.5-alive", 0.5), (".synthetic-0.51-dead", 2)):
        touch(tmp_path / name, "events.csv")
        then = time.time() - days * 86_400
        os.utime(tmp_path / name, (then, then))
    sources.resolve("synthetic:0.5", tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".synthetic-0.5-alive", ".synthetic-0.51-dead", "synthetic-0.5"]


def test_completejourney_in_the_common_format(tmp_path: Path) -> None:
    source = sources.resolve("completejourney", tmp_path)
    events = pl.read_parquet(source.files("events")[0].address)
    assert events.columns == ["timestamp", "visitorid", "event", "itemid", "transactionid"]
    assert events.height == 1_469_307
    assert events["event"].unique().to_list() == ["transaction"]
    # 2017-01-01 11:53:26 UTC, the first row of the package's table
    assert events.row(0) == (1_483_271_606_000, 900, "transaction", 1095275, 31198570044)
    tree = dict(pl.read_parquet(source.files("category_tree")[0].address).iter_rows())
    properties = pl.read_parquet(source.files("item_properties")[0].address)
    category = properties.row(by_predicate=pl.col("itemid") == 25671, named=True)
    assert category["timestamp"] == 1
    assert category["value"] == "GROCERY > FRZN ICE > ICE - CRUSHED/CUBED"
    assert tree[category["value"]] == "GROCERY > FRZN ICE"
    assert tree["GROCERY > FRZN ICE"] == "GROCERY"
    assert tree["GROCERY"] is None
    assert properties.row(by_predicate=pl.col("itemid") == 26081, named=True)["value"] == "MISCELLANEOUS"
    items = pl.read_parquet(source.files("items")[0].address)
    assert items.columns == ["itemid", "manufacturer_id", "department", "brand", "package_size", "title"]
    assert items.row(by_predicate=pl.col("itemid") == 26190)[1:] == (
        *(69, "GROCERY", "Private", "50 OZ", "Fruit - Shelf Stable: Apple Sauce"),
    )


def test_one_file_is_a_source(tmp_path: Path) -> None:
    touch(tmp_path, "log/events.csv", "log/other.csv")
    source = sources.resolve(str(tmp_path / "log" / "events.csv"), tmp_path / "work")
    assert [table.name for table in source.tables] == ["events"]


@pytest.mark.parametrize("folder", ["events", "events.parquet", "item_properties.parquet/dt=2020-01-01"])
def test_folders_as_spark_writes_them(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "events.csv" if folder.startswith("item") else "notes.md")
    touch(tmp_path, f"{folder}/part-00000-c000.snappy.parquet", f"{folder}/_SUCCESS")
    source = sources.resolve(str(tmp_path), tmp_path / "work")
    files = source.files("item_properties") if folder.startswith("item") else source.files("events")
    assert names(files) == ["part-00000-c000.snappy.parquet"]


def test_rows_over_several_lines_of_the_case(shared: Path, tmp_path: Path) -> None:
    source = sources.resolve(str(shared / "cases" / "newlines"), tmp_path)
    columns = ("timestamp", "visitorid", "event", "itemid", "transactionid", "note")
    rows, numbers, broken = read(source.files("events")[0], *columns)
    with gzip.open(source.files("events")[0].address, "rt", newline="") as file:
        _, *expected = csv.reader(file)
    assert rows == [tuple(row) for row in expected]
    assert broken == []
    assert numbers[:2] == [2, 4]
