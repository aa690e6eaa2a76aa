"""Files to the validated data of a shop, with Ray: read, check, encode, split by user."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import ray
from pydantic import Field

from recsys.cluster import run_split_tasks, run_tasks
from recsys.data.catalog import Catalog
from recsys.data.events import Events, read_events, with_times
from recsys.data.items import read_goods
from recsys.data.layout.describe import describe
from recsys.data.layout.mapping import DataMapping
from recsys.data.layout.model import EventTable, Layout
from recsys.data.layout.settings import EventsConfig, ItemsConfig
from recsys.data.layout.types import meaning
from recsys.data.layout.unclear import refuse
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
from recsys.data.reading import split_file
from recsys.data.shop import DailyCounts, Quality, UserPartition
from recsys.data.sources import Source
from recsys.ids import IdKind, Ids
from recsys.schema import EVENT_TYPES, Config

PARTITION_EVENTS = 200_000
"""Events of a partition, some MB, unless the number of partitions is configured."""


class DataConfig(Config):
    """Settings for reading raw files."""

    events: EventsConfig = EventsConfig()
    items: ItemsConfig = ItemsConfig()
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

    items: every item with an event; in a shop with attributes of items also those with an attribute alone
    partitions: each user is in exactly one of them; each is an object of its own, so that a task can take one
    event_counts: number of events by type
    start, end: times of the oldest and the newest event (ms)
    fingerprint: sha256 of the items, the events and the catalog. It does not depend on the order of rows, the number of
        files, or their format. Only in a log of dates the order of a user's rows of a day counts.
    name: the source as the person wrote it
    mapping: what the columns and words of the files mean
    text_ids: an id that is no integer, for "user" and "item" if there is one
    passed_over: files that are not read, and columns that some files lack, a text each
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
    mapping: DataMapping | None = None
    text_ids: dict[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()


def check_layout(source: Source, config: DataConfig) -> None:
    """Raise DataError if a file of the source is unreadable or empty, or if it is unclear what a column is.

    Reads the first rows only; needs no Ray.
    """
    layout = describe(source, config.events, config.items, config.properties)
    refuse(layout.unclear, source.name)
    tables = [layout.events, *layout.properties, layout.tree]
    for table in tables:
        if table is not None:
            for file in table.files:
                split_file(file, table.rules.columns, table.dialect, table.rules.optional)


def ingest(source: Source, config: DataConfig, now: int, quarantine_path: str | Path) -> ShopData:
    """The validated data of a source.

    now: the clock of the run (ms); events more than a day later are unusable
    quarantine_path: a path or s3://bucket/key for the Parquet file of unusable rows; an older file is removed
    Raises DataError if a file or column is missing or unclear, no event is usable, or too many rows are unusable.
    """
    layout = describe(source, config.events, config.items, config.properties)
    refuse(layout.unclear, source.name)
    return read_shop(layout, config, now, Quarantine(quarantine_path, config.max_bad_fraction))


def read_shop(layout: Layout, config: DataConfig, now: int, quarantine: Quarantine) -> ShopData:
    """The validated data of a source whose layout is known; as `ingest`."""
    table = with_times(layout, config.events)
    layout = with_event_times(layout, table)
    events = read_events(table, config.events, now, quarantine)
    goods = read_goods(layout, now, events.items, quarantine, config.items.max_attributes)
    n = config.partitions or min(-(-events.usable // PARTITION_EVENTS), BUCKETS)
    partitions, summaries = split_by_user(events.blocks, goods.items, n)
    # Rows of a log of dates are spread by milliseconds, and no cut may part the rows of a day.
    end = max(part.end for part in summaries if part.end is not None) + max(part.spread for part in summaries)
    days = run_tasks(count_days, "count events by day", [(part, end) for part in partitions])
    duplicates = sum(summary.duplicates for summary in summaries)
    counts = np.sum([summary.event_counts for summary in summaries], axis=0)
    return ShopData(
        items=goods.items,
        user_kind=events.user_kind,
        partitions=tuple(partitions),
        n_users=sum(summary.n_users for summary in summaries),
        event_counts=dict(zip(EVENT_TYPES, counts.tolist(), strict=True)),
        start=min(summary.start for summary in summaries if summary.start is not None),
        end=end,
        daily=merge_days(ray.get(days)),
        catalog=goods.catalog,
        quality=Quality(
            events_read=events.read,
            events_kept=events.usable - duplicates,
            events_quarantined=events.quarantined,
            duplicates=duplicates,
            blank_transactions=events.blank_transactions,
            properties=goods.quality,
            quarantine=quarantine.path,
            events_left_out=events.left_out,
            event_words=events.words,
        ),
        fingerprint=fingerprint(goods.items, goods.catalog, summaries),
        name=layout.name,
        mapping=mapping_of(table, events, layout),
        text_ids=events.text_ids,
        passed_over=(*layout.passed_over, *events.lacking, *goods.lacking),
    )


def with_event_times(layout: Layout, table: EventTable) -> Layout:
    """The layout with the decided form of the events' times for facts about items that are read from the events."""
    properties = (
        replace(part, rules=replace(part.rules, times=table.rules.times)) if part.from_events else part
        for part in layout.properties
    )
    return replace(layout, properties=tuple(properties))


def mapping_of(table: EventTable, events: Events, layout: Layout) -> DataMapping:
    """The meaning of the columns and words of the files, as a version carries it."""
    rules = table.rules
    words = {word: meaning(rules.words.code(word)) for word in events.words}
    return DataMapping(
        columns=rules.names.by_purpose,
        items={purpose: name for part in layout.properties for name, purpose in part.rules.purposes.items()},
        types=words if rules.words.every is None else EVENT_TYPES[rules.words.every],
        times=str(rules.times),
        time_unit=rules.times.unit_setting,
        time_format=rules.times.format_setting,
        time_zone=rules.times.zone,
        dates=events.is_dates,
        where=tuple(map(str, rules.where)),
        ids={"user": events.user_kind, "item": events.items.kind},
    )


def split_by_user(
    blocks: "list[ray.ObjectRef[pa.Table]]", items: Ids, n: int
) -> "tuple[list[ray.ObjectRef[UserPartition]], list[PartitionSummary]]":
    """The `n` partitions of users and their summaries: every block is split, and each partition is merged.

    blocks: see Events; items: all items of the shop

    This is the only shuffle. It uses plain tasks, since Ray repeats a task whose worker dies. The hash shuffle of Ray
    Data keeps blocks in actors instead. On 2.8 million events the tasks took a third of the time of that shuffle, and
    two thirds of the time of Ray Data's sort shuffle.
    """
    known = ray.put(items)
    calls = [(block, known, n) for block in blocks]
    by_partition = run_split_tasks(split_events, "split events by user", calls, n)
    partitions, summaries = run_split_tasks(merge_events, "merge events of users", by_partition, 2)
    return partitions, ray.get(summaries)


def fingerprint(items: Ids, catalog: Catalog, summaries: list[PartitionSummary]) -> str:
    """The sha256 of items, catalog and events, hexadecimal. The number of partitions does not change it."""
    logs = (catalog.category_log, catalog.availability_log)
    arrays = [array for log in logs for array in (log.items, log.times, log.values)]
    users = b"".join(summary.digest for summary in summaries)
    attributes = catalog.attributes.contents()  # none for a shop without them, which keeps its fingerprint
    return sha256(items.values, users, catalog.categories.values, catalog.parent, *arrays, *attributes).hex()
