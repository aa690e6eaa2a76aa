"""The role of each table of a source: events, item properties, items, or the category tree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.data.layout.by_type import Part, typed_log
from recsys.data.layout.chosen import chosen_tables
from recsys.data.layout.columns import EVENT_NAMES, ITEM_NAMES, USER_NAMES, customary, plain
from recsys.data.layout.joins import needed_join, no_events
from recsys.data.layout.settings import EventsConfig, ItemColumns, ItemsConfig
from recsys.data.layout.unclear import Unclear, listed
from recsys.data.listing import Table
from recsys.data.readers.base import Head
from recsys.data.readers.dialect import Dialect
from recsys.data.reading import read_head
from recsys.data.sources import Source
from recsys.errors import DataError

PROPERTIES: Final = "itemproperties"
TREE: Final = "categorytree"
NEEDED: Final = ("user", "item", "time")
"""Purposes of the columns that events must have."""
SAMPLED_FILES: Final = 64
"""Largest number of files of events whose first rows are read, spread over all of them."""
SAMPLED_ROWS: Final = 5_000
"""Rows of events that are read of all these files together, about."""
MIN_ROWS: Final = 1000
"""Least number of rows that are read of each of these files."""


@dataclass(frozen=True, slots=True)
class TableHead:
    """A table and the first rows of its first file, or of several files.

    partial: columns that some of these files lack
    """

    table: Table
    head: Head
    partial: frozenset[str] = frozenset()

    @property
    def common(self) -> list[str]:
        """Names of the columns that all of these files have."""
        return [name for name in self.names if name not in self.partial]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.head.names

    @property
    def readable(self) -> tuple[str, ...]:
        """Names of the columns that can be read as text, each once."""
        return tuple(name for name in dict.fromkeys(self.names) if name not in self.head.unreadable)

    @property
    def clear(self) -> list[str]:
        """The readable names that tell a column: not blank, as that of a row's number often is, and there once."""
        counts = Counter(self.names)
        return [name for name in self.readable if name.strip() and counts[name] == 1]

    def checked(self, name: str, use: str) -> str:
        """The name of a column. Raises DataError that names its use if there is no such column."""
        if name not in self.names:
            file = self.table.files[0].address
            raise DataError(f"{file}: column {name!r} is missing ({use}); columns found: {listed(self.names)}")
        return name


@dataclass(frozen=True, slots=True)
class Roles:
    """The tables by their role.

    events: None if `unclear` tells why
    passed_over: what is not read, and why, a text each
    others: tables without a role
    unreadable: the error of a table of items that cannot be read, "" if all can
    """

    events: TableHead | None = None
    properties: TableHead | None = None
    items: TableHead | None = None
    tree: TableHead | None = None
    passed_over: tuple[str, ...] = ()
    unclear: tuple[Unclear, ...] = ()
    others: tuple[TableHead, ...] = ()
    unreadable: str = ""


@dataclass(slots=True)
class _Sorting:
    """The tables without a role so far, those that are not read, and the error of a table of items."""

    left: list[TableHead] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    unreadable: str = ""

    def take(self, heads: Sequence[TableHead]) -> TableHead | None:
        """The first of these tables, which has a role now; None for no table."""
        if heads:
            self.left = [other for other in self.left if other is not heads[0]]
        return heads[0] if heads else None

    def together(self, heads: Sequence[TableHead]) -> TableHead | None:
        """These tables as one, which has a role now; None for no table."""
        if not heads:
            return None
        for head in heads:
            self.take([head])
        files = tuple(file for head in heads for file in head.table.files)
        return TableHead(Table(heads[0].table.name, files), heads[0].head)

    def named(self, *names: str) -> list[TableHead]:
        """The tables with one of these names, in the order of the names."""
        return [head for name in names for head in self.left if plain(head.table.name) == name]


