import gzip
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import ray

from recsys.data import ingest as ingesting
from recsys.data import items as item_reading
from recsys.data import reading, sources
from recsys.data.catalog import TreeProblems
from recsys.data.ingest import DataConfig, ShopData
from recsys.data.readers.csv import CsvReader
from recsys.data.shop import UserPartition
from recsys.errors import DataError
from recsys.schema import DAY, EVENT_TYPES
from recsys.storage.filesystem import file_at

pytestmark = pytest.mark.usefixtures("ray_session")

HEADER = "timestamp,visitorid,event,itemid,transactionid"
START = 1_430_622_000_000
NOW = START + 200 * DAY


def write(folder: Path, *rows: str, header: str = HEADER, name: str = "events.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows, ""]))
    return folder


def ingest(folder: Path, **settings: Any) -> ShopData:
    source = sources.resolve(str(folder), folder / "work")
    return ingesting.ingest(source, DataConfig(**settings), NOW, folder / "out" / "quarantine.parquet")


def quarantine(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "out" / "quarantine.parquet").to_pylist()


def events_of(data: ShopData) -> list[tuple[Any, str, Any, int]]:
    """(user, event, item, time) of all events, user after user."""
    rows = []
    for part in ray.get(list(data.partitions)):
        part_users = part.users.take(part.histories.rows).to_pylist()
        items = data.items.decode(part.histories.items).to_pylist()
        kinds = [EVENT_TYPES[kind] for kind in part.histories.events]
        rows += zip(part_users, kinds, items, part.histories.times.tolist(), strict=True)
    return sorted(rows)


def contents(data: ShopData) -> list[Any]:
    """All data except the quality, in a form that can be compared."""
    arrays = [data.items.values, data.catalog.categories.values, data.catalog.parent]
    arrays += [getattr(data.daily, name) for name in ("item", "age", "event", "count")]
    for log in (data.catalog.category_log, data.catalog.availability_log):
        arrays += [log.items, log.times, log.values]
    for part in ray.get(list(data.partitions)):
        histories = part.histories
        arrays += [part.users, histories.offsets, histories.items, histories.events, histories.times]
    values = [(str(array.dtype if isinstance(array, np.ndarray) else array.type), array.tolist()) for array in arrays]
    return [*values, data.user_kind, data.n_users, data.event_counts, data.start, data.end, data.fingerprint]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """400 events of 30 users on 20 items, 3 of them twice; properties of 25 items in 4 categories."""
    rng = np.random.default_rng(0)
    rows = [
        f"{START + int(time)},{user},{EVENT_TYPES[kind]},{item},{'' if kind < 2 else user * 7}"
        for time, user, kind, item in zip(
            rng.integers(0, 30 * DAY, 400),
            rng.integers(0, 30, 400),
            rng.choice(3, 400, p=[0.8, 0.15, 0.05]),
            rng.integers(0, 20, 400),
            strict=True,
        )
    ]
    write(tmp_path, *rows, *rows[:3])
    properties = [
        f"{START + week * 7 * DAY},{item},{name},{value}"
        for item in range(25)
        for week in range(3)
        for name, value in (
            ("categoryid", (item + week) % 4),
            ("available", item % 2),
            ("790", f"n{item}.000"),
        )
    ]
    header = "timestamp,itemid,property,value"
    write(tmp_path, *properties[:100], header=header, name="item_properties_part1.csv")
    write(tmp_path, *properties[100:], header=header, name="item_properties_part2.csv")
    return write(tmp_path, "0,", "1,0", "2,0", header="categoryid,parentid", name="category_tree.csv")


def test_a_small_shop(shop: Path) -> None:
    data = ingest(shop, partitions=3)
    assert len(data.partitions) == 3
    assert (len(data.items), data.items.kind, data.n_users, data.user_kind) == (20, "int64", 30, "int64")
    assert sum(data.event_counts.values()) == data.daily.count.sum() == 400
    rows = pl.read_csv(shop / "events.csv").unique().sort("visitorid")
    raw = rows.select("visitorid", "event", "itemid", "timestamp").rows()
    assert events_of(data) == sorted(raw)
    assert (data.start, data.end) == (rows["timestamp"].min(), rows["timestamp"].max())
    quality = data.quality
    assert (quality.events_read, quality.events_kept, quality.duplicates) == (403, 400, 3)
    assert quality.events_quarantined == {}
    properties = quality.properties
    assert (properties.read, properties.not_asked, properties.kept, properties.unknown_item) == (
        225,
        75,
        120,
        30,
    )
    assert properties.tree.not_in_tree == 1
    state = data.catalog.as_of(START + 7 * DAY)
    assert data.catalog.categories.decode(state.category).to_pylist() == [(item + 1) % 4 for item in range(20)]
    assert state.available.tolist() == [item % 2 == 1 for item in range(20)]
    assert not (shop / "out").exists()


def test_users_are_in_one_partition_and_sorted(shop: Path) -> None:
    parts: list[UserPartition] = ray.get(list(ingest(shop, partitions=4).partitions))
    users = [user for part in parts for user in part.users.to_pylist()]
    assert sorted(users) == list(range(30))
    assert all(part.users.to_pylist() == sorted(part.users.to_pylist()) for part in parts)


def test_daily_counts_give_the_counts_at_any_cut(shop: Path) -> None:
    data = ingest(shop)
    rows = events_of(data)
    for days in (0, 1, 7, 29, 40):
        past = [row for row in rows if row[3] <= data.end - days * DAY]
        assert data.daily.count[data.daily.age >= days].sum() == len(past)


def test_categories_do_not_multiply_events(shop: Path) -> None:
    without = ingest(write(shop / "plain", *(shop / "events.csv").read_text().splitlines()[1:]))
    data = ingest(shop)
    assert data.event_counts == without.event_counts
    assert contents(data)[3:7] == contents(without)[3:7]
    assert len(data.catalog.as_of(data.end).category) == len(data.items)


def shuffled(shop: Path, folder: Path) -> Path:
    for file in shop.glob("*.csv"):
        header, *rows = file.read_text().splitlines()
        write(folder, *np.random.default_rng(1).permutation(rows).tolist(), header=header, name=file.name)
    return folder


def in_parts(shop: Path, folder: Path) -> Path:
    header, *rows = (shop / "events.csv").read_text().splitlines()
    for part in range(3):
        write(folder, *rows[part::3], header=header, name=f"events/{part}.csv")
    for file in [*shop.glob("item*.csv"), *shop.glob("category*.csv")]:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def compressed(shop: Path, folder: Path) -> Path:
    """Compressed files, with a byte order mark, Windows line ends, and other columns in another order."""
    folder.mkdir()
    for file in shop.glob("*.csv"):
        lines = [",".join([line.split(",")[-1], "more", *line.split(",")[:-1]]) for line in file.read_text().split()]
        data = b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode()
        compress = not file.name.startswith("category")
        (folder / (file.name + ".gz" * compress)).write_bytes(gzip.compress(data) if compress else data)
    return folder


def parquet(shop: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in shop.glob("*.csv"):
        table = pl.read_csv(file)
        if file.name == "events.csv":
            table = table.with_columns(pl.from_epoch("timestamp", "ms"), pl.col("transactionid").cast(pl.Float64))
        table.write_parquet(folder / f"{file.stem}.parquet", row_group_size=64)
    return folder


@pytest.mark.parametrize("form", [shuffled, in_parts, compressed, parquet])
def test_order_files_and_format_change_nothing(shop: Path, form: Callable[[Path, Path], Path]) -> None:
    same, other = ingest(shop, partitions=3), ingest(form(shop, shop / "other"), partitions=3)
    assert contents(same) == contents(other)
    assert same.quality == other.quality


def test_size_of_pieces_changes_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = ingest(shop, partitions=2)
    monkeypatch.setattr(reading, "READERS", [CsvReader(piece_bytes=4000)])
    assert len(reading.split_file(file_at(shop / "events.csv"), ["event"])) == 3
    other = ingest(shop, partitions=2)
    assert contents(same) == contents(other)
    assert same.quality == other.quality


def test_fingerprint_is_of_the_content(shop: Path) -> None:
    first = ingest(shop, partitions=2).fingerprint
    assert len(first) == 64
    assert ingest(shop, partitions=5).fingerprint == first
    text = (shop / "events.csv").read_text().splitlines()
    other = write(shop / "other", *text[1:-4], text[-4].replace("view", "addtocart"), *text[-3:])
    assert ingest(other).fingerprint != first


GOOD = [f"{START + row},{row % 9},view,{row % 5},,2015" for row in range(99)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{START},1,view", ("", f"{START},1,view", "not a complete row")),
        (f"{START},1,view,2,,2015,7", ("", f"{START},1,view,2,,2015,7", "not a complete row")),
        (f"{START},1,purchase,2,,", ("event", "purchase", "none of view, addtocart, transaction")),
        ("0,1,view,2,,", ("timestamp", "0", "not positive")),
        ("-1,1,view,2,,", ("timestamp", "-1", "not positive")),
        ("soon,1,view,2,,", ("timestamp", "soon", "not an integer")),
        (
            f"{NOW + 2 * DAY},1,view,2,,",
            ("timestamp", str(NOW + 2 * DAY), "later than the run's clock plus a day"),
        ),
        (f"{START},,view,2,,", ("visitorid", "", "blank")),
        (f"{START},1,view,null,,", ("itemid", "null", "blank")),
        (f"{START},x1,view,2,,", ("visitorid", "x1", "not an integer like the others")),
        (f"{START},1,view,2.5,,", ("itemid", "2.5", "not an integer like the others")),
    ],
)
def test_a_bad_row_is_quarantined(tmp_path: Path, row: str, reason: tuple[str, str, str]) -> None:
    header = f"{HEADER},datetime"
    data = ingest(write(tmp_path, *GOOD[:50], row, *GOOD[50:], header=header))
    clean = ingest(write(tmp_path / "clean", *GOOD, header=header))
    assert contents(data) == contents(clean)
    assert (data.quality.events_read, data.quality.events_kept) == (100, 99)
    column, value, why = reason
    assert data.quality.events_quarantined == {f"{column} {why}".strip(): 1}
    where = {"file": str(tmp_path / "events.csv"), "row": 52}
    assert quarantine(tmp_path) == [{**where, "column": column, "value": value, "reason": why}]


def test_an_item_without_a_usable_event_is_no_item(tmp_path: Path) -> None:
    data = ingest(write(tmp_path, *GOOD, f"{START},x,view,777,,", header=f"{HEADER},datetime"))
    assert data.items.values.to_pylist() == [0, 1, 2, 3, 4]


def test_too_many_bad_rows_stop_the_run(tmp_path: Path) -> None:
    rows = [*GOOD, f"{START},1,purchase,2,,", "0,1,view,2,,", f"{START},1,buy,2,,"]
    write(tmp_path, *rows, header=f"{HEADER},datetime")
    with pytest.raises(DataError, match=r"3 of 102 event rows \(2\.94%\) are unusable.*event none of view.*: 2, first"):
        ingest(tmp_path)
    assert [row["row"] for row in quarantine(tmp_path)] == [101, 102, 103]
    assert ingest(tmp_path, max_bad_fraction=0.03).quality.events_kept == 99


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"events\.csv: no usable event among 0 rows"),
        (["0,1,view,2,"], r"1 of 1 event rows \(100\.00%\) are unusable.*events\.csv row 2: '0'"),
    ],
)
def test_no_usable_row(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(write(tmp_path, *rows))


def test_parquet_without_rows(tmp_path: Path) -> None:
    pl.DataFrame(schema=dict.fromkeys(HEADER.split(","), pl.Int64)).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(DataError, match=r"events\.parquet: no usable event among 0 rows"):
        ingest(tmp_path)


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    write(tmp_path, header=HEADER.replace(column, "other"))
    with pytest.raises(DataError, match=rf"events\.csv: column '{column}' is missing; columns found: .*other"):
        ingest(tmp_path)


def test_a_compressed_file_that_ends_early_stops_the_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{START},{user},view,{item}," for user, item in rng.integers(0, 10**9, (5000, 2)).tolist()]
    data = gzip.compress("\n".join([HEADER, *rows]).encode())
    (tmp_path / "events.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"events\.csv\.gz: cannot be read as CSV"):
        ingest(tmp_path)


def test_ids_of_text(tmp_path: Path) -> None:
    rows = [f"{START + row},user-{row % 3},view,{row % 5}," for row in range(50)]
    data = ingest(write(tmp_path, *rows))
    assert (data.user_kind, data.items.kind) == ("string", "int64")
    users = [user for part in ray.get(list(data.partitions)) for user in part.users.to_pylist()]
    assert sorted(users) == ["user-0", "user-1", "user-2"]


def test_mixed_ids_are_text(tmp_path: Path) -> None:
    rows = [f"{START + row},{row % 3},view,{'007' if row % 5 == 0 else row % 5}," for row in range(50)]
    data = ingest(write(tmp_path, *rows))
    assert data.items.values.to_pylist() == ["007", "1", "2", "3", "4"]
    assert data.quality.events_quarantined == {}


def test_blank_transactions_are_valid_and_counted(tmp_path: Path) -> None:
    rows = [f"{START + row},1,transaction,2,{'' if row % 2 else 5}" for row in range(10)]
    data = ingest(write(tmp_path, *rows, f"{START},1,view,2,"))
    assert data.quality.blank_transactions == 5
    assert data.event_counts == {"view": 1, "addtocart": 0, "transaction": 10}


def test_duplicates_are_equal_in_every_column(tmp_path: Path) -> None:
    row = f"{START},1,transaction,2,"
    data = ingest(write(tmp_path, row + "8", row + "8", row + "9", row, f"{START},1,view,2,8"))
    assert (data.quality.duplicates, data.quality.events_kept) == (1, 4)


def test_one_user_with_many_events(tmp_path: Path) -> None:
    times = np.random.default_rng(0).permutation(100_000)
    rows = [f"{START + time},5,view,{time % 1000}," for time in times.tolist()]
    data = ingest(write(tmp_path, *rows, f"{START},6,view,1,"), partitions=2)
    histories = [part.histories for part in ray.get(list(data.partitions)) if len(part.users)]
    assert sorted(int(length) for part in histories for length in part.lengths) == [1, 100_000]
    heavy = max(histories, key=lambda part: len(part.times))
    assert (np.diff(heavy.latest(100_000).times) >= 0).all()


PROPERTIES = "timestamp,itemid,property,value"


def test_bad_properties_are_quarantined(tmp_path: Path) -> None:
    write(tmp_path, *GOOD, header=f"{HEADER},datetime")
    good = [f"{START},{row % 5},categoryid,{row % 3}" for row in range(300)]
    bad = [f"{START},x,categoryid,1", f"{START},1,available,maybe", f"{START},1"]
    write(tmp_path, *good, *bad, header=PROPERTIES, name="item_properties.csv")
    data = ingest(tmp_path)
    assert data.quality.properties.quarantined == {
        "available neither 0 nor 1": 1,
        "itemid not an integer like the others": 1,
        "not a complete row": 1,
    }
    assert (data.quality.properties.read, data.quality.properties.kept) == (303, 300)
    assert [row["row"] for row in quarantine(tmp_path)] == [302, 303, 304]
    with pytest.raises(DataError, match=r"3 of 303 item property rows \(0\.99%\)"):
        ingest(tmp_path, max_bad_fraction=0.005)


def test_properties_that_are_not_asked_for(shop: Path) -> None:
    data = ingest(shop, properties=["available"])
    assert (data.quality.properties.not_asked, data.quality.properties.kept) == (150, 60)
    assert (data.catalog.as_of(data.end).category == -1).all()
    assert ingest(shop, properties=[]).quality.properties.read == 0


def test_bad_tree_rows_are_quarantined(shop: Path) -> None:
    write(shop, "0,", ",0", "2,0", "4,0", "3,1,5", header="categoryid,parentid", name="category_tree.csv")
    quality = ingest(shop, max_bad_fraction=0.4).quality
    assert quality.properties.tree_quarantined == {"categoryid blank": 1, "not a complete row": 1}
    assert quality.quarantine == str(shop / "out" / "quarantine.parquet")
    assert [row["row"] for row in quarantine(shop)] == [3, 6]
    with pytest.raises(DataError, match=r"2 of 5 category tree rows \(40\.00%\) are.*category_tree\.csv row 3"):
        ingest(shop)


def test_a_tree_of_cycles_and_missing_parents_is_mended(shop: Path) -> None:
    write(shop, "0,1", "1,0", "2,9", header="categoryid,parentid", name="category_tree.csv")
    quality = ingest(shop).quality
    assert (quality.properties.tree.cycles, quality.properties.tree.missing_parents) == (1, 1)
    assert (quality.properties.tree_quarantined, quality.quarantine) == ({}, None)


def killing_once(function: Callable[..., Any], marker: Path) -> Callable[..., Any]:
    def kill_once(*arguments: Any, **settings: Any) -> Any:
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **settings)

    return kill_once


@pytest.mark.soak(10)
def test_killed_workers_change_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every step one worker dies."""
    undisturbed = contents(ingest(shop, partitions=2))
    steps = {
        ingesting: ["parse_events", "count_text_ids", "type_ids", "split_events", "merge_events", "count_days"],
        item_reading: ["parse_properties", "encode_properties"],
    }
    markers = []
    for module, names in steps.items():
        for name in names:
            markers.append(shop / f"{name}.killed")
            monkeypatch.setattr(module, name, killing_once(getattr(module, name), markers[-1]))
    assert contents(ingest(shop, partitions=2)) == undisturbed
    assert all(marker.exists() for marker in markers)


def test_raw_sample(shared: Path, tmp_path: Path) -> None:
    source = sources.resolve(str(shared / "retailrocket" / "raw_sample"), tmp_path)
    data = ingesting.ingest(source, DataConfig(), NOW, tmp_path / "quarantine.parquet")
    assert (data.quality.events_read, data.quality.duplicates) == (9385, 3)
    assert data.event_counts == {"view": 9075, "addtocart": 261, "transaction": 46}
    assert data.n_users == 5000
    assert len(data.catalog.categories) == 1669
    assert data.quality.properties.tree == TreeProblems()


def test_completejourney(tmp_path: Path) -> None:
    source = sources.resolve("completejourney", tmp_path)
    data = ingesting.ingest(source, DataConfig(), NOW + 3000 * DAY, tmp_path / "quarantine.parquet")
    assert data.event_counts == {"view": 0, "addtocart": 0, "transaction": 1_469_307}
    assert (data.n_users, len(data.items)) == (2469, 68_509)
    assert data.quality.duplicates == 0
    assert data.user_kind == data.items.kind == "int64"
    assert data.catalog.categories.kind == "string"
    # The product table lacks 17 of the products bought.
    assert (data.catalog.as_of(data.start).category == -1).sum() == 17
