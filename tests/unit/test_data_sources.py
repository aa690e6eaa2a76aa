import os
import time
from pathlib import Path

import polars as pl
import pytest

from recsys.data import sources
from recsys.errors import DataError
from recsys.storage.filesystem import File, file_at


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


def names(files: tuple[File, ...]) -> list[str]:
    return [file.name for file in files]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_folder_with_one_event_file(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"events{suffix}", "notes.txt")
    source = sources.resolve(str(tmp_path), tmp_path / "work")
    assert names(source.events) == [f"events{suffix}"]
    assert source.properties == ()
    assert source.tree is None


def test_folder_with_parts(tmp_path: Path) -> None:
    touch(tmp_path, "events/b.csv", "events/a.csv.gz", "events/.hidden.csv", "events/_SUCCESS")
    touch(tmp_path, "item_properties_part2.csv", "item_properties_part1.csv", "category_tree.csv")
    source = sources.resolve(str(tmp_path), tmp_path / "work")
    assert names(source.events) == ["a.csv.gz", "b.csv"]
    assert names(source.properties) == ["item_properties_part1.csv", "item_properties_part2.csv"]
    assert source.tree == file_at(tmp_path / "category_tree.csv")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no events; expected events.csv"),
        (("events.csv", "events.parquet"), "expected events once, found events.csv, events.parquet"),
        (("events.csv", "events/a.csv"), "expected events once, found events.csv, events/"),
        (("events.csv", "category_tree.csv", "category_tree.parquet"), "expected category_tree once"),
    ],
)
def test_folder_that_is_no_source(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        sources.resolve(str(tmp_path), tmp_path / "work")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "'nowhere' is not a folder"),
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

    def generate(folder: Path, scale: float, seed: int) -> None:
        calls.append((scale, seed))
        touch(folder, "events.csv", "item_properties_part1.csv", "category_tree.csv")

    monkeypatch.setattr(sources.synthetic, "generate", generate)
    first = sources.resolve("synthetic:0.5", tmp_path / "work")
    assert sources.resolve("synthetic:0.50", tmp_path / "work") == sources.Source(
        "synthetic:0.50", first.events, first.properties, first.tree
    )
    sources.resolve("synthetic", tmp_path / "work")
    assert calls == [(0.5, 0), (1.0, 0)]
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["synthetic-0.5", "synthetic-1"]


def test_a_failed_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(folder: Path, scale: float, seed: int) -> None:
        touch(folder, "events.csv")
        raise OSError("disk full")

    monkeypatch.setattr(sources.synthetic, "generate", generate)
    with pytest.raises(OSError, match="disk full"):
        sources.resolve("synthetic:0.5", tmp_path)
    assert not list(tmp_path.iterdir())


def test_drafts_of_killed_writers_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts of the same source are removed after a day, also if the source exists by then."""
    monkeypatch.setattr(sources.synthetic, "generate", lambda folder, scale, seed: touch(folder, "events.csv"))
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
    events = pl.read_parquet(source.events[0].address)
    assert events.columns == ["timestamp", "visitorid", "event", "itemid", "transactionid"]
    assert events.height == 1_469_307
    assert events["event"].unique().to_list() == ["transaction"]
    # 2017-01-01 11:53:26 UTC, the first row of the package's table
    assert events.row(0) == (1_483_271_606_000, 900, "transaction", 1095275, 31198570044)
    tree = dict(pl.read_parquet(source.tree.address).iter_rows())
    properties = pl.read_parquet(source.properties[0].address)
    category = properties.row(by_predicate=pl.col("itemid") == 25671, named=True)
    assert category["timestamp"] == 1
    assert category["value"] == "GROCERY > FRZN ICE > ICE - CRUSHED/CUBED"
    assert tree[category["value"]] == "GROCERY > FRZN ICE"
    assert tree["GROCERY > FRZN ICE"] == "GROCERY"
    assert tree["GROCERY"] is None
    assert properties.row(by_predicate=pl.col("itemid") == 26081, named=True)["value"] == "MISCELLANEOUS"