def sort_tables(source: Source, events: EventsConfig, items: ItemsConfig) -> Roles:
    """The role of each table: by the settings, else by its name, else by its columns.

    Raises DataError for a file that cannot be read, and for patterns of files that match none.
    """
    tables = list(source.tables)
    own = chosen_tables(source, events, "data.events.files")
    item_table = _joined(chosen_tables(source, items, "data.items.files"), "items")
    given = {file.address for table in (*own, item_table) if table for file in table.files}
    sorting = _Sorting()
    others = items.dialect.model_copy(update={"header": None}) if item_table else items.dialect
    for table in tables:
        if not given & {file.address for file in table.files}:
            _add(sorting, table, others if own or _is_item_table(table) else events.dialect)
    trees = sorting.named(TREE)
    if len(trees) > 1:
        addresses = [head.table.files[0].address for head in trees]
        raise DataError(f"{source.name}: expected category_tree once, found {listed(addresses)}")
    tree = sorting.take(trees) or sorting.take(_trees(sorting.left))
    properties = sorting.together([head for head in sorting.left if plain(head.table.name).startswith(PROPERTIES)])
    properties = properties or sorting.take(_long(sorting.left, items))
    event_head, unclear = (_given(own, sorting, events), ()) if own else _events(sorting, events)
    item_head = _head(item_table, items.dialect) if item_table else _items(sorting, items)
    if item_head and _long([item_head], items):
        properties, item_head = item_head, None
    left = [
        *sorting.passed_over,
        *(f"{head.table.name} ({listed(head.names)})" for head in sorting.left),
    ]
    event_head = sampled(event_head, events.dialect) if event_head else None
    if item_head and len(item_head.table.files) > 1:
        item_head = sampled(item_head, items.dialect)
    return Roles(event_head, properties, item_head, tree, tuple(left), unclear, tuple(sorting.left), sorting.unreadable)


def _add(sorting: _Sorting, table: Table, dialect: Dialect) -> None:
    """Add a table to those without a role. One that cannot be read counts only if its name is one of a role."""
    try:
        sorting.left.append(_head(table, dialect))
    except DataError as error:
        if plain(table.name) in EVENT_NAMES:
            raise
        if _is_item_table(table):
            sorting.unreadable = sorting.unreadable or str(error)
        sorting.passed_over.append(f"{table.name}: {error}")


def _head(table: Table, dialect: Dialect) -> TableHead:
    return TableHead(table, read_head(table.files[0], dialect))


