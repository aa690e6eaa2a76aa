"""Events to partitions of users: one shuffle, made of Ray tasks that can be run again."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.arrays import run_starts
from recsys.data.shop import DailyCounts, UserPartition
from recsys.histories import Histories
from recsys.ids import Ids, mix
from recsys.schema import DAY, EVENT, EVENT_TYPES, ITEM, TIME, USER

BUCKETS = 1024
"""Users fall into this many buckets whatever the number of partitions; a partition is a range of buckets."""


@dataclass(frozen=True, slots=True)
class PartitionSummary:
    """
    event_counts: int64 (n_types,)
    start, end: oldest and newest event (ms); None where the partition is empty
    digest: sha256 of the content of each bucket that has users
    """

    n_users: int
    duplicates: int
    event_counts: np.ndarray
    start: int | None
    end: int | None
    digest: bytes


def buckets_of(ids: pa.Array) -> np.ndarray:
    """A bucket for each id, int64 (n,), the same in every process and on every machine."""
    if pa.types.is_int64(ids.type):
        return (mix(ids.to_numpy().astype(np.uint64)) % np.uint64(BUCKETS)).astype(np.int64)
    coded = ids.dictionary_encode()
    hashes = [zlib.crc32(name.encode()) % BUCKETS for name in coded.dictionary.to_pylist()]
    return np.asarray(hashes, np.int64)[coded.indices.to_numpy()]


def split_events(events: pa.Table, items: Ids, n: int) -> list[pa.Table]:
    """The events of each of `n` partitions, items encoded."""
    users = events[USER].combine_chunks()
    part = buckets_of(users) * n // BUCKETS
    encoded = events.set_column(events.schema.get_field_index(ITEM), ITEM, pa.array(items.encode(events[ITEM])))
    order = np.argsort(part, kind="stable")
    borders = np.searchsorted(part[order], np.arange(n + 1))
    return [encoded.take(pa.array(order[borders[i] : borders[i + 1]])) for i in range(n)]


def merge_events(*shares: pa.Table) -> tuple[UserPartition, PartitionSummary]:
    """One partition from its share of every block; repeated rows are dropped."""
    table = pa.concat_tables(shares).combine_chunks()
    events = pl.DataFrame(table).unique().to_arrow()
    users = Ids.from_values(events[USER].cast(table.schema.field(USER).type))
    histories = Histories.build(
        users.encode(events[USER].cast(users.values.type)),
        events[ITEM].to_numpy(),
        events[EVENT].to_numpy(),
        events[TIME].to_numpy(),
        len(users),
    )
    partition = UserPartition(users.values, histories)
    times = histories.times
    return partition, PartitionSummary(
        n_users=len(users),
        duplicates=len(table) - len(times),
        event_counts=np.bincount(histories.events, minlength=len(EVENT_TYPES)),
        start=int(times.min()) if len(times) else None,
        end=int(times.max()) if len(times) else None,
        digest=_digest(partition),
    )


def count_days(partition: UserPartition, end: int) -> DailyCounts:
    """The share of one partition in the daily counts."""
    histories = partition.histories
    ages = (end - histories.times) // DAY
    return _counts(histories.items, ages, histories.events, np.ones(len(ages), np.int64))


def merge_days(parts: Sequence[DailyCounts]) -> DailyCounts:
    return _counts(
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.age for part in parts]),
        np.concatenate([part.event for part in parts]),
        np.concatenate([part.count for part in parts]),
    )


def _counts(item: np.ndarray, age: np.ndarray, event: np.ndarray, count: np.ndarray) -> DailyCounts:
    """Sum of `count` by (item, age, event), in that order."""
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
    buckets = buckets_of(partition.users)
    digests = []
    for bucket in np.unique(buckets):
        users = np.flatnonzero(buckets == bucket)
        part = partition.histories.take(users)
        arrays = (part.offsets, part.items, part.events, part.times)
        digests.append(sha256(partition.users.take(pa.array(users)), *arrays))
    return b"".join(digests)


def sha256(*contents: pa.Array | np.ndarray | bytes) -> bytes:
    """Digest of the contents, each with its length, so that none can run into the next."""
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
