"""What a source holds, as far as it can be understood: tables, columns, problems, and the data if they can be read."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from recsys.cluster import run_tasks
from recsys.data.attribute_values import numbers_of
from recsys.data.ingest import DataConfig, ShopData, read_shop
from recsys.data.layout.describe import describe
from recsys.data.layout.ids import integers
from recsys.data.layout.model import Layout
from recsys.data.layout.nested import is_nested, types_without_items
from recsys.data.layout.rules import Blanks
from recsys.data.layout.tables import TableHead
from recsys.data.layout.unclear import Unclear, UnclearError
from recsys.data.layout.votes import count_votes
from recsys.data.quarantine import Checked, Quarantine, ReasonCount, too_many_words
from recsys.data.shop import UserPartition
from recsys.data.sources import Source
from recsys.data.validate import NO_MEANING
from recsys.errors import DataError
from recsys.schema import DAY

EXAMPLES: Final = 3
"""Values that are shown of a column."""
EXAMPLE_LENGTH: Final = 30
"""Characters of such a value."""
UNREAD: Final = "not read"
"""The kind of a column of a table whose first rows cannot be read."""
BUSY: Final = 0.05
"""Fraction of the events from which on a user is named: the id may stand for all who are not logged in."""
GAP_DAYS: Final = 2
"""Least number of days without an event that is a gap."""


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """A column of a table, from its first rows.

    purpose: its use, such as "user", "category" or "attribute"; "" if it is not read
    kind: integer, number, time, list, text, or blank; UNREAD where no row can be read
    blank: fraction of blank values; examples: some different values
    smallest: the smallest value of a column of numbers
    """

    name: str
    purpose: str
    kind: str
    blank: float
    examples: tuple[str, ...]
    smallest: float | None = None


@dataclass(frozen=True, slots=True)
class TableSummary:
    """A table; role: events, item properties, items, category tree, or "not read"."""

    name: str
    role: str
    files: int
    columns: tuple[ColumnSummary, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Days without an event; start, end: times of the events around them, up to a day (ms)."""

    start: int
    end: int

    @property
    def days(self) -> int:
        """Whole days without an event."""
        return (self.end - self.start) // DAY


@dataclass(frozen=True, slots=True)
class BusyUser:
    """The user with the most events; fraction: of all events."""

    user: int | str
    fraction: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """The outcome of reading a source once.

    unclear: points that a person has to decide
    shop: the data, None if they cannot be read; problem: why, "" if they can
    counts: reasons of unusable rows, the most frequent first; checked: the same by the kind of rows
    unknown_words: rows of each event type without a meaning
    gaps: the longest gaps of the log
    repeat_rate: fraction of events on an item on which the user had an event before
    busiest: the user with the most events, None if all have a small fraction of them
    stops: why training would stop with these settings, "" if it would not
    without_items: types of events whose rows lack an item, a sentence each
    """

    layout: Layout
    tables: tuple[TableSummary, ...]
    unclear: tuple[Unclear, ...]
    shop: ShopData | None = None
    problem: str = ""
    counts: tuple[ReasonCount, ...] = ()
    checked: tuple[Checked, ...] = ()
    unknown_words: dict[str, int] | None = None
    gaps: tuple[Gap, ...] = ()
    repeat_rate: float = 0.0
    busiest: BusyUser | None = None
    stops: str = ""
    without_items: tuple[str, ...] = ()


def inspect(source: Source, config: DataConfig, now: int) -> Inspection:
    """The content of a source. Everything is read once, and unusable rows stop nothing; needs Ray.

    now: the clock of the run (ms)
    Raises DataError for a file that cannot be read, or a column of the settings that the files lack.
    """
    layout = describe(source, config.events, config.items, config.properties)
    tables = summarize(layout, Blanks.create(config.events.blanks))
    if layout.unclear or layout.events is None or layout.roles.events is None:
        return Inspection(layout, tables, layout.unclear)
    with tempfile.TemporaryDirectory(prefix="recsys-") as folder:
        quarantine = Quarantine(Path(folder) / "quarantine.parquet", 1.0)
        shop, problem = None, ""
        unclear: tuple[Unclear, ...] = ()
        try:
            shop = read_shop(layout, config, now, quarantine)
        except UnclearError as error:
            unclear = error.unclear
        except DataError as error:
            problem = str(error)
        counts, words = tuple(quarantine.counts()), quarantine.values(NO_MEANING)
        checked = tuple(quarantine.checked)
    if shop is not None:
        tables = tuple(map(partial(without_left_out, layout=layout, shop=shop), tables))
    without_items = types_without_items(layout.roles.events.head.rows, layout.events.rules)
    stops = problem or would_stop(checked, words, config.max_bad_fraction)
    if shop is None:
        return Inspection(
            layout, tables, unclear, None, problem, counts, checked, words, stops=stops, without_items=without_items
        )
    # The list of rows is gone with the folder.
    shop = replace(shop, quality=replace(shop.quality, quarantine=None))
    tallies = ray.get(run_tasks(count_users, "count repeats", [(part,) for part in shop.partitions]))
    events = sum(shop.event_counts.values())
    return Inspection(
        layout,
        tables,
        unclear,
        shop,
        problem,
        counts,
        checked,
        words,
        find_gaps(shop),
        1 - sum(tally.pairs for tally in tallies) / max(events, 1),
        _busiest(tallies, events, shop.n_users),
        stops,
        without_items,
    )


