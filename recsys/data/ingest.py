"""Files to the validated data of a shop, with Ray: read, check, encode, split by user."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from pydantic import Field

from recsys.cluster import read_blocks, run_split_tasks, run_tasks
from recsys.data.catalog import Catalog
from recsys.data.items import read_catalog
from recsys.data.partition import (
    BUCKETS,
    PartitionSummary,
    count_days,
    merge_days,
    merge_events,
    sha256,
    split_events,
)
from recsys.data.quarantine import Quarantine
from recsys.data.readers.base import FilePiece
from recsys.data.reading import read_piece, split_file
from recsys.data.shop import DailyCounts, Quality, UserPartition
from recsys.data.sources import Source
from recsys.data.validate import (
    EVENT_COLUMNS,
    EVENT_ROWS,
    FAULTS,
    OTHER_KIND,
    PIECE,
    REASON,
    ROW,
    Faults,
    check_events,
    integers,
)
from recsys.errors import DataError
from recsys.ids import IdKind, Ids
from recsys.schema import EVENT, EVENT_TYPES, ITEM, PURCHASE, TIME, TRANSACTION, USER, Config

logger = logging.getLogger(__name__)

PARTITION_EVENTS = 200_000
"""Events of a partition, some MB, unless the number of partitions is configured."""


class DataConfig(Config):
    """Settings for reading raw files."""

    properties: tuple[Literal["categoryid", "available"], ...] = ("categoryid", "available")
    """Item properties to keep; rows of other properties are skipped."""
    max_bad_fraction: float = Field(0.01, ge=0, lt=0.5)
    """Highest fraction of unusable rows, for events, item properties and the category tree each. Above it the run
    stops."""
    partitions: int | None = Field(None, ge=1, le=BUCKETS)
    """Number of partitions of the users; by default one for every 200,000 events."""


@dataclass(frozen=True, slots=True)
class ShopData:
    """The validated data of a shop, the input of all later steps.

    items: every item with an event
    partitions: each user is in exactly one of them; each is an object of its own, so that a task can take one
    event_counts: number of events by type
    start, end: times of the oldest and the newest event (ms)
    fingerprint: sha256 of all the data except `quality` and `name`. It does not depend on the order of rows, the number
        of files, or their format.
    name: the source as the person wrote it
    """

    items: Ids
    user_kind: IdKind
    partitions: tuple["ray.ObjectRef[UserPartition]", ...]
    n_users: int
    event_counts: dict[str, int]
    start: int
    end: int
    daily: DailyCounts
    catalog: Catalog
    quality: Quality
    fingerprint: str
    name: str


def ingest(source: Source, config: DataConfig, now: int, quarantine_path: str | Path) -> ShopData:
    """The validated data of a source.

    now: the clock of the run (ms); events more than a day later are unusable
    quarantine_path: a path or s3://bucket/key for the Parquet file of unusable rows; an older file is removed
    Raises DataError if a file or column is missing, no event is usable, or too many rows are unusable.
    """
    quarantine = Quarantine(quarantine_path, config.max_bad_fraction)
    events = read_events(source, config.max_bad_fraction, now, quarantine)
    n = config.partitions or min(-(-events.usable // PARTITION_EVENTS), BUCKETS)
    partitions, summaries = split_by_user(events, n)
    end = max(summary.end for summary in summaries if summary.end is not None)
    days = run_tasks(count_days, "count events by day", [(part, end) for part in partitions])
    catalog, properties = read_catalog(source, config.properties, now, events.items, quarantine)
    duplicates = sum(summary.duplicates for summary in summaries)
    counts = np.sum([summary.event_counts for summary in summaries], axis=0)
    return ShopData(
        items=events.items,
        user_kind=events.user_kind,
        partitions=tuple(partitions),
        n_users=sum(summary.n_users for summary in summaries),
        event_counts=dict(zip(EVENT_TYPES, counts.tolist(), strict=True)),
        start=min(summary.start for summary in summaries if summary.start is not None),
        end=end,
        daily=merge_days(ray.get(days)),
        catalog=catalog,
        quality=Quality(
            events_read=events.read,
            events_kept=events.usable - duplicates,
            events_quarantined=events.quarantined,
            duplicates=duplicates,
            blank_transactions=events.blank_transactions,
            properties=properties,
            quarantine=quarantine.path,
        ),
        fingerprint=fingerprint(events.items, catalog, summaries),
        name=source.name,
    )


@dataclass(frozen=True, slots=True)
class Events:
    """The usable events, and the numbers of the rows read.

    blocks: columns TIME, USER, EVENT, ITEM, TRANSACTION; ids have their type but no codes yet
    """

    blocks: list["ray.ObjectRef[pa.Table]"]
    items: Ids
    user_kind: IdKind
    read: int
    usable: int
    quarantined: dict[str, int]
    blank_transactions: int


def read_events(source: Source, max_bad_fraction: float, now: int, quarantine: Quarantine) -> Events:
    """The usable events of a source. Decides the kinds of ids, and quarantines the unusable rows.

    max_bad_fraction: of the usable rows; ids stay integers while a smaller fraction of them is text
    """
    pieces = [piece for file in source.events for piece in split_file(file, EVENT_COLUMNS)]
    logger.debug("reading events: %d files, %d pieces", len(source.events), len(pieces))
    raw = read_blocks(pieces, parse_events, "read events", now=now)
    counts = ray.get(run_tasks(count_text_ids, "count text ids", [(block,) for block in raw]))
    read, usable, text_users, text_items = np.sum(counts, axis=0).tolist()
    user_kind, item_kind = (_kind(texts, usable, max_bad_fraction) for texts in (text_users, text_items))
    calls = [(block, user_kind, item_kind) for block in raw]
    typed, summaries = run_split_tasks(type_ids, "type ids", calls, 2)
    reports: list[BlockReport] = ray.get(summaries)
    faults = pa.concat_tables([report.faults for report in reports])
    quarantined = quarantine.add_checked("event", read, faults, pieces)
    if read == len(faults):
        files = ", ".join(file.address for file in source.events)
        raise DataError(f"{files}: no usable event among {read:,} rows")
    return Events(
        blocks=typed,
        items=Ids.from_values(pa.chunked_array([report.items for report in reports])),
        user_kind=user_kind,
        read=read,
        usable=read - len(faults),
        quarantined=quarantined,
        blank_transactions=sum(report.blank_transactions for report in reports),
    )


def _kind(texts: int, rows: int, max_bad_fraction: float) -> IdKind:
    """int64 if so few ids are text that these can be mistakes."""
    return "int64" if texts <= max_bad_fraction * rows else "string"


def parse_events(piece: FilePiece, number: int, now: int) -> Iterator[pa.Table]:
    """EVENT_ROWS of the piece with this number, chunk after chunk; the first table is empty."""
    yield EVENT_ROWS.empty_table()
    for chunk in read_piece(piece, EVENT_COLUMNS):
        yield check_events(chunk, number, now)


def count_text_ids(block: pa.Table) -> tuple[int, int, int, int]:
    """Numbers of rows, of usable rows, and of usable rows where the user id or the item id is no integer."""
    usable = block.filter(pc.is_null(block[REASON]))
    users, items = (int((~integers(usable[name].combine_chunks())[1]).sum()) for name in (USER, ITEM))
    return len(block), len(usable), users, items


@dataclass(frozen=True, slots=True)
class BlockReport:
    """The items, the rejected rows and the purchases without a transaction id of a block.

    items: ids of the items with a usable event; faults: validate.FAULTS
    """

    items: pa.Array
    faults: pa.Table
    blank_transactions: int


def type_ids(block: pa.Table, user_kind: IdKind, item_kind: IdKind) -> tuple[pa.Table, BlockReport]:
    """The usable events of a block with ids of the given kinds. Rows with other ids are rejected."""
    good = pc.is_null(block[REASON])
    rows = block.filter(good)
    faults = Faults(rows[ROW].to_numpy(), rows[PIECE].to_numpy())
    columns = {name: rows[name] for name in (TIME, USER, EVENT, ITEM, TRANSACTION)}
    for name, kind in ((USER, user_kind), (ITEM, item_kind)):
        if kind == "int64":
            texts = rows[name].combine_chunks()
            columns[name], spelled = integers(texts)
            faults.reject(~spelled, name, OTHER_KIND, texts)
    events = pa.table(columns).filter(pa.array(faults.usable))
    bad = block.filter(pc.invert(good)).select(FAULTS.names)
    bought = events.filter(pc.equal(events[EVENT], PURCHASE))
    return events, BlockReport(
        items=events[ITEM].unique(),
        faults=pa.concat_tables([bad, faults.table()]),
        blank_transactions=int(pc.sum(pc.equal(bought[TRANSACTION], "")).as_py() or 0),
    )


def split_by_user(events: Events, n: int) -> tuple[list["ray.ObjectRef[UserPartition]"], list[PartitionSummary]]:
    """The `n` partitions of users and their summaries: every block is split, and each partition is merged.

    This is the only shuffle. It uses plain tasks, since Ray repeats a task whose worker dies. The hash shuffle of Ray
    Data keeps blocks in actors instead. On 2.8 million events the tasks took a third of the time of that shuffle, and
    two thirds of the time of Ray Data's sort shuffle.
    """
    items = ray.put(events.items)
    calls = [(block, items, n) for block in events.blocks]
    by_partition = run_split_tasks(split_events, "split events by user", calls, n)
    partitions, summaries = run_split_tasks(merge_events, "merge events of users", by_partition, 2)
    return partitions, ray.get(summaries)


def fingerprint(items: Ids, catalog: Catalog, summaries: list[PartitionSummary]) -> str:
    """The sha256 of items, catalog and events, hexadecimal. The number of partitions does not change it."""
    logs = (catalog.category_log, catalog.availability_log)
    arrays = [array for log in logs for array in (log.items, log.times, log.values)]
    users = b"".join(summary.digest for summary in summaries)
    return sha256(items.values, users, catalog.categories.values, catalog.parent, *arrays).hex()
