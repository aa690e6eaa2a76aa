"""The layout of a source: the files of each role, and the rules by which their rows are read."""

from collections.abc import Sequence
from dataclasses import replace

from recsys.data.layout.event_columns import event_table
from recsys.data.layout.event_facts import item_facts
from recsys.data.layout.item_columns import check_given, long_table, tree_table, wide_table
from recsys.data.layout.model import EventTable, Layout
from recsys.data.layout.settings import EventsConfig, ItemsConfig
from recsys.data.layout.tables import sort_tables
from recsys.data.layout.unclear import Unclear, listed
from recsys.data.layout.votes import Votes, decide
from recsys.data.sources import Source
from recsys.errors import DataError


def describe(source: Source, events: EventsConfig, items: ItemsConfig, kept: Sequence[str]) -> Layout:
    """The layout of a source, from the first rows of its files.

    kept: the properties to read, of CATEGORY and AVAILABLE
    Raises DataError for a file that cannot be read, or a column of the settings that the files lack.
    """
    roles = sort_tables(source, events, items)
    if roles.events is None:
        return Layout(source.name, None, passed_over=roles.passed_over, unclear=roles.unclear, roles=roles)
    heads = [head for head in (roles.properties, roles.items) if head is not None]
    table, unclear, columns = event_table(roles.events, events, heads)
    if roles.unreadable and not unclear:  # what is open about the events comes first
        raise DataError(roles.unreadable)
    times = None if table is None else table.rules.times
    check_given(heads or [roles.events], items, has_properties=roles.properties is not None)
    properties = []
    if roles.properties is not None:
        properties.append(long_table(roles.properties, events, items, kept, times))
        # A property that the table of properties has is not read from the table of items too.
        rules = properties[0].rules
        words = roles.properties.head.rows[rules.names.property].unique().to_pylist()
        kept = [key for key in kept if rules.spelled.get(key) not in words]
    wide = None if roles.items is None else wide_table(roles.items, events, items, kept, times)
    if not heads and table is not None and not unclear:
        facts = item_facts(roles.events, table, items, kept)
        properties += [] if facts is None else [facts]
    passed_over = list(roles.passed_over)
    if wide is not None:
        properties.append(wide)
    elif roles.items is not None:
        passed_over.append(f"{roles.items.table.name} ({listed(roles.items.names)})")
    tree = None if roles.tree is None else tree_table(roles.tree, events, items)
    return Layout(source.name, table, tuple(properties), tree, tuple(passed_over), unclear, roles, columns)


def settled(table: EventTable, votes: Votes, config: EventsConfig) -> EventTable | Unclear:
    """The table with the order of its dates decided from all their values; votes: of all values."""
    times = decide(votes, config, table.rules.names.time)
    return (
        times if isinstance(times, Unclear) else replace(table, rules=replace(table.rules, times=times), is_open=False)
    )
