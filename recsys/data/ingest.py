"""Files to a shop's validated data, with Ray: read, check, encode, split by user."""

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

from recsys.cluster import run_split_tasks, run_tasks
from recsys.data.blocks import read_blocks
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
from recsys.data.reading import Piece, pieces_of, read_piece
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
"""Events of a partition where the number of partitions is not configured: some MB each."""


class DataConfig(Config):
    """How raw files are read."""

    properties: tuple[Literal["categoryid", "available"], ...] = ("categoryid", "available")
    """Item properties to keep; rows of others are passed over."""
    max_bad_share: float = Field(0.01, ge=0, lt=0.5)
    """Share of unusable rows, of events, of properties and of the tree, above which nothing is trained."""
    partitions: int | None = Field(None, ge=1, le=BUCKETS)
    """Parts that users are split into; by default one for every 200,000 events."""


@dataclass(frozen=True, slots=True)
class ShopData:
    """A shop's validated data, as every later step sees it.

    items: every item with an event
    partitions: each user is in exactly one; one object each, so that later tasks take one each
    event_counts: by event type
    start, end: times of the oldest and the newest event (ms)
    fingerprint: sha256 of all of this but `quality`, whatever the order of rows, the files or their format
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


def ingest(source: Source, config: DataConfig, now: int, quarantine: str | Path) -> ShopData:
    """Read and check everything of a source.

    now: the run's clock (ms); events more than a day later are unusable
    quarantine: a Parquet file (a path or s3://bucket/key) for the rows set aside, replaced or removed
    Raises DataError where a file or column is missing, nothing is usable, or too much is not.
    """
    aside = Quarantine(quarantine, config.max_bad_share)
    events = read_events(source, config.max_bad_share, now, aside)
    n = config.partitions or min(-(-events.usable // PARTITION_EVENTS), BUCKETS)
    partitions, summaries = split_by_user(events, n)
    end = max(part.end for part in summaries if part.end is not None)
    days = run_tasks(count_days, "count events by day", [(part, end) for part in partitions])
    catalog, properties = read_catalog(source, config.properties, now, events.items, aside)
    duplicates = sum(part.duplicates for part in summaries)
    counts = np.sum([part.event_counts for part in summaries], axis=0)
    return ShopData(
        items=events.items,
        user_kind=events.user_kind,
        partitions=tuple(partitions),
        n_users=sum(part.n_users for part in summaries),
        event_counts=dict(zip(EVENT_TYPES, counts.tolist(), strict=True)),
        start=min(part.start for part in summaries if part.start is not None),
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
            quarantine=aside.path,
        ),
        fingerprint=fingerprint(events.items, catalog, summaries),
    )


@dataclass(frozen=True, slots=True)
class Events:
    """blocks: columns TIME, USER, EVENT, ITEM, TRANSACTION of the usable events, ids typed but not encoded"""

    blocks: list["ray.ObjectRef[pa.Table]"]
    items: Ids
    user_kind: IdKind
    read: int
    usable: int
    quarantined: dict[str, int]
    blank_transactions: int


def read_events(source: Source, max_bad_share: float, now: int, aside: Quarantine) -> Events:
    """Read, learn the kinds of ids, set the unusable rows aside."""
    pieces = [piece for file in source.events for piece in pieces_of(file, EVENT_COLUMNS)]
    logger.info("reading events: %d files, %d pieces", len(source.events), len(pieces))
    raw = read_blocks(pieces, parse_events, "read events", now=now)
    surveys = ray.get(run_tasks(survey_ids, "survey ids", [(block,) for block in raw]))
    read, usable, odd_users, odd_items = np.sum(surveys, axis=0).tolist()
    user_kind, item_kind = (_kind(odd, usable, max_bad_share) for odd in (odd_users, odd_items))
    calls = [(block, user_kind, item_kind) for block in raw]
    typed, summaries = run_split_tasks(type_ids, "type ids", calls, 2)
    reports: list[BlockReport] = ray.get(summaries)
    faults = pa.concat_tables([report.faults for report in reports])
    quarantined = aside.check("event", read, faults, pieces)
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


def _kind(odd: int, rows: int, max_bad_share: float) -> IdKind:
    """int64 where the ids that spell no integer are few enough to be mistakes."""
    return "int64" if odd <= max_bad_share * rows else "string"


def parse_events(piece: Piece, number: int, now: int) -> Iterator[pa.Table]:
    yield EVENT_ROWS.empty_table()
    for chunk in read_piece(piece, EVENT_COLUMNS):
        yield check_events(chunk, number, now)


def survey_ids(block: pa.Table) -> tuple[int, int, int, int]:
    """Rows, usable rows, and among these the users and the items that spell no integer."""
    usable = block.filter(pc.is_null(block[REASON]))
    users, items = (int((~integers(usable[name].combine_chunks())[1]).sum()) for name in (USER, ITEM))
    return len(block), len(usable), users, items


@dataclass(frozen=True, slots=True)
class BlockReport:
    """items: those with a usable event; faults: rows of validate.FAULTS"""

    items: pa.Array
    faults: pa.Table
    blank_transactions: int


def type_ids(block: pa.Table, user_kind: IdKind, item_kind: IdKind) -> tuple[pa.Table, BlockReport]:
    """The usable events with ids of the given kinds; ids of another kind make a row unusable."""
    good = pc.is_null(block[REASON])
    rows = block.filter(good)
    faults = Faults(rows[ROW].to_numpy(), rows[PIECE].to_numpy())
    columns = {name: rows[name] for name in (TIME, USER, EVENT, ITEM, TRANSACTION)}
    for name, kind in ((USER, user_kind), (ITEM, item_kind)):
        if kind == "int64":
            texts = rows[name].combine_chunks()
            columns[name], spelled = integers(texts)
            faults.add(~spelled, name, OTHER_KIND, texts)
    events = pa.table(columns).filter(pa.array(faults.usable))
    bad = block.filter(pc.invert(good)).select(FAULTS.names)
    bought = events.filter(pc.equal(events[EVENT], PURCHASE))
    return events, BlockReport(
        items=events[ITEM].unique(),
        faults=pa.concat_tables([bad, faults.table()]),
        blank_transactions=int(pc.sum(pc.equal(bought[TRANSACTION], "")).as_py() or 0),
    )


def split_by_user(events: Events, n: int) -> tuple[list["ray.ObjectRef[UserPartition]"], list[PartitionSummary]]:
    """The one shuffle: every block is split in `n`, and each partition merged from its shares.

    These are plain tasks because a task whose worker dies runs again, where Ray Data's hash shuffle keeps
    blocks in actors; on 2.8 million events they took a third of its time, two thirds of its sort shuffle's.
    """
    items = ray.put(events.items)
    calls = [(block, items, n) for block in events.blocks]
    shares = run_split_tasks(split_events, "split events by user", calls, n)
    partitions, summaries = run_split_tasks(merge_events, "merge events of users", shares, 2)
    return partitions, ray.get(summaries)


def fingerprint(items: Ids, catalog: Catalog, summaries: list[PartitionSummary]) -> str:
    logs = (catalog.category_log, catalog.availability_log)
    arrays = [array for log in logs for array in (log.items, log.times, log.values)]
    users = b"".join(part.digest for part in summaries)
    return sha256(items.values, users, catalog.categories.values, catalog.parent, *arrays).hex()