def would_stop(checked: Sequence[Checked], words: Mapping[str, int], max_bad_fraction: float) -> str:
    """The reason why training would stop at unusable rows, "" if they are few enough.

    words: rows without a meaning, by type
    """
    read = next((each.read for each in checked if each.kind == "event"), 0)
    if sum(words.values()) > max_bad_fraction * read:
        return too_many_words(words, read)
    return next(filter(None, (each.too_many(max_bad_fraction) for each in checked)), "")


@dataclass(frozen=True, slots=True)
class UserTally:
    """Numbers of a partition. pairs: different pairs of a user and an item; user: the one with the most events."""

    pairs: int
    user: int | str
    events: int


def count_users(partition: UserPartition) -> UserTally:
    """The numbers of pairs and of events of the busiest user; a partition without users has none."""
    histories = partition.histories
    keys = histories.rows * (int(histories.items.max(initial=0)) + 1) + histories.items
    by_user = np.diff(histories.offsets)
    if not len(by_user):
        return UserTally(0, 0, 0)
    busiest = int(np.argmax(by_user))
    return UserTally(len(np.unique(keys)), partition.users[busiest].as_py(), int(by_user[busiest]))


def _busiest(tallies: Sequence[UserTally], events: int, users: int) -> BusyUser | None:
    tally = max(tallies, key=lambda tally: (tally.events, str(tally.user)))
    # In a shop of few users each has many of the events.
    is_busy = tally.events > max(BUSY, 10 / max(users, 1)) * events
    return BusyUser(tally.user, tally.events / events) if is_busy else None


def find_gaps(shop: ShopData) -> tuple[Gap, ...]:
    """The longest gaps between days with events, the longest first."""
    ages = np.unique(shop.daily.age)
    between = np.diff(ages) - 1
    longest = np.argsort(-between, kind="stable")[:EXAMPLES]
    return tuple(
        Gap(shop.end - int(ages[place + 1]) * DAY, shop.end - (int(ages[place]) + 1) * DAY)
        for place in longest
        if between[place] >= GAP_DAYS
    )


def summarize(layout: Layout, blanks: Blanks) -> tuple[TableSummary, ...]:
    """The tables of a source."""
    roles = layout.roles
    purposes = {name: purpose for purpose, name in layout.columns.items()}
    facts = {} if roles.events is None else _item_purposes(layout, roles.events)  # a log may tell of its items too
    tables = [_summary(roles.events, "events", facts | purposes, blanks)] if roles.events else []
    for head, role in ((roles.properties, "item properties"), (roles.items, "items"), (roles.tree, "category tree")):
        if head is not None:
            tables.append(_summary(head, role, _item_purposes(layout, head), blanks))
    return (*tables, *(_summary(head, "not read", {}, blanks) for head in roles.others))


def without_left_out(table: TableSummary, layout: Layout, shop: ShopData) -> TableSummary:
    """The table with "left out" as the use of attributes that were read and left out."""
    left_out = shop.catalog.attributes.left_out or {}
    names = {one.column for part in layout.properties for one in part.attributes.values() if one.name in left_out}
    columns = (
        replace(column, purpose="left out") if column.purpose == "attribute" and column.name in names else column
        for column in table.columns
    )
    return replace(table, columns=tuple(columns))


def _item_purposes(layout: Layout, head: TableHead) -> dict[str, str]:
    addresses = {file.address for file in head.table.files}
    for table in layout.properties:
        if {file.address for file in table.files} == addresses:
            return {name: purpose.partition(":")[0] for name, purpose in table.rules.purposes.items()}
    if layout.tree is not None and {file.address for file in layout.tree.files} == addresses:
        return {layout.tree.rules.category: "category", layout.tree.rules.parent: "parent"}
    return {}


def _summary(head: TableHead, role: str, purposes: dict[str, str], blanks: Blanks) -> TableSummary:
    columns = tuple(
        _column(name, purposes.get(name, ""), head.head.rows[name].combine_chunks(), blanks)
        for name in dict.fromkeys(head.names)
    )
    return TableSummary(head.table.name, role, len(head.table.files), columns)


def _column(name: str, purpose: str, texts: pa.Array, blanks: Blanks) -> ColumnSummary:
    missing = blanks.mask(texts)
    given = texts.filter(pa.array(~missing))
    examples = tuple(_shortened(text) for text in given.unique().slice(0, EXAMPLES).to_pylist())
    kind = kind_of_column(given) if len(texts) else UNREAD
    smallest = pc.min(numbers_of(given)).as_py() if kind in ("integer", "number") else None
    return ColumnSummary(name, purpose, kind, float(missing.mean()) if len(missing) else 0.0, examples, smallest)


def kind_of_column(texts: pa.Array) -> str:
    """integer, number, time, list, text, or blank; texts: values that are not blank."""
    if not len(texts):
        return "blank"
    _, spelled = integers(texts)
    if spelled.all():
        return "integer"
    if not numbers_of(texts).null_count:
        return "number"
    if is_nested(texts):
        return "list"
    return "text" if count_votes(texts).unread else "time"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EXAMPLE_LENGTH else f"{text[: EXAMPLE_LENGTH - 1]}…"
