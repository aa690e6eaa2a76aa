"""Events to partitions of users: bucket, split, merge, count and digest. No Ray; `ingest` runs these as tasks."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import run_starts
from recsys.data.layout.midnight import ORDER, spread
from recsys.data.shop import DailyCounts, UserPartition
from recsys.histories import Histories
from recsys.ids import Ids, hashes
from recsys.schema import DAY, EVENT, EVENT_TYPES, ITEM, TIME, TRANSACTION, UNKNOWN, USER

BUCKETS = 1024
"""The number of buckets of users, whatever the number of partitions. A partition is a range of buckets."""


@dataclass(frozen=True, slots=True)
class PartitionSummary:
    """Numbers, times and digest of the events of a partition.

    event_counts: int64 (n_types,)
    start, end: times of the oldest and the newest event (ms), None if the partition is empty. Of a log of dates, end is
        the newest date.
    digest: the sha256 of each bucket that has users, bucket after bucket
    spread: the largest number of ms that `midnight.spread` added to a date
    """

    n_users: int
    duplicates: int
    event_counts: np.ndarray
    start: int | None
    end: int | None
    digest: bytes
    spread: int = 0


def buckets_of(ids: pa.Array) -> np.ndarray:
    """The bucket of each id, int64 (n,), the same in every process and on every machine.

    Integers are hashed by `recsys.ids.hashes`, strings by CRC-32. One hash would do, but neither may change: buckets
    make the partitions and the fingerprint, so the same data would get other ones.
    """
    if pa.types.is_int64(ids.type):
        return (hashes(ids) % np.uint64(BUCKETS)).astype(np.int64)
    coded = ids.dictionary_encode()
    buckets = [zlib.crc32(name.encode()) % BUCKETS for name in coded.dictionary.to_pylist()]
    return np.asarray(buckets, np.int64)[coded.indices.to_numpy()]


def split_events(events: pa.Table, items: Ids, n: int) -> list[pa.Table]:
    """The events of each of `n` partitions, with item codes in place of item ids."""
    users = events[USER].combine_chunks()
    part = buckets_of(users) * n // BUCKETS
    encoded = events.set_column(events.schema.get_field_index(ITEM), ITEM, pa.array(items.encode(events[ITEM])))
    order = np.argsort(part, kind="stable")
    borders = np.searchsorted(part[order], np.arange(n + 1))
    return [encoded.take(pa.array(order[borders[i] : borders[i + 1]])) for i in range(n)]


def merge_events(*tables: pa.Table) -> tuple[UserPartition, PartitionSummary]:
    """The partition of the events that every block has for it, and its summary.

    Repeated rows are dropped. In a log of dates, which has a column ORDER, they stay.
    """
    table = pa.concat_tables(tables).combine_chunks()
    frame, added = pl.DataFrame(table), 0
    newest = frame[TIME].max()
    if ORDER in frame.columns:
        frame, added = spread(frame)
    else:
        frame = frame.unique()
    events = frame.to_arrow()
    users = Ids.from_values(events[USER].cast(table.schema.field(USER).type))
    owners = users.encode(events[USER].cast(users.values.type))
    items, kinds, moments = (events[name].to_numpy() for name in (ITEM, EVENT, TIME))
    histories = Histories.build(owners, items, kinds, moments, len(users))
    orders = order_codes(owners, events[TRANSACTION])
    if orders is not None:  # in the order of the histories; rows that are equal there come by order
        orders = orders[np.lexsort((orders, kinds, items, moments, owners))]
    partition = UserPartition(users.values, histories, orders)
    times = histories.times
    return partition, PartitionSummary(
        n_users=len(users),
        duplicates=len(table) - len(times),
        event_counts=np.bincount(histories.events, minlength=len(EVENT_TYPES)),
        start=int(times.min()) if len(times) else None,
        end=None if newest is None else int(newest),  # type: ignore[arg-type]
        digest=_digest(partition),
        spread=added,
    )


def order_codes(owners: np.ndarray, texts: pa.Array | pa.ChunkedArray) -> np.ndarray | None:
    """The order of each event, int32 (n_events,), UNKNOWN without one; None if no event has an order.

    A text names one order of each user. Codes ascend by user, then by text.
    owners: int (n_events,), users; texts: ids of orders, "" for none
    """
    if not pc.any(pc.not_equal(texts, "")).as_py():
        return None
    coded = pc.dictionary_encode(texts)
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    rank = np.empty(len(coded.dictionary), np.int64)
    rank[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(rank))
    given = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
    keys = owners[given].astype(np.int64) * len(rank) + rank[coded.indices.to_numpy()[given]]
    codes = np.full(len(texts), UNKNOWN, np.int32)
    codes[given] = np.unique(keys, return_inverse=True)[1]
    return codes


def count_days(partition: UserPartition, end: int) -> DailyCounts:
    """The daily counts of one partition; end: the time of the newest event of all partitions (ms)."""
    histories = partition.histories
    ages = (end - histories.times) // DAY
    return _counts(histories.items, ages, histories.events, np.ones(len(ages), np.int64))


def merge_days(parts: Sequence[DailyCounts]) -> DailyCounts:
    """The sums of the daily counts of all parts."""
    return _counts(
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.age for part in parts]),
        np.concatenate([part.event for part in parts]),
        np.concatenate([part.count for part in parts]),
    )


def _counts(item: np.ndarray, age: np.ndarray, event: np.ndarray, count: np.ndarray) -> DailyCounts:
    """The sum of `count` by (item, age, event), in this order."""
    ages, kinds = int(age.max(initial=0)) + 1, len(EVENT_TYPES)
    keys = (item.astype(np.int64) * ages + age) * kinds + event
    order = np.argsort(keys)
    keys = keys[order]
    first = run_starts(keys)
    keys = keys[first]
    sums = np.add.reduceat(count[order], first) if len(first) else np.zeros(0, np.int64)
    rest = keys // kinds
    return DailyCounts(
        (rest // ages).astype(np.int32), (rest % ages).astype(np.int32), (keys % kinds).astype(np.int8), sums
    )


def _digest(partition: UserPartition) -> bytes:
    """The sha256 of each bucket that has users, bucket after bucket."""
    buckets = buckets_of(partition.users)
    digests = []
    for bucket in np.unique(buckets):
        users = np.flatnonzero(buckets == bucket)
        part = partition.histories.take(users)
        arrays = (part.offsets, part.items, part.events, part.times)
        digests.append(sha256(partition.users.take(pa.array(users)), *arrays))
    return b"".join(digests)


def sha256(*contents: pa.Array | np.ndarray | bytes) -> bytes:
    """The digest of the contents, each with its length in front. So other borders give another digest."""
    digest = hashlib.sha256()
    for content in contents:
        data = _bytes(content)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def _bytes(content: pa.Array | np.ndarray | bytes) -> bytes:
    if isinstance(content, pa.Array) and pa.types.is_string(content.type):
        texts = [text.encode() for text in content.to_pylist()]
        return sha256(np.asarray([len(text) for text in texts], np.int64), b"".join(texts))
    if isinstance(content, bytes):
        return content
    array = content.to_numpy() if isinstance(content, pa.Array) else content
    return np.ascontiguousarray(array).tobytes()
