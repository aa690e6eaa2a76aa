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

from recsys.data import events as event_reading
from recsys.data import ingest as ingesting
from recsys.data import items as item_reading
from recsys.data import reading, sources
from recsys.data.catalog import TreeProblems
from recsys.data.ingest import DataConfig, ShopData
from recsys.data.layout.ids import INEXACT
from recsys.data.layout.unclear import UnclearError
from recsys.data.readers.csv import CsvReader
from recsys.data.shop import UserPartition
from recsys.data.validate import NO_AVAILABILITY
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
        (f"{START},1,swipe,2,,", ("event", "swipe", "no meaning in data.events.types")),
        ("0,1,view,2,,", ("timestamp", "0", "not positive")),
        ("-1,1,view,2,,", ("timestamp", "-1", "not positive")),
        ("soon,1,view,2,,", ("timestamp", "soon", "not a number of milliseconds")),
        (
            f"{START // 1000},1,view,2,,",
            ("timestamp", str(START // 1000), "in seconds, where the others are in milliseconds"),
        ),
        (
            f"{NOW + 2 * DAY},1,view,2,,",
            ("timestamp", str(NOW + 2 * DAY), "later than the run's clock plus a day"),
        ),
        (f"{START},,view,2,,", ("visitorid", "", "blank")),
        (f"{START},1,view,null,,", ("itemid", "null", "blank")),
        (f"{START},1.5e+18,view,2,,", ("visitorid", "1.5e+18", INEXACT)),
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
    data = ingest(write(tmp_path, *GOOD, f"{START},undefined,view,777,,", header=f"{HEADER},datetime"))
    assert data.items.values.to_pylist() == [0, 1, 2, 3, 4]


def test_too_many_bad_rows_stop_the_run(tmp_path: Path) -> None:
    rows = [*GOOD, f"{START},,view,2,,", "0,1,view,2,,", f"{START},,view,2,,"]
    write(tmp_path, *rows, header=f"{HEADER},datetime")
    with pytest.raises(DataError, match=r"3 of 102 event rows \(2\.94%\) are unusable.*visitorid blank: 2, first"):
        ingest(tmp_path)
    assert [row["row"] for row in quarantine(tmp_path)] == [101, 102, 103]
    assert ingest(tmp_path, max_bad_fraction=0.03).quality.events_kept == 99


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"events\.csv: no usable event among 0 rows"),
        ([f"{START},,view,2,"], r"1 of 1 event rows \(100\.00%\) are unusable.*events\.csv row 2: ''"),
        (
            ["0,1,view,2,"],
            r"column 'timestamp': no value among 1 read so far is a time .*; set data\.events\.time_unit",
        ),
    ],
)
def test_no_usable_row(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(write(tmp_path, *rows))


def test_parquet_without_rows(tmp_path: Path) -> None:
    pl.DataFrame(schema=dict.fromkeys(HEADER.split(","), pl.Int64)).write_parquet(tmp_path / "events.parquet")
    with pytest.raises(DataError, match=r"events\.parquet: no usable event among 0 rows"):
        ingest(tmp_path)


def test_event_types_without_a_meaning_stop_the_run(tmp_path: Path) -> None:
    write(tmp_path, *GOOD, *[f"{START},1,swipe,2,,"] * 3, f"{START},1,hover,2,,", header=f"{HEADER},datetime")
    with pytest.raises(DataError, match=r"4 of 103 event rows .*: 'swipe' 3, 'hover' 1; set data\.events\.types"):
        ingest(tmp_path)
    events = {"types": {"swipe": "view", "hover": "ignore"}}
    assert ingest(tmp_path, events=events).quality.event_words == {"view": 99, "swipe": 3, "hover": 1}


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
    bad = [f"{START},,categoryid,1", f"{START},1,available,maybe", f"{START},1"]
    write(tmp_path, *good, *bad, header=PROPERTIES, name="item_properties.csv")
    data = ingest(tmp_path)
    assert data.quality.properties.quarantined == {
        f"available {NO_AVAILABILITY}": 1,
        "itemid blank": 1,
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


def test_dates_are_decided_by_a_scan_of_all_files(tmp_path: Path) -> None:
    """The first 1,000 rows of each file leave day and month open."""
    header = "user,item,date,quantity"
    rows = [f"{row % 9},{row % 5},{1 + row % 12}/2/2012,1" for row in range(1100)]
    write(tmp_path, *rows, header=header, name="log.csv")
    with pytest.raises(UnclearError, match=r"every date can be read as day/month/year and as month/day/year"):
        ingest(tmp_path)
    write(tmp_path, *rows, "1,1,13/2/2012,1", header=header, name="log.csv")
    data = ingest(tmp_path)
    assert data.start == 1_328_054_400_000  # February 1
    assert data.mapping is not None
    assert (data.mapping.time_format, data.mapping.types, data.mapping.dates) == ("day/month/year", "transaction", True)


def dated(folder: Path, rows: int = 300) -> Path:
    """A log of dates, where each user has some rows a day, some of them twice."""
    rng = np.random.default_rng(0)
    users, items, days = (rng.integers(0, n, rows) for n in (20, 8, 30))
    lines = [f"u{u},{i},2012-03-{1 + d:02d}" for u, i, d in zip(users, items, days, strict=True)]
    return write(folder, *lines, *lines[:50], header="customer_id,article_id,t_dat", name="transactions.csv")


def test_a_log_of_dates_keeps_repeated_rows_and_the_order_of_the_file(tmp_path: Path) -> None:
    data = ingest(dated(tmp_path), partitions=3)
    quality = data.quality
    assert (quality.events_read, quality.events_kept, quality.duplicates) == (350, 350, 0)
    lines = [line.split(",") for line in (tmp_path / "transactions.csv").read_text().splitlines()[1:]]
    ordered: dict[tuple[str, str], list[int]] = {}
    for user, item, date in lines:
        ordered.setdefault((user, date), []).append(int(item))
    by_day: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for user, _, item, time in events_of(data):
        date = str(np.datetime64(time // DAY, "D"))
        by_day.setdefault((user, date), []).append((time % DAY, item))
    assert {key: [item for _, item in sorted(rows)] for key, rows in by_day.items()} == ordered
    assert all([ms for ms, _ in sorted(rows)] == list(range(len(rows))) for rows in by_day.values())
    # No cut parts the rows of a day: each event has the age of its date.
    newest = max(date for _, date in ordered)
    assert data.end - max(ms for rows in by_day.values() for ms, _ in rows) == int(
        np.datetime64(newest, "ms").astype(np.int64)
    )


def test_partitions_and_pieces_do_not_change_a_log_of_dates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ingest(dated(tmp_path), partitions=1)
    monkeypatch.setattr(reading, "READERS", [CsvReader(piece_bytes=1000)])
    other = ingest(tmp_path, partitions=7)
    assert (events_of(first), first.end, first.fingerprint) == (events_of(other), other.end, other.fingerprint)
    assert np.array_equal(first.daily.age, other.daily.age)
    lines = (tmp_path / "transactions.csv").read_text().splitlines()
    turned = ingest(write(tmp_path / "turned", *lines[:0:-1], header=lines[0], name="transactions.csv"))
    assert turned.fingerprint != first.fingerprint


def test_stray_events_are_rejected_and_named(tmp_path: Path) -> None:
    rows = [f"{START + row * DAY // 50},{row % 9},view,{row % 5}," for row in range(3000)]
    strays = [f"{START - 90 * DAY},1,view,777,", f"{START + 100 * DAY},1,view,778,"]
    data = ingest(write(tmp_path, *rows[:7], strays[0], *rows[7:], strays[1]))
    clean = ingest(write(tmp_path / "clean", *rows))
    assert contents(data) == contents(clean)
    assert data.quality.events_quarantined == {"timestamp far from all other events": 2}
    assert [(row["row"], row["value"]) for row in quarantine(tmp_path)] == [
        (9, "2015-02-02 03:00"),
        (3003, "2015-08-11 03:00"),
    ]


def test_one_id_that_is_text_makes_all_ids_text_and_drops_nothing(tmp_path: Path) -> None:
    rows = [f"{START + row},{row}.0,view,{row % 5}," for row in range(300)]
    data = ingest(write(tmp_path, *rows, f"{START},guest-7,view,2,", f"{START},088055,view,2,"))
    assert (data.user_kind, data.items.kind, data.n_users) == ("string", "int64", 302)
    assert (data.quality.events_quarantined, data.text_ids) == ({}, {"user": "088055"})
    assert {"0", "299", "guest-7", "088055"} <= {user for user, *_ in events_of(data)}
    pinned = ingest(tmp_path, events={"ids": {"user": "int64"}})
    assert (pinned.user_kind, pinned.n_users) == ("int64", 300)
    assert pinned.quality.events_quarantined == {"visitorid not an integer, as data.events.ids requires": 2}


def test_rows_are_left_out_by_conditions(tmp_path: Path) -> None:
    rows = [f"{row % 9}.0,{row % 5},{START + row},{row % 3 - 1}" for row in range(300)]
    write(tmp_path, *rows, ",3,1,1", header="CustomerID,StockCode,time,Quantity", name="invoices.csv")
    data = ingest(tmp_path, events={"where": ["Quantity > 0", "CustomerID is not blank"]})
    assert (data.quality.events_left_out, data.quality.events_kept, data.quality.events_quarantined) == (201, 100, {})
    assert data.user_kind == "int64"


@pytest.mark.soak(10)
def test_killed_workers_change_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every step one worker dies."""
    undisturbed = contents(ingest(shop, partitions=2))
    steps = {
        event_reading: ["parse_events", "survey_block", "type_ids"],
        ingesting: ["split_events", "merge_events", "count_days"],
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
    # Of 92,331 products in the table, 68,492 were bought, and 17 were bought that the table lacks.
    assert (data.n_users, len(data.items)) == (2469, 92_348)
    assert (np.bincount(data.daily.item, minlength=len(data.items)) > 0).sum() == 68_509
    assert data.quality.duplicates == 0
    assert data.user_kind == data.items.kind == "int64"
    assert data.catalog.categories.kind == "string"
    # The product table lacks 17 of the products bought.
    assert (data.catalog.as_of(data.start).category == -1).sum() == 17
    assert [(one.name, one.kind) for one in data.catalog.attributes.specs] == [
        *(("manufacturer_id", "category"), ("department", "category"), ("brand", "category")),
        ("package_size", "category"),
    ]
    [title] = data.catalog.attributes.texts
    code = data.items.code(25671)
    assert title.as_of(0, len(data.items))[code].as_py() == "Frzn Ice: Ice - Crushed/Cubed"


WIDE = [f"{item},{item * 1.5},brand {item % 3},Item {item}" for item in range(25)]


def test_items_of_a_table_join_those_with_events(shop: Path) -> None:
    """Five items have no event. Without attributes nothing changes, not even the fingerprint."""
    before = ingest(shop, partitions=3)
    write(shop, *WIDE, header="product_id,price,brand,name", name="products.csv")
    data = ingest(shop, partitions=3)
    assert data.items.values.to_pylist() == list(range(25))
    assert (np.bincount(data.daily.item, minlength=25) > 0).sum() == 20
    assert [(one.name, one.kind) for one in data.catalog.attributes.specs] == [
        ("price", "number"),
        ("brand", "category"),
    ]
    state = data.catalog.as_of(data.start)
    assert state.attributes is not None
    assert state.attributes.numbers["price"].tolist() == [item * 1.5 for item in range(25)]
    assert data.catalog.attributes.texts_as_of(data.end, 25)["title"][24].as_py() == "Item 24"
    assert contents(data) == contents(ingest(shop, partitions=3))
    assert contents(ingest(shop, partitions=3, items={"attributes": {}})) == contents(before)
    assert data.fingerprint != before.fingerprint


def test_declared_properties_are_attributes(shop: Path) -> None:
    data = ingest(shop, items={"attributes": {"790": "number"}})
    assert len(data.items) == 25
    [number] = data.catalog.attributes.learned
    state = data.catalog.as_of(data.end).attributes
    assert state is not None
    assert (number.name, state.numbers["790"].tolist()) == ("790", list(range(25)))
    assert data.quality.properties.not_asked == 0


def test_facts_about_items_are_read_from_the_log(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        f"{START + number * 60_000},{rng.integers(60)},view,{item},,brand {item % 4},{item * 2}.50"
        for number, item in enumerate(rng.integers(0, 20, 500).tolist())
    ]
    write(tmp_path, *rows, header=f"{HEADER},brand,price")
    data = ingest(tmp_path)
    assert [(one.name, one.kind) for one in data.catalog.attributes.specs] == [
        ("brand", "category"),
        ("price", "number"),
    ]
    assert (len(data.items), data.quality.events_read, data.quality.properties.quarantined) == (20, 500, {})
    state = data.catalog.as_of(data.start).attributes
    assert state is not None
    assert np.isfinite(state.numbers["price"]).sum() == 1  # only the first event is known by then
