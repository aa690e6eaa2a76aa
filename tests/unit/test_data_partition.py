import numpy as np
import pyarrow as pa
import pytest

from recsys.data.layout.midnight import ORDER
from recsys.data.partition import (
    BUCKETS,
    buckets_of,
    count_days,
    merge_days,
    merge_events,
    sha256,
    split_events,
)
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.ids import Ids
from recsys.schema import DAY

ITEMS = Ids(pa.array([10, 20, 30]))


def events(*rows: tuple[int, int | str, int, int, str]) -> pa.Table:
    """Rows of (time, user, event, item, transaction)."""
    times, users, kinds, items, transactions = zip(*rows, strict=True)
    columns = [
        pa.array(times),
        pa.array(users),
        pa.array(kinds, pa.int8()),
        pa.array(items),
        pa.array(transactions),
    ]
    return pa.table(columns, names=["timestamp", "visitorid", "event", "itemid", "transactionid"])


@pytest.mark.parametrize("ids", [pa.array(range(100_000)), pa.array([f"u{i}" for i in range(100_000)])])
def test_buckets_are_even(ids: pa.Array) -> None:
    counts = np.bincount(buckets_of(ids), minlength=BUCKETS)
    assert len(counts) == BUCKETS
    assert counts.min() > 50
    assert counts.max() < 150


def test_buckets_do_not_change() -> None:
    assert buckets_of(pa.array([0, 1, -1, 2**62])).tolist() == [0, 485, 379, 197]
    assert buckets_of(pa.array(["a", "b", "a", "é"])).tolist() == [579, 1017, 579, 318]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_split_keeps_users_together_and_every_event(n: int) -> None:
    table = events(*((time, time % 13, 0, 10 * (1 + time % 3), "") for time in range(200)))
    tables = split_events(table, ITEMS, n)
    assert len(tables) == n
    users = [set(part["visitorid"].to_pylist()) for part in tables]
    assert sum(map(len, users)) == len(set.union(*users)) == 13
    assert sorted(time for part in tables for time in part["timestamp"].to_pylist()) == list(range(200))
    assert {code for part in tables for code in part["itemid"].to_pylist()} == {0, 1, 2}


def test_merge_of_a_log_of_dates_keeps_repeated_rows_in_the_order_of_the_files() -> None:
    first = events((DAY, 1, 2, 1, "t"), (DAY, 1, 2, 1, "t"), (DAY, 2, 2, 0, ""))
    second = events((DAY, 1, 2, 0, ""), (2 * DAY, 1, 2, 1, ""))
    # The second table comes from an earlier piece.
    parts = [table.append_column(ORDER, pa.array(order)) for table, order in ((first, [7, 9, 8]), (second, [1, 2]))]
    partition, summary = merge_events(*parts)
    assert partition.users.to_pylist() == [1, 2]
    assert partition.histories.items.tolist() == [0, 1, 1, 1, 0]
    assert partition.histories.times.tolist() == [DAY, DAY + 1, DAY + 2, 2 * DAY, DAY]
    assert (summary.duplicates, summary.spread, summary.start, summary.end) == (0, 2, DAY, 2 * DAY)


def test_merge_orders_and_drops_repeated_rows() -> None:
    first = events((5, 2, 0, 0, ""), (9, 1, 2, 1, "t"), (9, 1, 2, 1, "t"))
    second = events((5, 2, 0, 0, ""), (9, 1, 2, 1, "other"), (4, 1, 0, 2, ""))
    for tables in ((first, second), (second, first)):
        partition, summary = merge_events(*tables)
        assert partition.users.to_pylist() == [1, 2]
        histories = partition.histories
        assert histories.offsets.tolist() == [0, 3, 4]
        assert histories.times.tolist() == [4, 9, 9, 5]
        assert histories.items.tolist() == [2, 1, 1, 0]
        assert histories.events.tolist() == [0, 2, 2, 0]
        assert (summary.n_users, summary.duplicates, summary.start, summary.end) == (2, 2, 4, 9)
        assert summary.event_counts.tolist() == [2, 0, 2]


def test_merge_of_nothing() -> None:
    partition, summary = merge_events(events((1, 1, 0, 10, "")).slice(0, 0))
    assert len(partition.users) == len(partition.histories) == 0
    assert partition.users.type == pa.int64()
    assert (summary.n_users, summary.start, summary.end, summary.digest) == (0, None, None, b"")