def sampled(head: TableHead, dialect: Dialect) -> TableHead:
    """The table with the columns and the first rows of files that are spread over all its files.

    A column that one of them lacks is blank there.
    """
    files = head.table.files
    numbers = np.unique(np.linspace(0, len(files) - 1, SAMPLED_FILES).astype(int)).tolist()
    parts = [read_head(files[number], dialect, max(MIN_ROWS, SAMPLED_ROWS // len(numbers))) for number in numbers]
    added = dict.fromkeys(name for part in parts for name in part.names if name not in head.names)
    names = (*head.names, *added)
    unique = tuple(dict.fromkeys(names))
    tables = []
    for part in parts:
        blank = pa.repeat(pa.scalar(""), len(part.rows))
        columns = [part.rows[name] if name in part.rows.column_names else blank for name in unique]
        tables.append(pa.table(columns, names=list(unique)))
    kinds = {name: kind for part in reversed(parts) for name, kind in part.kinds.items()}
    partial = frozenset(name for name in unique if not all(name in part.names for part in parts))
    unreadable = frozenset().union(*(part.unreadable for part in parts))
    return TableHead(head.table, Head(names, kinds, pa.concat_tables(tables), unreadable), partial)


def _is_item_table(table: Table) -> bool:
    return plain(table.name) in (*ITEM_NAMES, PROPERTIES, TREE)


def _joined(tables: Sequence[Table], name: str) -> Table | None:
    """The tables as one; None for no table."""
    return Table(name, tuple(file for table in tables for file in table.files)) if tables else None


def _given(tables: Sequence[Table], sorting: _Sorting, config: EventsConfig) -> TableHead | None:
    """The tables of events that the settings name, as one."""
    if len(tables) > 1:
        heads = [_head(table, config.dialect) for table in tables]
        if (log := _typed(heads, sorting, config)) is not None:
            return log
    joined = _joined(tables, "events")
    return None if joined is None else _head(joined, config.dialect)


def _typed(heads: Sequence[TableHead], sorting: _Sorting, config: EventsConfig) -> TableHead | None:
    """The tables as one log if each has the events of one type; None if not."""
    log = typed_log([Part(head.table, head.names) for head in heads], config, NEEDED)
    if log is None:
        return None
    sorting.passed_over += [f"{name}: its events do not count" for name in log.left_out]
    for head in heads:
        sorting.take([head])
    return _head(Table("events", log.files), config.dialect)


def _with_columns(heads: Sequence[TableHead], *purposes: str, given: ItemColumns | None = None) -> list[TableHead]:
    """The tables that have a column for each purpose: the one that the settings give, or a customary one."""

    def has(head: TableHead, purpose: str) -> bool:
        return getattr(given, purpose, None) in head.names or bool(customary(head.names, purpose))

    return [head for head in heads if all(has(head, purpose) for purpose in purposes)]


def _trees(heads: Sequence[TableHead]) -> list[TableHead]:
    """The tables of categories and their parents."""
    fitting = _with_columns(heads, "category", "parent")
    return [head for head in fitting if not any(customary(head.names, purpose) for purpose in ("user", "item"))]


def _long(heads: Sequence[TableHead], items: ItemsConfig) -> list[TableHead]:
    """The tables with a row for each item, property and time."""
    return _with_columns(heads, "item", "property", "value", given=items.columns)


def _events(sorting: _Sorting, config: EventsConfig) -> tuple[TableHead | None, tuple[Unclear, ...]]:
    """The table of events, or what is unclear about it."""
    named = sorting.named("events")
    if len(named) > 1:
        addresses = tuple(head.table.files[0].address for head in named)
        return None, (Unclear("data.events.files", f"expected events once, found {listed(addresses)}", addresses),)
    if named:
        return sorting.take(named), ()
    given = config.columns
    stated = {name for name in (given.user, given.item, given.time) if name is not None}
    purposes = [purpose for purpose in NEEDED if getattr(given, purpose) is None]
    fitting = [head for head in _with_columns(sorting.left, *purposes) if stated <= set(head.names)]
    if not _are_alike(fitting):
        log = _typed(fitting, sorting, config)
        by_name = [head for name in EVENT_NAMES for head in fitting if plain(head.table.name) == name]
        fitting = by_name[:1] or fitting if log is None else [log]
    if not _are_alike(fitting):
        names = tuple(head.table.files[0].name for head in fitting)
        problem = (
            f"several tables have a user, an item and a time: {listed(names)} "
            "(if each has the events of one type, data.events.types may map their names to types)"
        )
        return None, (Unclear("data.events.files", problem, names),)
    if fitting:
        return sorting.together(fitting), ()
    parts = [Part(head.table, head.names) for head in sorting.left]
    join = None if stated else needed_join(parts, NEEDED)
    candidates = [head for head in sorting.left if plain(head.table.name) not in (*ITEM_NAMES, *USER_NAMES)]
    candidates = sorting.named(*EVENT_NAMES) or (candidates if len(candidates) == 1 else [])
    if candidates and join is None:
        return sorting.take(candidates), ()
    if not sorting.left and sorting.passed_over:
        raise DataError(sorting.passed_over[0])
    return None, (join or no_events(parts, sorting.passed_over),)


def _are_alike(heads: Sequence[TableHead]) -> bool:
    """Whether the tables can be read as one: they have the same columns, and one of these tells the type of an event.

    Without such a column, one table may hold views and another purchases.
    """
    same = len({frozenset(head.names) for head in heads}) <= 1
    return len(heads) < 2 or (same and bool(customary(heads[0].names, "event")))


def _items(sorting: _Sorting, items: ItemsConfig) -> TableHead | None:
    """The table with a row for each item: by its name, else the only table with an item and no user."""
    named = _with_columns(sorting.named(*ITEM_NAMES), "item", given=items.columns)
    if named:
        return sorting.take(named)
    fitting = _with_columns(sorting.left, "item", given=items.columns)
    fitting = [head for head in fitting if not customary(head.names, "user")]
    return sorting.take(fitting) if len(fitting) == 1 else None