def test_digests_do_not_depend_on_the_number_of_partitions() -> None:
    table = events(*((time, f"u{time % 40}", 0, 10, "") for time in range(200)))
    digests = [b"".join(merge_events(part)[1].digest for part in split_events(table, ITEMS, n)) for n in (1, 2, 9)]
    assert digests[0] == digests[1] == digests[2]
    other = table.slice(1)
    assert merge_events(*split_events(other, ITEMS, 1))[1].digest != digests[0]


def test_days_are_counted_back_from_the_newest_event() -> None:
    end = 10 * DAY
    times = np.array([end, end - 1, end - DAY + 1, end - DAY, end - DAY - 1, end - 2 * DAY])
    histories = Histories.build(np.zeros(6, int), np.zeros(6, int), np.zeros(6, int), times, 1)
    counts = count_days(UserPartition(pa.array([1]), histories), end)
    assert counts.age.tolist() == [0, 1, 2]
    assert counts.count.tolist() == [3, 2, 1]
    for days in range(4):
        assert counts.count[counts.age >= days].sum() == len(histories.until(end - days * DAY).times)


def test_days_of_partitions_add_up() -> None:
    users, items, kinds = np.array([0, 0, 1, 1]), np.array([1, 1, 1, 0]), np.array([0, 2, 0, 0])
    times = np.array([DAY, 5 * DAY, DAY, 3 * DAY])
    whole = UserPartition(pa.array([1, 2]), Histories.build(users, items, kinds, times, 2))
    parts = [UserPartition(whole.users[u : u + 1], whole.histories.take(np.array([u]))) for u in (1, 0)]
    merged = merge_days([count_days(part, 5 * DAY) for part in parts])
    rows = zip(merged.item.tolist(), merged.age.tolist(), merged.event.tolist(), merged.count.tolist(), strict=True)
    assert list(rows) == [(0, 2, 0, 1), (1, 0, 2, 1), (1, 4, 0, 2)]
    assert [a.dtype for a in (merged.item, merged.age, merged.event, merged.count)] == [
        "i4",
        "i4",
        "i1",
        "i8",
    ]


def test_sha256_tells_apart_what_concatenation_would_not() -> None:
    digests = {
        sha256(pa.array(["ab", "c"])),
        sha256(pa.array(["a", "bc"])),
        sha256(pa.array(["ab"]), pa.array(["c"])),
        sha256(np.array([1, 2])),
        sha256(np.array([1]), np.array([2])),
    }
    assert len(digests) == 5
    assert sha256(pa.array([1, 2])) == sha256(np.array([1, 2]))


def orders_of(partition: UserPartition) -> list[tuple[int, int, int]]:
    """The user, the item and the order of each event."""
    orders = partition.orders
    assert orders is not None
    return list(
        zip(partition.histories.rows.tolist(), partition.histories.items.tolist(), orders.tolist(), strict=True)
    )


def test_each_event_keeps_its_order() -> None:
    table = events((9, 2, 2, 1, "b"), (9, 2, 2, 0, "a"), (4, 2, 0, 2, ""), (5, 1, 2, 1, "b"), (9, 2, 2, 1, "a"))
    expected = [(0, 1, 0), (1, 2, -1), (1, 0, 1), (1, 1, 1), (1, 1, 2)]
    for rows in (range(5), range(4, -1, -1)):
        partition, _ = merge_events(table.take(pa.array(list(rows))))
        assert orders_of(partition) == expected
        assert partition.orders is not None
        assert partition.orders.dtype == np.int32


def test_a_log_without_orders_carries_none() -> None:
    partition, summary = merge_events(events((9, 2, 2, 1, ""), (4, 1, 0, 2, "")))
    assert partition.orders is None
    named, with_orders = merge_events(events((9, 2, 2, 1, "t"), (4, 1, 0, 2, "")))
    assert named.orders is not None
    assert summary.digest == with_orders.digest  # orders are no part of the fingerprint


def test_orders_of_a_log_of_dates_stay_with_their_rows() -> None:
    table = events((DAY, 1, 2, 1, "b"), (DAY, 1, 2, 0, "a"), (DAY, 1, 2, 1, "b"))
    partition, _ = merge_events(table.append_column(ORDER, pa.array([3, 1, 2])))
    assert orders_of(partition) == [(0, 0, 0), (0, 1, 1), (0, 1, 1)]
